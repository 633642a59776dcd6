"""What was good and goes bad: a series that ends, stands still or is not scraped is silence until it is good again."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.measure import Kind, Outcome

from .answers import (
    DRIFT,
    ERRORS,
    LATENCY,
    MINUTE,
    SCORE,
    SECOND,
    SLO,
    STARTED,
    Answers,
    bucketed,
    counted,
    over,
    own,
    rising,
    weighed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops_serving.core.measure import Metric

    from .answers import Answer, Value

PATIENCE = 10 * MINUTE
GOOD_OF_ALL = replace(ERRORS, sources=own(Kind.COUNTER, "total", "good"))
GOOD_SCORE: dict[str, Answer] = {"value": [({}, lambda t: 0.9 + 0.01 * math.sin(t))]}
BAD_FROM, BAD_UNTIL = 500, 1280
NOTICED = 30 + 180  # seconds: the block that was open then, and the longest time for which the last one is believed
GOING: dict[str, Callable[[Value], Value]] = {
    "stuck": lambda value: lambda t: value(min(t, BAD_FROM)),
    "gone": lambda _: lambda _: None,
    "NaN": lambda _: lambda _: math.nan,
    "zero": lambda _: lambda _: 0.0,
}
PREDICTED = replace(DRIFT, enforced=True)
WATCHED: dict[str, tuple[tuple[Metric, ...], tuple[str, ...]]] = {  # and which of its series go bad
    "counters": ((ERRORS,), ("total", "bad")),
    "requests": ((ERRORS,), ("total",)),
    "limited counters": ((SLO,), ("total", "bad")),
    "good requests": ((GOOD_OF_ALL,), ("total", "good")),
    "a histogram": ((LATENCY,), ("buckets",)),
    "a gauge": ((SCORE,), ("value",)),
    "a drift": ((ERRORS, PREDICTED), ("buckets",)),
}
MIDWAY = [
    (watched, going, arm)
    for watched in WATCHED
    for going in GOING
    for arm in ("canary", "stable")
    if watched != "a gauge" or going in ("gone", "NaN")  # else it is a number as good as any other
]


def everything(rate: float) -> dict[str, Answer]:
    """All series of a good revision."""
    return {
        **counted(0.001, rate),
        **bucketed(0.1, rate),
        "good": [({}, rising(rate * 0.999))],
        **GOOD_SCORE,
    }


@pytest.mark.parametrize(("watched", "going", "arm"), MIDWAY)
def test_what_goes_bad_midway_stops_progress_until_it_is_good_again(watched: str, going: str, arm: str) -> None:
    """What had once been counted was enough for ever: a canary that had vanished passed, and got more traffic."""
    metrics, parts = WATCHED[watched]

    def bad(good: Value) -> Value:
        gone = GOING[going](good)
        return lambda t: (gone if BAD_FROM < t <= BAD_UNTIL else good)(t)

    canary, stable = everything(2.0), everything(18.0)
    sick = canary if arm == "canary" else stable
    sick.update({part: [(labels, bad(good)) for labels, good in sick[part]] for part in parts})
    answers = Answers(canary, stable)
    found = {(at - STARTED) // SECOND: each.verdict for at, each in over(answers, 1695, *metrics)}

    assert Outcome.FAIL not in {verdict.outcome for verdict in found.values()}
    before = [found[t].outcome for t in found if 450 <= t <= BAD_FROM]
    during = [found[t] for t in found if BAD_FROM + NOTICED < t <= BAD_UNTIL]
    assert set(before) == {Outcome.PASS}
    assert {verdict.outcome for verdict in during} == {Outcome.SILENT}
    assert found[1695].outcome is Outcome.PASS
    assert found[1695].silent_for == timedelta()
    assert [weighed(answers, t, *metrics).verdict for t in (900, 1695)] == [found[900], found[1695]]
    assert (during[-1].silent_for > 8 * MINUTE) is (watched != "a drift")  # which holds at most, and ends nothing


def test_a_gap_of_our_targets_alone_is_silence_and_no_evidence() -> None:
    answers = Answers(through_a_gap(2.0, 0.001), through_a_gap(18.0, 0.001))
    found = {(at - STARTED) // SECOND: weighing.verdict for at, weighing in over(answers, 1200)}
    assert {found[t].outcome for t in found if 300 + NOTICED < t <= 900} == {Outcome.SILENT}
    assert Outcome.FAIL not in {verdict.outcome for verdict in found.values()}
    assert max(verdict.silent_for for verdict in found.values()) < PATIENCE
    assert found[1200].outcome is Outcome.PASS
    assert found[1200] == weighed(answers, 1200).verdict


def test_a_canary_that_is_seldom_asked_anything_can_pass_all_the_same() -> None:
    """A service of 0.2 requests/s: one of them goes to the canary every 100 s, and its next block is 100 s away."""

    def thin(every: float) -> dict[str, Answer]:
        return {"total": [({}, lambda t: float(math.floor((t + 600) / every)))], "bad": []}

    answers = Answers(thin(100.0), thin(5.0))
    found = [weighed(answers, t).verdict for t in range(2300, 3300, 77)]
    assert {verdict.outcome for verdict in found} == {Outcome.PASS}
    stopped = replace(answers, canary={"total": [({}, lambda t: float(math.floor((min(t, 2400) + 600) / 100)))]})
    assert weighed(stopped, 2780).verdict.outcome is Outcome.PASS
    assert weighed(stopped, 2900).verdict.outcome is Outcome.SILENT


def through_a_gap(rate: float, bad: float) -> dict[str, Answer]:
    """Counters that were not scraped for ten minutes: the last value for five of them, and then nothing."""

    def value(t: float) -> float | None:
        return (min(t, 300) if t < 900 else t) + 600 if not 600 < t < 900 else None

    return {
        "total": [({}, lambda t: None if (v := value(t)) is None else v * rate)],
        "bad": [({}, lambda t: None if (v := value(t)) is None else v * rate * bad)],
    }
