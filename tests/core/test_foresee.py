"""What a rollout will be able to see, in words, and held against what the judge then sees."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gitops_serving.core.blocks import HISTORY, Counts
from gitops_serving.core.evidence import Moment
from gitops_serving.core.foresee import foreseen
from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.model import Policy, Step
from gitops_serving.core.tracks import Margin

from .moments import ERRORS, LATENCY, LIMIT, SCORE, both, folded, steady
from .situations import THREE_STEPS

if TYPE_CHECKING:
    from gitops_serving.core.evidence import Evidence, Pair, Question

METRICS = (
    Metric(name="errors", sources=(Source(kind=Kind.COUNTER, parts={}),), tolerance=0.2, at_least=0.0005),
    Metric(name="latency", sources=(Source(kind=Kind.HISTOGRAM, parts={}),), tolerance=0.1),
)
STEPS = (Step(10, timedelta(minutes=5)), Step(50, timedelta(minutes=10)))


def stable(rate: float, *questions: Question, slow: float = 0.1) -> Evidence:
    """Know stable, and nothing else, at so many requests a second."""
    asked = questions or (ERRORS, LATENCY)
    bad = {Kind.COUNTER: 0.002, Kind.HISTOGRAM: slow}
    told = [steady(each, stable=(rate, bad[each.kind]), history=600) for each in asked if each.kind in bad]
    moments = reduce(both, told) if told else []
    return folded([moment for moment in moments if moment.t < 0], *asked)


def said(rate: float, **policy: object) -> str:
    return foreseen(_policy(**policy), stable(rate))


def _policy(**fields: object) -> Policy:
    return replace(THREE_STEPS, **{"steps": STEPS, "metrics": METRICS, **fields})  # type: ignore[arg-type]


def test_what_steps_can_detect_is_said_at_stable_s_traffic() -> None:
    assert said(20.0) == "at 20 requests/s these steps can detect errors of +0.73 points or latency of +41%"
    assert said(0.5) == "at 0.5 requests/s these steps can detect errors of +13 points or latency of +538%"


def test_more_traffic_and_longer_steps_see_more() -> None:
    def points(text: str) -> float:
        return float(text.partition("errors of +")[2].partition(" ")[0])

    assert points(said(200.0)) < points(said(20.0)) < points(said(2.0))
    short = tuple(replace(step, dwell=step.dwell / 4) for step in STEPS)
    assert points(said(20.0, steps=short)) > points(said(20.0))


def test_steps_that_can_detect_nothing_say_so() -> None:
    text, _, why = said(0.001).partition("; ")
    assert text == "at 0.001 requests/s these steps can detect nothing: the canary would serve 0 requests"
    assert why == "no latency: of stable nothing is known yet"


def test_without_traffic_nothing_can_be_told() -> None:
    assert said(0.0) == "stable has no traffic to tell by what these steps could detect"


def test_dry_runs_are_not_announced_and_drifts_neither() -> None:
    dry = (replace(METRICS[0], enforced=False), METRICS[1])
    assert foreseen(_policy(metrics=dry), stable(20.0, replace(ERRORS, enforced=False), LATENCY)) == (
        "at 20 requests/s these steps can detect latency of +39%"
    )


def test_a_limit_is_seen_where_it_is_broken_by_enough() -> None:
    slo = replace(METRICS[0], name="slo", pack="knative/errors", tolerance=None, maximum=0.01)
    assert foreseen(_policy(metrics=(slo,)), stable(20.0, LIMIT)) == (
        "at 20 requests/s these steps can detect errors above 1.9%"
    )
    p99 = replace(LATENCY, margin=Margin(limit=0.5))
    assert foreseen(_policy(metrics=(METRICS[1],)), stable(20.0, p99, slow=0.01)) == (
        "at 20 requests/s these steps can detect latency above 500 ms in 1.8% of answers"
    )


def test_a_limit_that_stable_breaks_itself_shows_nothing() -> None:
    strict = replace(LIMIT, margin=Margin(limit=0.001))
    assert foreseen(_policy(), stable(20.0, replace(strict, name="errors"))).endswith(
        "; no errors: stable is above the limit itself"
    )


def test_what_cannot_be_seen_is_said_beside_what_can() -> None:
    assert said(0.2) == "at 0.2 requests/s these steps can detect errors of +32 points or latency of 44 times stable's"
    assert said(0.1) == (
        "at 0.1 requests/s these steps can detect errors of +64 points; "
        "of latency nothing is promised up to 100 times stable's"
    )


def test_of_a_gauge_nothing_is_promised() -> None:
    score = "of score nothing can be told beforehand"
    assert foreseen(_policy(), stable(20.0, SCORE)) == score
    assert foreseen(_policy(), stable(20.0, ERRORS, SCORE)).endswith(f" points; {score}")


def test_of_latency_that_was_never_seen_nothing_is_promised() -> None:
    errors = [moment for moment in steady(ERRORS, stable=(20.0, 0.002), history=600) if moment.t < 0]
    assert foreseen(_policy(), folded(errors, ERRORS, LATENCY)).endswith("; no latency: of stable nothing is known yet")


# -- and what is then seen -------------------------------------------------------------------------------------------

USUAL, MEDIAN, SIGMA = 0.002, 0.1, 0.5  # errors, and log-normal latency
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RUNS = 20  # a chance of a half gives 6 or fewer once in seventeen times; the seeds are fixed


def found(rate: float, *, errors: float = USUAL, slower: float = 1.0) -> int:
    """Count the runs in which the judge fails a canary of which every request is bad by itself, and by chance."""
    return sum(_judged(np.random.default_rng(seed), rate, errors, slower).failed is not None for seed in range(RUNS))


def _judged(
    random: np.random.Generator, rate: float, errors: float = USUAL, slower: float = 1.0, until: int = 900
) -> Evidence:
    sums = np.zeros((2, 1 + 1 + len(BUCKETS)))
    moments = []
    for t in range(-600, until + 1, 30):
        step = HISTORY if t < 0 else int(t > 300)
        weight = 0.0 if t <= 0 else STEPS[step].weight / 100
        for arm, (share, bad, times) in enumerate(((weight, errors, slower), (1 - weight, USUAL, 1.0))):
            sums[arm] += _served(random, random.poisson(rate * 30 * share), bad, times)
        told = [[Counts(row[0], tuple(row[cut].tolist())) for cut in (slice(1, 2), slice(2, None))] for row in sums]
        seen = told[0] if t >= 0 else [None, None]
        pairs: dict[str, Pair] = {"errors": (seen[0], told[1][0]), "latency": (seen[1], told[1][1])}
        moments.append(Moment(t=float(t), step=step, pairs=pairs, edges={"latency": BUCKETS}))
    return folded(moments, ERRORS, LATENCY)


def _served(random: np.random.Generator, requests: int, errors: float, slower: float) -> np.ndarray:
    times = MEDIAN * slower * np.exp(SIGMA * random.standard_normal(requests))
    beyond = [np.count_nonzero(times > edge) for edge in BUCKETS]
    return np.array([requests, random.binomial(requests, errors), *beyond], dtype=float)


def promised(rate: float) -> tuple[float, float]:
    """Read the sentence: errors as a share on top, latency as a factor."""
    text = foreseen(_policy(), _judged(np.random.default_rng(RUNS), rate, until=-30))
    match = re.search(r"errors of \+(.*) points or latency of \+(.*)%", text)
    assert match is not None, text
    return float(match[1]) / 100, float(match[2]) / 100


@pytest.mark.parametrize("rate", [2.0, 20.0, 200.0])
def test_what_is_promised_is_found_in_half_of_the_runs_and_much_less_is_not(rate: float) -> None:
    errors, slower = promised(rate)
    assert found(rate, errors=USUAL + errors) >= RUNS / 2
    assert found(rate, slower=1 + slower) >= RUNS / 2
    assert found(rate, errors=USUAL + errors * 2 / 3) < found(rate, errors=USUAL + errors)
    assert found(rate, slower=1 + slower * 2 / 3) < RUNS / 2
