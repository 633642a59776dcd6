from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from gitops_serving.core.decide import decide
from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import Owned, Past, Policy, Request, Situation, Stable, Step

from .situations import AT_REST, HEALTHY, IDLE, MINUTE, NOON, THREE_STEPS, Impossible, checked, quick, situations

CANARY = HEALTHY.rollout.canary
assert CANARY is not None


def steps(*weights: int) -> Policy:
    return replace(THREE_STEPS, steps=tuple(Step(weight, MINUTE) for weight in weights))


def on_trial(**fields: object) -> Situation:
    assert CANARY is not None
    return replace(HEALTHY, rollout=replace(HEALTHY.rollout, canary=replace(CANARY, **fields)))  # type: ignore[arg-type]  # fields of any kind


IMPOSSIBLE = {
    "the canary is the stable revision": on_trial(revision="v1", label="v1.2"),
    "the canary's weight": on_trial(weight=0),
    "given its weight before it was admitted": on_trial(started=NOON + MINUTE),
    "past is not in order": on_trial(past=(Past(25, NOON - MINUTE),)),
    "the canary's past": on_trial(past=(Past(5, NOON - MINUTE, 2 * MINUTE),)),
    "given its weight in the future": on_trial(since=HEALTHY.now + MINUTE),
    "a label is not that": on_trial(label="v3.2"),
    "never adopted": replace(HEALTHY, rollout=replace(HEALTHY.rollout, stable=None)),
    "settling while": replace(HEALTHY, rollout=replace(HEALTHY.rollout, settling=True)),
    "is rejected": replace(HEALTHY, rollout=replace(HEALTHY.rollout, rejected=frozenset({"v2"}))),
    "needs no trial": replace(HEALTHY, rollout=replace(HEALTHY.rollout, direct="it was stable before")),
    "held longer": replace(HEALTHY, rollout=replace(HEALTHY.rollout, held_for=60 * MINUTE)),
    "held time is negative": replace(HEALTHY, rollout=replace(HEALTHY.rollout, held_for=-MINUTE)),
    "and it was held": replace(IDLE, rollout=replace(IDLE.rollout, held_for=MINUTE)),
    "an abort is asked": replace(IDLE, rollout=replace(IDLE.rollout, wanted="v2", asked=Request.ABORT)),
    "about the stable": replace(IDLE, rollout=replace(IDLE.rollout, asked=Request.PROMOTE)),
    "its own predecessor": replace(IDLE, rollout=replace(IDLE.rollout, previous="v1")),
    "has no complaint": replace(IDLE, rollout=replace(IDLE.rollout, wanted="?")),
    "closes no gate": replace(IDLE, rollout=replace(IDLE.rollout, wanted="?", invalid=Invalid("no", code="no"))),
    "the head's weight": replace(IDLE, rollout=replace(IDLE.rollout, owned=Owned(101))),
    "a step beyond 100": replace(HEALTHY, policy=steps(5, 100)),
    "do not rise": replace(HEALTHY, policy=steps(5, 5)),
    "without steps": replace(HEALTHY, policy=steps()),
    "not ready": replace(HEALTHY, live=replace(HEALTHY.live, ready=False)),
    "latest ready": replace(HEALTHY, live=replace(HEALTHY.live, latest="v1")),
    "in the future": replace(HEALTHY, live=replace(HEALTHY.live, since=HEALTHY.now + MINUTE)),
    "ever was ready": replace(HEALTHY, live=replace(HEALTHY.live, ready=False, settled=False, latest=None)),
    "split with nothing": replace(HEALTHY, live=replace(HEALTHY.live, baseline=None)),
    "no object": replace(IDLE, live=replace(AT_REST, content=None)),
    "the live weight": replace(IDLE, live=replace(AT_REST, template=Owned(-1))),
    "without a policy": replace(HEALTHY, policy=None),
    "side by side": replace(IDLE, verdict=Verdict(Outcome.FAIL, "errors")),
    "silence that is none": replace(HEALTHY, verdict=Verdict(Outcome.PASS, "", MINUTE)),
    "silence is negative": replace(HEALTHY, verdict=Verdict(Outcome.SILENT, "", -timedelta(seconds=1))),
    "nobody answered": replace(IDLE, verdict=Verdict(Outcome.BLIND, "")),
}


@pytest.mark.parametrize("reason", IMPOSSIBLE)
def test_an_impossible_situation_is_refused(reason: str) -> None:
    with pytest.raises(Impossible, match=reason):
        checked(IMPOSSIBLE[reason])


def test_the_situations_that_tests_start_from_can_exist() -> None:
    assert checked(HEALTHY) is HEALTHY
    assert checked(IDLE) is IDLE
    assert checked(replace(IDLE, rollout=replace(IDLE.rollout, stable=Stable("v1", None)))).rollout.stable


def test_the_strategy_reaches_every_move_there_is() -> None:
    reached: set[str] = set()

    @settings(quick, max_examples=1000, database=None, derandomize=True)
    @given(situations)
    def collect(seen: Situation) -> None:
        reached.add(type(decide(seen)).__name__)

    collect()
    assert reached == {"Wait", "Adopt", "Shift", "Promote", "Abort", "Drop", "Refuse", "Repair", "Settle"}
