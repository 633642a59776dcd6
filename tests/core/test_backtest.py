"""A policy against the past, sample by sample: what it would have done, when, and what it cannot say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gitops_serving.core.backtest import Compared, Replayed, Samples, Would, apart, replay, summary, unknown
from gitops_serving.core.blocks import HISTORY, Counts
from gitops_serving.core.evidence import Moment
from gitops_serving.core.measure import Kind, Metric, Source
from gitops_serving.core.model import Exhausted, Policy, Step
from gitops_serving.core.past import End, Given, Held, Journey

from .situations import MINUTE, NOON

SECOND = timedelta(seconds=1)
ERRORS = Metric(name="errors", sources=(Source(kind=Kind.COUNTER, parts={}),), tolerance=0.2, at_least=0.01)
POLICY = Policy(
    name="standard",
    digest="0123abcd",
    steps=(Step(10, 5 * MINUTE), Step(50, 5 * MINUTE)),
    ready_within=5 * MINUTE,
    patience=10 * MINUTE,
    metrics=(ERRORS,),
)
LENIENT = replace(POLICY, metrics=(replace(ERRORS, at_least=0.10),))
ABORTED = Journey(
    service="fraud/scorer",
    environment="demo",
    revision="222222222222",
    given=(Given(10, NOON),),
    end=End.ABORTED,
    ended=NOON + 12 * MINUTE,
)
PROMOTED = replace(
    ABORTED,
    given=(Given(10, NOON), Given(50, NOON + 5 * MINUTE), Given(100, NOON + 11 * MINUTE)),
    end=End.PROMOTED,
    ended=NOON + 12 * MINUTE,
)


def samples(minutes: float, bad: float = 0.0, *, canary: float = 2.0, stable: float = 8.0, dark: int = 0) -> Samples:
    """Ten minutes of stable alone, then both at so many requests a second; ``dark``: seconds without any scrape."""
    moments = []
    for t in range(-600, int(minutes * 60) + 1, 10):
        seen = not 60 < t <= 60 + dark
        pair = _counts(canary * t, bad) if t > 0 else None, _counts(stable * (t + 600), 0.005)
        moments.append(Moment(t=float(t), step=HISTORY, pairs={"errors": pair if seen else (None, None)}, scraped=seen))
    return Samples(moments=moments, step=10 * SECOND, lag=10 * SECOND)


def _counts(requests: float, bad: float) -> Counts:
    return Counts(float(int(requests)), (float(int(requests * bad)),))


def test_what_nothing_speaks_against_would_have_been_promoted() -> None:
    replayed = replay(PROMOTED, POLICY, samples(11))

    assert replayed.would is Would.PROMOTED
    assert [move.weight for move in replayed.moves] == [10, 50]
    assert replayed.at is not None
    assert timedelta() <= replayed.at - (NOON + 10 * MINUTE) <= MINUTE
    assert replayed.because.startswith("all steps passed; errors")


def test_a_stricter_policy_aborts_earlier_than_a_lenient_one() -> None:
    strict, lenient = (replay(ABORTED, policy, samples(12, 0.2)) for policy in (POLICY, LENIENT))

    assert (strict.would, lenient.would) == (Would.ABORTED, Would.ABORTED)
    assert strict.at is not None
    assert lenient.at is not None
    assert strict.at < lenient.at
    assert strict.curve[-1].total >= strict.bound


def test_the_next_step_comes_when_the_dwell_is_over_and_not_when_it_came_then() -> None:
    quick = replace(POLICY, steps=(Step(10, 2 * MINUTE), Step(50, 2 * MINUTE)))

    replayed = replay(PROMOTED, quick, samples(11))

    assert replayed.would is Would.PROMOTED
    assert replayed.moves[1].at < PROMOTED.given[1].at
    assert replayed.at is not None
    assert replayed.at < NOON + 6 * MINUTE


def test_a_policy_that_waits_longer_than_the_canary_stood_is_undecided() -> None:
    slow = replace(POLICY, steps=(Step(10, 60 * MINUTE),))

    replayed = replay(PROMOTED, slow, samples(11))

    assert (replayed.would, replayed.at) == (Would.UNDECIDED, None)
    assert replayed.because == "at 10% when its samples end: healthy, dwelling"


def test_a_canary_that_nobody_asks_is_aborted_when_patience_is_over() -> None:
    replayed = replay(PROMOTED, replace(POLICY, patience=4 * MINUTE), samples(11, canary=0.0))

    assert (replayed.would, replayed.because) == (Would.ABORTED, "no evidence in time (for 4m10s; patience is 4m)")


def test_time_that_people_held_it_is_no_silence() -> None:
    held = replace(PROMOTED, held=(Held(NOON + MINUTE, NOON + 8 * MINUTE),))

    replayed = replay(held, replace(POLICY, patience=4 * MINUTE), samples(11, canary=0.0))

    assert replayed.would is Would.UNDECIDED


def test_or_held_where_the_policy_says_so() -> None:
    patient = replace(POLICY, patience=4 * MINUTE, on_silence=Exhausted.HOLD)

    replayed = replay(PROMOTED, patient, samples(11, canary=0.0))

    assert replayed.would is Would.UNDECIDED
    assert "the policy holds" in replayed.because


def test_a_rollout_may_take_too_long() -> None:
    late = replace(POLICY, steps=(Step(10, 7 * MINUTE),), max_duration=6 * MINUTE)

    replayed = replay(PROMOTED, late, samples(11))

    assert replayed.would is Would.ABORTED
    assert replayed.because == "the rollout took longer than its policy allows (6m)"


def test_nothing_rises_while_people_hold_it() -> None:
    held = replace(PROMOTED, held=(Held(NOON + MINUTE, NOON + 12 * MINUTE),))

    replayed = replay(held, POLICY, samples(11))

    assert (replayed.would, replayed.because) == (Would.UNDECIDED, "at 10% when its samples end: held")


def test_nothing_rises_while_prometheus_scraped_nothing() -> None:
    seen, blind = (replay(PROMOTED, POLICY, samples(18, dark=dark)) for dark in (0, 420))

    assert seen.at is not None
    assert blind.at is not None
    assert blind.at > seen.at + MINUTE


def test_a_metric_that_cannot_be_read_lets_nothing_rise() -> None:
    unread = replace(samples(30), wrong={"errors": "none of its sources is in Prometheus"})

    replayed = replay(PROMOTED, POLICY, unread)

    assert replayed.would is Would.UNDECIDED
    assert "none of its sources is in Prometheus" in replayed.because


def test_no_samples_decide_nothing() -> None:
    replayed = replay(PROMOTED, POLICY, Samples(moments=(), step=10 * SECOND, lag=10 * SECOND))

    assert replayed.would is Would.UNDECIDED


def test_the_steps_of_then_make_no_difference_to_the_steps_of_the_policy() -> None:
    """The moments come with the step that was given then; what counts is the one that would have been."""
    given = [replace(moment, step=1) for moment in samples(11).moments]

    replayed = replay(PROMOTED, POLICY, replace(samples(11), moments=given))

    assert replayed == replay(PROMOTED, POLICY, samples(11))


# -- all of them together --------------------------------------------------------------------------------------------


def would(outcome: Would, minutes: float | None = None) -> Replayed:
    return Replayed(would=outcome, because="because", at=None if minutes is None else NOON + minutes * MINUTE)


GOOD = Compared(PROMOTED, would(Would.PROMOTED, 11))
CAUGHT = Compared(ABORTED, would(Would.ABORTED, 6))
WRONGLY = Compared(PROMOTED, would(Would.ABORTED, 3))
TAKEN_BACK = Compared(replace(PROMOTED, taken_back=True), would(Would.ABORTED, 3))
MISSED = Compared(ABORTED, would(Would.PROMOTED, 10))
OPEN = Compared(ABORTED, would(Would.UNDECIDED))
BROKEN = Compared(PROMOTED, unknown("policies/standard.yaml: spec is missing"), invalid=True)
UNREAD = Compared(PROMOTED, would(Would.UNDECIDED), unread=("errors",))
GONE = Compared(PROMOTED, unknown("Prometheus has nothing of it any more"))


@pytest.mark.parametrize(
    ("compared", "sentence"),
    [
        ([GOOD] * 13 + [CAUGHT], "would have aborted 1 of 14, 6 min earlier; none wrongly"),
        ([GOOD, GOOD], "would have aborted none of 2"),
        ([GOOD, WRONGLY], "would have aborted 1 of 2; 1 wrongly"),
        ([TAKEN_BACK], "would have aborted 1 of 1; none wrongly"),
        (
            [CAUGHT, replace(CAUGHT, replayed=would(Would.ABORTED, 14))],
            "would have aborted 2 of 2, 2 min earlier in the middle; none wrongly",
        ),
        ([GOOD, MISSED], "would have aborted none of 2; would have promoted 1 that was aborted"),
        ([GOOD, OPEN, OPEN], "would have aborted none of 3; undecided about 2"),
        ([GOOD, GONE], "would have aborted none of 1; nothing is known of 1 any more"),
        ([GONE, GONE], "Prometheus has nothing of these 2 rollouts any more"),
        ([BROKEN, BROKEN], "the policy of these 2 rollouts cannot be read"),
        ([BROKEN], "the policy of the only rollout cannot be read"),
        ([BROKEN, GONE], "the policy of 1 cannot be read; nothing is known of 1 any more"),
        ([GOOD, BROKEN], "would have aborted none of 1; the policy of 1 cannot be read"),
        ([GOOD, UNREAD], "would have aborted none of 2; undecided about 1; a metric of 1 cannot be read"),
        ([], "no rollout with a trial was found in the ledger"),
    ],
)
def test_all_rollouts_come_to_one_sentence(compared: list[Compared], sentence: str) -> None:
    assert summary(compared) == sentence


def test_what_speaks_against_a_policy_is_told_from_what_does_not() -> None:
    assert [each.bad for each in (WRONGLY, MISSED, BROKEN, UNREAD)] == [True] * 4
    assert not any(each.bad for each in (GOOD, CAUGHT, TAKEN_BACK, OPEN, GONE))


@pytest.mark.parametrize(
    ("later", "words"),
    [(-372, "6 min earlier"), (-40, "40 s earlier"), (90, "2 min later"), (0.4, "at the same time")],
)
def test_differences_are_said_as_roughly_as_people_say_them(later: float, words: str) -> None:
    assert apart(timedelta(seconds=later)) == words
