"""What happens when patience or time runs out: abort or hold, as the policy says, and never up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gitops_serving.core.decide import decide, overdue
from gitops_serving.core.explain import ahead, explain, next_change
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import Abort, Decision, Exhausted, Past, Policy, Request, Shift, Situation, Wait

from .situations import HEALTHY, MINUTE, NOON, THREE_STEPS, UNKNOWN, checked, quick, trials, with_live, with_rollout
from .test_decide import BLIND, BURNING, EDITED, SILENT, STARTING, TAKEN_OVER, TAKING_OVER, asked, gated, held

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
STARTED = NOON - 6 * MINUTE  # of everything that is on trial here
TOO_LONG = "the rollout took longer than its policy allows (6h)"
LONG = Abort(TOO_LONG)
HELD_BY_TIME = Wait(f"{TOO_LONG}; the policy holds until somebody promotes or aborts")
MUTE = Abort("no evidence in time (for 15m1s; patience is 15m)")
HELD_BY_SILENCE = Wait(
    "no evidence in time (patience is 15m); the policy holds until there is, or somebody promotes or aborts"
)
SILENT_HOLDS = replace(THREE_STEPS, on_silence=Exhausted.HOLD)
LONG_HOLDS = replace(THREE_STEPS, on_timeout=Exhausted.HOLD)


def late(seen: Situation, by: timedelta = SECOND) -> Situation:
    """Let a rollout have taken six hours, and a bit."""
    return checked(replace(seen, now=STARTED + 6 * HOUR + by))


def mute(seen: Situation) -> Situation:
    """Let nothing have been heard for longer than patience lasts."""
    return checked(replace(seen, verdict=Verdict(Outcome.SILENT, "12 of 20 requests needed", 15 * MINUTE + SECOND)))


def under(policy: Policy, seen: Situation) -> Situation:
    return checked(replace(seen, policy=policy))


def was_held(seen: Situation, now: timedelta, before: timedelta) -> Situation:
    """Let people have held a canary at this weight and at the one before."""
    canary = seen.rollout.canary
    assert canary is not None
    past = (Past(5, STARTED, before),)
    return with_rollout(seen, canary=replace(canary, past=past, started=STARTED), held_for=now)


RULES: dict[str, tuple[Situation, Decision]] = {
    # silence
    "silence beyond patience aborts where the policy says so": (mute(HEALTHY), MUTE),
    "silence beyond patience holds where the policy says so": (under(SILENT_HOLDS, mute(HEALTHY)), HELD_BY_SILENCE),
    "silence within patience waits for evidence under either": (
        under(SILENT_HOLDS, SILENT),
        Wait("12 of 20 requests needed"),
    ),
    "evidence after a long silence goes on": (
        under(SILENT_HOLDS, HEALTHY),
        Shift(50, "errors 0.2% (stable 0.2%)"),
    ),
    "a person promotes what silence holds": (
        asked(under(SILENT_HOLDS, mute(HEALTHY)), Request.PROMOTE),
        Shift(100, "a person asked for it"),
    ),
    "a person aborts what silence holds": (
        asked(under(SILENT_HOLDS, mute(HEALTHY)), Request.ABORT),
        Abort("a person asked for it", rejects=True),
    ),
    # time
    "a rollout that takes too long is aborted, and not held against the revision": (late(HEALTHY), LONG),
    "a rollout that takes too long is held where the policy says so": (
        under(LONG_HOLDS, late(HEALTHY)),
        HELD_BY_TIME,
    ),
    "a rollout has exactly as long as its policy allows": (
        late(HEALTHY, timedelta()),
        Shift(50, "errors 0.2% (stable 0.2%)"),
    ),
    "a dwelling canary is aborted when time is over": (
        with_live(late(HEALTHY), since=STARTED + 6 * HOUR - MINUTE),
        LONG,
    ),
    "a silent canary is aborted when time is over": (late(SILENT), LONG),
    "a canary that is held by silence is aborted when time is over": (under(SILENT_HOLDS, late(mute(HEALTHY))), LONG),
    "a canary that has not arrived may run out of time": (with_live(late(SILENT), settled=False), LONG),
    "a canary that is starting may run out of time": (
        with_live(late(STARTING), since=STARTED + 6 * HOUR - MINUTE),
        LONG,
    ),
    "a canary that is not ready in time is rejected, however long the rollout took": (
        late(STARTING),
        Abort("not ready in time (after 5h53m1s; readyWithin is 10m)", rejects=True),
    ),
    "a canary that is not ready in time is not kept by a policy that holds": (
        under(LONG_HOLDS, late(STARTING)),
        Abort("not ready in time (after 5h53m1s; readyWithin is 10m)", rejects=True),
    ),
    "silence that aborts is not kept by a time-out that holds": (under(LONG_HOLDS, late(mute(HEALTHY))), MUTE),
    "a failing verdict says more than a time-out": (
        late(BURNING),
        Abort("errors 4% (stable 0.2%)", rejects=True),
    ),
    "a failing verdict is not kept by a time-out that holds": (
        under(LONG_HOLDS, late(BURNING)),
        Abort("errors 4% (stable 0.2%)", rejects=True),
    ),
    "a person's abort outranks a time-out": (
        asked(late(HEALTHY), Request.ABORT),
        Abort("a person asked for it", rejects=True),
    ),
    "a person's promote outranks a time-out": (
        asked(late(HEALTHY), Request.PROMOTE),
        Shift(100, "a person asked for it"),
    ),
    "a person promotes what a time-out holds": (
        asked(under(LONG_HOLDS, late(HEALTHY)), Request.PROMOTE),
        Shift(100, "a person asked for it"),
    ),
    "a held rollout runs out of nothing": (held(late(HEALTHY)), Wait("held")),
    "a rollout at a closed gate runs out of nothing": (gated(late(HEALTHY)), Wait("a freeze until Monday")),
    "nobody runs out of time while prometheus is blind": (late(BLIND), Wait("Prometheus did not answer")),
    "nobody runs out of time while the cluster does not answer": (
        replace(late(SILENT), live=UNKNOWN),
        Wait("the API server did not answer"),
    ),
    "an edited head waits for people and not for time": (late(EDITED), Wait(decide(EDITED).because)),
    "a canary that takes over has all the time in the world": (late(TAKING_OVER), Wait("the canary is taking over")),
    "a canary that took over in the meantime is promoted": (late(TAKEN_OVER), decide(TAKEN_OVER)),
    "a newer push does not wait for the time of the one before": (
        late(with_rollout(HEALTHY, wanted="v3")),
        Shift(5, "a new revision was pushed"),
    ),
    "time that people held it is not counted": (
        was_held(late(HEALTHY, 10 * MINUTE), now=8 * MINUTE, before=2 * MINUTE),
        Shift(50, "errors 0.2% (stable 0.2%)"),
    ),
    "time beyond what people held it is counted": (
        was_held(late(HEALTHY, 10 * MINUTE), now=8 * MINUTE, before=2 * MINUTE - SECOND),
        LONG,
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    seen, expected = RULES[rule]

    assert decide(checked(seen)) == expected


def test_a_time_out_is_told_in_one_sentence() -> None:
    said = "The rollout took longer than its policy allows (6h)"
    assert explain(LONG, HEALTHY) == f"{said}; traffic returns to stable v1."
    assert explain(HELD_BY_TIME, HEALTHY) == f"{said}; the policy holds until somebody promotes or aborts."


def test_the_time_for_which_a_drift_alone_held_is_not_the_rollout_s() -> None:
    """A drift holds and never takes back: it did, by the time that ran out meanwhile."""
    drifted = Verdict(Outcome.SILENT, "drift predictions are spread otherwise than stable's", drifting=HOUR)
    for by, decision in ((HOUR, Wait(drifted.because)), (HOUR + SECOND, LONG)):
        seen = late(replace(HEALTHY, verdict=drifted), by)
        assert decide(seen) == decision
        assert overdue(seen) is (decision is LONG)
    assert ahead(replace(HEALTHY, verdict=drifted)).overtime == STARTED + 7 * HOUR


# -- everywhere ------------------------------------------------------------------------------------------------------


@quick
@given(trials, st.sampled_from(Exhausted), st.sampled_from(Exhausted))
def test_neither_silence_nor_a_time_out_ever_promotes(
    seen: Situation, on_silence: Exhausted, on_timeout: Exhausted
) -> None:
    assert seen.policy is not None
    assert seen.rollout.canary is not None
    exhausted = replace(seen.policy, on_silence=on_silence, on_timeout=on_timeout, max_duration=timedelta())
    silent = Verdict(Outcome.SILENT, "it is silent", exhausted.patience + SECOND)
    for tired in (replace(seen, verdict=silent), seen):
        decision = decide(checked(replace(tired, policy=exhausted)))
        if isinstance(decision, Shift) and seen.rollout.wanted == seen.rollout.canary.revision:
            spent = overdue(replace(tired, policy=exhausted)) or tired.verdict is silent
            assert seen.rollout.asked is Request.PROMOTE or not spent


@quick
@given(trials)
def test_a_policy_that_holds_takes_nothing_back_for_want_of_evidence_or_of_time(seen: Situation) -> None:
    assert seen.policy is not None
    patient = replace(seen.policy, on_silence=Exhausted.HOLD, on_timeout=Exhausted.HOLD)
    because = decide(checked(replace(seen, policy=patient))).because
    assert because != MUTE.because
    assert not because.startswith("the rollout took") or "the policy holds" in because


@quick
@given(trials)
def test_a_time_out_never_rejects_and_never_speaks_of_what_is_not_seen(seen: Situation) -> None:
    decision = decide(seen)
    if decision.because.startswith("the rollout took"):
        assert not isinstance(decision, Abort) or not decision.rejects
        assert seen.live.known
        assert seen.verdict.outcome is not Outcome.BLIND
        assert not seen.rollout.held
        assert not seen.gate


@quick
@given(trials, st.integers(0, 4 * 3600))
def test_time_alone_does_nothing_before_the_instant_that_is_named(seen: Situation, seconds: int) -> None:
    """Patience is left out: how long a silence lasts is measured, and does not follow from the clock alone."""
    assume(isinstance(decide(seen), Wait))
    later = replace(seen, now=seen.now + timedelta(seconds=seconds))
    if not isinstance(decide(later), Wait):
        at = next_change(seen)
        assert at is not None
        assert at <= later.now


@quick
@given(trials)
def test_what_is_to_end_a_trial_ends_it_a_moment_later(seen: Situation) -> None:
    assume(isinstance(decide(seen), Wait))
    coming = ahead(seen)
    for at in (coming.unready, coming.overtime):
        if at is not None:
            assert isinstance(decide(replace(seen, now=at + SECOND)), Abort)
    if coming.silent is not None:
        silent = replace(seen.verdict, silent_for=seen.verdict.silent_for + (coming.silent - seen.now) + SECOND)
        assert isinstance(decide(replace(seen, verdict=silent)), Abort)
