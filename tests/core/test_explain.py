from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.decide import decide
from gitops_serving.core.errors import Invalid
from gitops_serving.core.explain import ACTIONS, Ahead, ahead, evidence, explain, next_change, phase, step_of
from gitops_serving.core.measure import Measurement, Outcome, Verdict
from gitops_serving.core.model import (
    Abort,
    Adopt,
    Drop,
    Exhausted,
    Owned,
    Promote,
    Refuse,
    Repair,
    Settle,
    Shift,
    Step,
    Wait,
)

from .situations import HEALTHY, IDLE, MINUTE, NOON, THREE_STEPS, UNKNOWN, with_live, with_rollout

if TYPE_CHECKING:
    from gitops_serving.core.model import Decision, Situation

CANARY = HEALTHY.rollout.canary
assert CANARY is not None
BROKEN = Invalid("not YAML", code="syntax")
SAID: list[tuple[Decision, str]] = [
    (Wait("healthy, dwelling"), "Healthy, dwelling."),
    (Adopt(), "The cluster runs what Git holds."),
    (Shift(25, "errors 0%"), "Errors 0%."),
    (Shift(100, "all steps passed"), "All steps passed; all traffic goes to it."),
    (Promote(), "All traffic is on it."),
    (Abort("no evidence in time"), "No evidence in time; traffic returns to stable v1."),
    (
        Abort("errors 4%", rejects=True),
        "Errors 4%; traffic returns to stable v1. This revision is refused until somebody asks for a retry.",
    ),
    (Drop("errors 4%", rejects=True), "Errors 4%; stable v1 is restored, and the newer push waits."),
    (Refuse("it was rejected"), "It was rejected. The stable manifest is restored."),
    (Repair("owned fields were edited"), "Owned fields were edited."),
    (Settle(), "All traffic is on the stable revision."),
]


@pytest.mark.parametrize(("decision", "said"), SAID)
def test_a_move_is_one_sentence(decision: Decision, said: str) -> None:
    assert explain(decision, HEALTHY) == said


def test_every_move_has_a_name_and_a_sentence() -> None:
    assert set(ACTIONS) == {type(decision) for decision, _ in SAID}
    assert len(set(ACTIONS.values())) == len(ACTIONS)


PHASES = {
    "New": replace(IDLE, rollout=replace(IDLE.rollout, stable=None)),
    "Stable": IDLE,
    "Settling": replace(IDLE, rollout=replace(IDLE.rollout, settling=True)),
    "Pending": with_rollout(IDLE, wanted="v2"),
    "Stepping": HEALTHY,
    "Taking over": replace(HEALTHY, rollout=replace(HEALTHY.rollout, canary=replace(CANARY, weight=100))),
}
MORE_PHASES = {
    "a newer push": (with_rollout(HEALTHY, wanted="v3"), "Pending"),
    "stable pushed back": (with_rollout(HEALTHY, wanted="v1"), "Pending"),
    "an unreadable head of one on trial": (
        with_rollout(replace(HEALTHY, gate="x"), wanted="?", invalid=BROKEN),
        "Stepping",
    ),
    "an unreadable head": (with_rollout(replace(IDLE, gate="x"), wanted="?", invalid=BROKEN), "Stable"),
}


@pytest.mark.parametrize(("name", "seen"), PHASES.items())
def test_a_phase_is_derived(name: str, seen: Situation) -> None:
    assert phase(seen.rollout) == name


@pytest.mark.parametrize("case", MORE_PHASES)
def test_a_phase_is_derived_with(case: str) -> None:
    seen, name = MORE_PHASES[case]
    assert phase(seen.rollout) == name


@pytest.mark.parametrize(
    ("weight", "said"), [(0, ""), (5, "1/3"), (24, "1/3"), (25, "2/3"), (50, "3/3"), (99, "3/3"), (100, ""), (1, "1/3")]
)
def test_a_step_is_named_by_its_rank(weight: int, said: str) -> None:
    assert step_of(HEALTHY, weight) == said


def test_without_a_policy_there_is_no_step() -> None:
    assert step_of(replace(HEALTHY, policy=None), 5) == ""


def test_evidence_is_one_line_a_measurement() -> None:
    measured = (
        Measurement(metric="errors", outcome=Outcome.PASS, because="errors 0%"),
        Measurement(metric="slo", outcome=Outcome.FAIL, because="slo 4%"),
    )
    seen = replace(HEALTHY, verdict=Verdict(Outcome.FAIL, "slo 4%", measurements=measured))
    assert evidence(seen) == ("pass: errors 0%", "fail: slo 4%")


