"""What a rollout will be able to see, held against the table of the page on judging, and against what it then sees."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.foresee import foreseen, requests_needed
from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.model import Policy, Step

from .moments import ERRORS, LATENCY, both, folded, steady
from .situations import THREE_STEPS

if TYPE_CHECKING:
    from gitops_serving.core.evidence import Evidence, Question

METRICS = (
    Metric(name="errors", sources=(Source(kind=Kind.COUNTER, parts={}),), tolerance=0.2, at_least=0.0005),
    Metric(name="latency", sources=(Source(kind=Kind.HISTOGRAM, parts={}),), tolerance=0.1),
)
STEPS = (Step(10, timedelta(minutes=5)), Step(50, timedelta(minutes=10)))


def stable(rate: float, *questions: Question) -> Evidence:
    """Know stable, and nothing else, at so many requests a second."""
    errors, slow = (steady(q, stable=(rate, bad), history=600) for q, bad in ((ERRORS, 0.002), (LATENCY, 0.1)))
    return folded([moment for moment in both(errors, slow) if moment.t < 0], *questions or (ERRORS, LATENCY))


def said(rate: float, **policy: object) -> str:
    return foreseen(_policy(**policy), stable(rate))


def _policy(**fields: object) -> Policy:
    return replace(THREE_STEPS, **{"steps": STEPS, "metrics": METRICS, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("baseline", "bad", "phi", "needed"),
    [
        (0.001, 0.005, 1, 2667),
        (0.002, 0.01, 1, 1056),
        (0.002, 0.01, 3, 3167),
        (0.01, 0.05, 1, 173),
        (0.02, 0.10, 5, 411),
    ],
)
def test_as_many_requests_are_needed_as_the_table_says(baseline: float, bad: float, phi: float, needed: float) -> None:
    assert requests_needed(bad, 1.2 * baseline + 0.0005, phi, 20) == pytest.approx(needed, rel=0.01)


@given(st.floats(0.0001, 0.4), st.floats(0, 1))
def test_what_is_within_the_margin_is_never_seen(border: float, part: float) -> None:
    assert requests_needed(border * part, border, 2.0, 20) == math.inf


def test_what_steps_can_detect_is_said_at_stable_s_traffic() -> None:
    assert said(20.0) == "at 20 requests/s these steps can detect errors of +0.47 points or latency of +29%"
    assert said(0.5) == "at 0.5 requests/s these steps can detect errors of +4.2 points or latency of +176%"


def test_more_traffic_and_longer_steps_see_more() -> None:
    def points(text: str) -> float:
        return float(text.partition("errors of +")[2].partition(" ")[0])

    assert points(said(200.0)) < points(said(20.0)) < points(said(2.0))
    short = tuple(replace(step, dwell=step.dwell / 4) for step in STEPS)
    assert points(said(20.0, steps=short)) > points(said(20.0))


def test_steps_that_can_detect_nothing_say_so() -> None:
    text = said(0.001)
    assert text == "at 0.001 requests/s these steps can detect nothing: the canary would serve 0 requests"


def test_without_traffic_nothing_can_be_told() -> None:
    assert said(0.0) == "stable has no traffic to tell by what these steps could detect"


def test_what_is_foreseen_is_about_what_is_then_seen() -> None:
    """An increase as large as the foreseen one is found in about as many requests as the steps give."""
    needed = requests_needed(0.1, 1.2 * 0.002 + 0.0005, 2.0, 20)
    moments = steady(ERRORS, (10.0, 0.1), (90.0, 0.002), history=600, until=3000)
    failed = folded(moments, ERRORS).failed
    assert failed is not None
    tally = failed.tallies["errors"].canary
    assert tally is not None
    assert tally.requests < 20 * needed
