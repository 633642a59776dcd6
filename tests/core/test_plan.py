from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.measure import Metric
from gitops_serving.core.model import Timing
from gitops_serving.core.plan import FINEST, MOST_POINTS, WITNESS, Window, measurable, plan, window

from .situations import HEALTHY, IDLE, MINUTE, NOON, THREE_STEPS, UNKNOWN, checked, quick, with_live, with_rollout

if TYPE_CHECKING:
    from gitops_serving.core.measure import Query
    from gitops_serving.core.model import Situation

SECOND = timedelta(seconds=1)
TIMING = Timing(block=20 * SECOND, warm_up=60 * SECOND, warm_up_after_shift=30 * SECOND)
METRICS = (Metric(name="errors", signal="errors", tolerance=0.2), Metric(name="p99", signal="latency", maximum=1.0))
POLICY = replace(THREE_STEPS, timing=TIMING, metrics=METRICS)
MEASURED = with_live(
    replace(HEALTHY, policy=POLICY),
    names={"v2.2": "scorer-predictor-00002", "v1.1": "scorer-predictor-00001"},
    shares={"scorer-predictor-00002": 25, "scorer-predictor-00001": 75},
    rolled="scorer-predictor-00001",
)


def queries(seen: Situation) -> dict[str, Query]:
    found = plan(seen.rollout, seen.policy, seen.live, seen.now)
    assert len({query.name for query in found}) == len(found)
    return {query.name: query for query in found}


def opened(seen: Situation) -> Window | None:
    assert seen.policy is not None
    return window(seen.rollout, seen.policy, seen.live, seen.now)


def first_step(seen: Situation) -> Situation:
    canary = seen.rollout.canary
    assert canary is not None
    seen = with_live(seen, shares={"scorer-predictor-00002": 5})
    return with_rollout(seen, canary=replace(canary, weight=5))


def test_the_window_opens_when_the_weight_has_arrived_and_warmed_up() -> None:
    assert opened(MEASURED) == Window(NOON + 30 * SECOND, NOON + 6 * MINUTE, 20 * SECOND)
    late = with_live(MEASURED, since=NOON + 2 * MINUTE)
    assert opened(late) == Window(NOON + 150 * SECOND, NOON + 6 * MINUTE, 20 * SECOND)
    early = with_live(MEASURED, since=NOON - 60 * MINUTE)
    assert opened(early) == opened(MEASURED)


def test_the_first_weight_warms_up_for_longer() -> None:
    assert opened(first_step(MEASURED)) == Window(NOON + 60 * SECOND, NOON + 6 * MINUTE, 20 * SECOND)


def test_nothing_is_measured_during_the_warm_up() -> None:
    assert opened(replace(MEASURED, now=NOON + 30 * SECOND)) is None
    assert opened(replace(MEASURED, now=NOON + 31 * SECOND)) is not None


def test_a_long_step_is_read_at_a_wider_distance() -> None:
    days = replace(MEASURED, now=NOON + timedelta(days=2))
    seen = opened(days)
    assert seen is not None
    assert (seen.end - seen.start) / seen.step == pytest.approx(MOST_POINTS)


def test_no_distance_is_finer_than_a_scrape_can_be() -> None:
    fast = replace(MEASURED, policy=replace(POLICY, timing=replace(TIMING, block=timedelta(milliseconds=1))))
    seen = opened(fast)
    assert seen is not None
    assert seen.step == FINEST


UNMEASURABLE = {
    "the cluster does not answer": replace(MEASURED, live=UNKNOWN),
    "traffic is not what the record says": with_live(MEASURED, shares={"scorer-predictor-00002": 5}),
    "the canary has no name yet": with_live(MEASURED, names={}),
    "stable has no name": with_live(MEASURED, rolled=None),
    "another revision is the baseline": with_live(MEASURED, baseline="?"),
}


@pytest.mark.parametrize("case", UNMEASURABLE)
def test_nothing_is_measured_where(case: str) -> None:
    seen = UNMEASURABLE[case]
    assert not measurable(seen.rollout, seen.live)
    assert opened(seen) is None
    assert list(queries(seen)) == [WITNESS]


def test_a_canary_that_takes_over_is_not_measured() -> None:
    canary = MEASURED.rollout.canary
    assert canary is not None
    seen = with_rollout(replace(MEASURED, verdict=IDLE.verdict), canary=replace(canary, weight=100))
    assert list(queries(with_live(seen, shares={"scorer-predictor-00002": 100}))) == [WITNESS]


def test_nothing_is_asked_where_nothing_is_pending_or_on_trial() -> None:
    assert queries(IDLE) == {}
    assert queries(replace(IDLE, rollout=replace(IDLE.rollout, stable=None))) == {}
    assert plan(replace(IDLE.rollout, wanted="?"), POLICY, IDLE.live, NOON) == ()


def test_a_pending_push_asks_for_the_witness_since_none_starts_blind() -> None:
    found = queries(with_rollout(IDLE, wanted="v2"))
    assert list(found) == [WITNESS]
    assert found[WITNESS].start == found[WITNESS].end == IDLE.now


def test_without_a_policy_only_the_witness_is_asked() -> None:
    assert list(queries(checked(replace(MEASURED, policy=None, verdict=IDLE.verdict)))) == [WITNESS]


def test_every_signal_is_asked_of_both_revisions_over_the_same_window() -> None:
    found = queries(MEASURED)
    assert list(found) == [WITNESS, "errors/canary", "errors/stable", "latency/canary", "latency/stable"]
    spans = {(query.start, query.end, query.step) for query in found.values()}
    assert spans == {(NOON + 30 * SECOND, NOON + 6 * MINUTE, 20 * SECOND)}


def test_errors_are_asked_even_where_only_latency_is_judged_since_they_count_the_requests() -> None:
    found = queries(replace(MEASURED, policy=replace(POLICY, metrics=METRICS[1:])))
    assert "errors/canary" in found


def test_the_expressions_are_raw_counters_of_one_revision() -> None:
    found = queries(MEASURED)
    assert found["errors/canary"].expression == (
        'revision_request_count{namespace_name="fraud",revision_name="scorer-predictor-00002"}'
    )
    assert found["latency/stable"].expression == (
        'revision_request_latencies_bucket{namespace_name="fraud",revision_name="scorer-predictor-00001"}'
    )


@pytest.mark.parametrize(("block", "span"), [(1, 10), (5, 10), (20, 40), (600, 1200)])
def test_the_witness_looks_back_two_steps_and_no_less_than_two_scrapes(block: int, span: int) -> None:
    seen = replace(MEASURED, policy=replace(POLICY, timing=replace(TIMING, block=block * SECOND)))
    assert queries(seen)[WITNESS].expression == f"max(count_over_time(up[{span}s]))"


SELECTOR = re.compile(r'[a-z_]+\{namespace_name="fraud",revision_name="((?:[^"\\\n]|\\.)*)"\}')


@quick
@given(st.text())
def test_no_name_can_leave_its_matcher(name: str) -> None:
    """The expression is parsed as PromQL would: one selector, whose text gives the name back."""
    seen = with_live(MEASURED, rolled=name)
    expression = queries(seen)["errors/stable"].expression
    found = SELECTOR.fullmatch(expression)
    assert found is not None, expression
    read = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], found[1])
    assert read == name