# -- what time will do -----------------------------------------------------------------------------------------------

FRESH = replace(HEALTHY, now=NOON + MINUTE)
MUTE = replace(FRESH, verdict=Verdict(Outcome.SILENT, "12 of 20 requests needed", MINUTE))
STARTING = with_live(FRESH, ready=False, settled=False, latest="v1")
SILENCE_HOLDS = replace(THREE_STEPS, on_silence=Exhausted.HOLD)
TIME_HOLDS = replace(THREE_STEPS, on_timeout=Exhausted.HOLD)
END = NOON + 354 * MINUTE  # six hours after it was admitted
AHEAD: dict[str, tuple[Situation, Ahead]] = {
    "the end of the dwell": (FRESH, Ahead(dwelt=NOON + 5 * MINUTE, overtime=END)),
    "a dwell that began when the weight arrived": (
        with_live(FRESH, since=NOON + MINUTE),
        Ahead(dwelt=NOON + 6 * MINUTE, overtime=END),
    ),
    "no dwell that is over": (HEALTHY, Ahead(overtime=END)),
    "the end of the patience with loading": (STARTING, Ahead(unready=NOON + 10 * MINUTE, overtime=END)),
    "patience with loading that a hold prolonged": (
        with_rollout(STARTING, held_for=MINUTE),
        Ahead(unready=NOON + 11 * MINUTE, overtime=END + MINUTE),
    ),
    "nothing of a cluster that catches up": (with_live(FRESH, settled=False), Ahead(overtime=END)),
    "the end of the patience with silence": (
        MUTE,
        Ahead(dwelt=NOON + 5 * MINUTE, silent=NOON + 15 * MINUTE, overtime=END),
    ),
    "no end of a silence that holds": (
        replace(MUTE, policy=SILENCE_HOLDS),
        Ahead(dwelt=NOON + 5 * MINUTE, overtime=END),
    ),
    "no end of a rollout that is held when it takes too long": (
        replace(FRESH, policy=TIME_HOLDS),
        Ahead(dwelt=NOON + 5 * MINUTE),
    ),
    "nothing, where it already is": (replace(FRESH, policy=TIME_HOLDS, now=END + MINUTE), Ahead()),
    "no end of a rollout while prometheus is blind": (
        replace(FRESH, verdict=Verdict(Outcome.BLIND, "it is blind")),
        Ahead(dwelt=NOON + 5 * MINUTE),
    ),
    "nothing of a cluster that does not answer": (replace(FRESH, live=UNKNOWN), Ahead()),
    "nothing where a newer push waits": (with_rollout(FRESH, wanted="v3"), Ahead()),
    "nothing where the head was edited": (with_rollout(FRESH, owned=Owned(60, "v2.2")), Ahead()),
    "nothing of a canary that takes over": (PHASES["Taking over"], Ahead()),
}


@pytest.mark.parametrize("case", AHEAD)
def test_time_is_said_to_bring(case: str) -> None:
    seen, expected = AHEAD[case]
    assert ahead(seen) == expected


def test_the_next_change_is_the_first_of_them() -> None:
    assert next_change(FRESH) == NOON + 5 * MINUTE
    assert next_change(STARTING) == NOON + 10 * MINUTE
    assert next_change(HEALTHY) == END
    slow = replace(MUTE, policy=replace(THREE_STEPS, steps=(Step(25, 60 * MINUTE),)))
    assert next_change(slow) == NOON + 15 * MINUTE
    assert next_change(replace(slow, policy=replace(THREE_STEPS, max_duration=8 * MINUTE))) == NOON + 2 * MINUTE


def test_time_that_was_held_is_no_time_to_become_ready_in() -> None:
    """It said that a canary would be aborted two minutes before `decide` did it."""
    loading = with_rollout(with_live(HEALTHY, settled=False, ready=False), held_for=2 * MINUTE)
    due = next_change(loading)
    assert due == NOON + 12 * MINUTE
    assert isinstance(decide(replace(loading, now=due)), Wait)
    assert isinstance(decide(replace(loading, now=due + timedelta(seconds=1))), Abort)


@pytest.mark.parametrize(
    "seen",
    [IDLE, with_rollout(HEALTHY, held=True), replace(HEALTHY, gate="a freeze"), PHASES["Taking over"]],
    ids=["nothing on trial", "held", "gated", "taking over"],
)
def test_time_alone_changes_nothing_where_something_else_is_waited_for(seen: Situation) -> None:
    assert next_change(seen) is None
