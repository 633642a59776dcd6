"""What there is in Prometheus is found out before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.plan import survey_queries

from .situations import MINUTE, NOON, THREE_STEPS

DETECT = "count(revision_request_count)"
ERRORS = Metric(name="errors", tolerance=0.2, sources=(Source(kind=Kind.COUNTER, parts={}, pack="p", detect=DETECT),))


@pytest.mark.parametrize("passed", [timedelta(), timedelta(seconds=3), MINUTE, 60 * MINUTE])
def test_a_source_is_looked_for_at_the_start_and_now(passed: timedelta) -> None:
    """In a young Prometheus nothing was there before the start; asked of that alone, no source was found."""
    policy = replace(THREE_STEPS, metrics=(ERRORS,))
    queries = {query.name: query for query in survey_queries(policy, "fraud/scorer", NOON, NOON + passed)}
    detection = queries[DETECT]

    assert detection.end == NOON + passed
    assert detection.start + detection.step == detection.end
