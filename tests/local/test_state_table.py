"""The state table of KServe on Knative, row by row, as it was played on Knative's real controllers.

r1, r2, r3 are revisions in the order of their birth.  A row says what is created,
ready, rolled out and rolled out before, and the traffic: ``L`` marks the target
that follows the latest ready revision, ``prev`` the one by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gitops_serving.local.reconcile import Component, apply, converge, remove, settle_readiness


@dataclass(frozen=True, slots=True)
class Apply:
    """One commit: a template and a weight."""

    template: str
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Is:
    """A revision becomes ready, or fails."""

    revision: str
    ready: bool = True


Step = Apply | Is

ROLLED_OUT_TWICE = (Apply("v1"), Is("r1"), Apply("v2"), Is("r2"))
CANARY = (Apply("v1"), Is("r1"), Apply("v2", 10), Is("r2"))
PROMOTED = (*CANARY, Apply("v2", 100))

ROWS: dict[str, tuple[tuple[Step, ...], str]] = {
    "1 create, not ready": ((Apply("v1"),), "r1 / - / - / - : "),
    "2 first revision ready": ((Apply("v1"), Is("r1")), "r1 / r1 / r1 / - : r1 100 L"),
    "2b create with a weight": ((Apply("v1", 20), Is("r1")), "r1 / r1 / r1 / - : r1 20 L + r1 80 prev"),
    "3 new template, not ready": ((Apply("v1"), Is("r1"), Apply("v2")), "r2 / r1 / r1 / - : r1 100 L"),
    "3b ready": (ROLLED_OUT_TWICE, "r2 / r2 / r2 / r1 : r2 100 L"),
    "4 canary, not ready": (CANARY[:3], "r2 / r1 / r1 / - : r1 10 L + r1 90 prev"),
    "4b canary ready": (CANARY, "r2 / r2 / r1 / - : r2 10 L + r1 90 prev"),
    "5 weight raised": ((*CANARY, Apply("v2", 50)), "r2 / r2 / r1 / - : r2 50 L + r1 50 prev"),
    "6 weight 100": (PROMOTED, "r2 / r2 / r2 / r1 : r2 100 L"),
    "7 weight removed after 100": ((*PROMOTED, Apply("v2")), "r2 / r2 / r2 / r1 : r2 100 L"),
    "7b weight removed at 10": ((*CANARY, Apply("v2")), "r2 / r2 / r2 / r1 : r2 100 L"),
    "8 weight 0 mid-canary": ((*CANARY, Apply("v2", 0)), "r2 / r2 / r1 / - : r2 0 L + r1 100 prev"),
    "9 canary never ready": ((*CANARY[:3], Is("r2", ready=False)), "r2 / r1 / r1 / - : r1 10 L + r1 90 prev"),
    "10 next template mid-canary": ((*CANARY, Apply("v3", 20)), "r3 / r2 / r1 / - : r2 20 L + r1 80 prev"),
    "10b ready": ((*CANARY, Apply("v3", 20), Is("r3")), "r3 / r3 / r1 / - : r3 20 L + r1 80 prev"),
    "11 naive revert": ((*CANARY, Apply("v1")), "r3 / r2 / r2 / r1 : r2 100 L"),
    "11b ready": ((*CANARY, Apply("v1"), Is("r3")), "r3 / r3 / r3 / r2 : r3 100 L"),
    "12 safe revert": ((*CANARY, Apply("v1", 0)), "r3 / r2 / r1 / - : r2 0 L + r1 100 prev"),
    "12a ready": ((*CANARY, Apply("v1", 0), Is("r3")), "r3 / r3 / r1 / - : r3 0 L + r1 100 prev"),
    "12b weight removed": ((*CANARY, Apply("v1", 0), Is("r3"), Apply("v1")), "r3 / r3 / r3 / r1 : r3 100 L"),
    "13 rollback after promotion": ((*PROMOTED, Apply("v2", 0)), "r2 / r2 / r1 / r1 : r2 0 L + r1 100 prev"),
    "13b weight removed": ((*PROMOTED, Apply("v2", 0), Apply("v2")), "r2 / r2 / r2 / r1 : r2 100 L"),
    "14 old template at 0 after promotion": ((*PROMOTED, Apply("v1", 0)), "r3 / r2 / r2 / r1 : r2 0 L + r2 100 prev"),
    "14a ready": ((*PROMOTED, Apply("v1", 0), Is("r3")), "r3 / r3 / r2 / r1 : r3 0 L + r2 100 prev"),
    "14b weight 100": ((*PROMOTED, Apply("v1", 0), Is("r3"), Apply("v1", 100)), "r3 / r3 / r3 / r2 : r3 100 L"),
    "15 weight without a new template": (
        (*ROLLED_OUT_TWICE, Apply("v2", 20)),
        "r2 / r2 / r1 / r1 : r2 20 L + r1 80 prev",
    ),
    "16 revert of a canary that never was ready": (
        (*CANARY[:3], Is("r2", ready=False), Apply("v1")),
        "r3 / r1 / r1 / - : r1 100 L",
    ),
    "16b ready": (
        (*CANARY[:3], Is("r2", ready=False), Apply("v1"), Is("r3")),
        "r3 / r3 / r3 / r1 : r3 100 L",
    ),
}


def play(steps: tuple[Step, ...]) -> Component:
    component, percent = Component(name="m"), None
    for step in steps:
        if isinstance(step, Apply):
            percent = step.percent
            component = apply(component, step.template, percent)
        else:
            component = converge(settle_readiness(component, {_long(step.revision): step.ready}), percent)
    return component


def _long(name: str) -> str:
    return f"m-{int(name[1:]):05d}"


def _short(name: str) -> str:
    return f"r{int(name[2:])}" if name else "-"


def row(component: Component) -> str:
    names = (component.created, component.ready, component.rolled, component.previous)
    targets = [f"{_short(t.revision)} {t.percent} {'L' if t.latest else t.tag}" for t in component.traffic]
    return f"{' / '.join(map(_short, names))} : {' + '.join(targets)}"


@pytest.mark.parametrize("name", ROWS)
def test_every_row_ends_as_on_the_real_controllers(name: str) -> None:
    steps, expected = ROWS[name]
    assert row(play(steps)) == expected


@pytest.mark.parametrize("name", ROWS)
def test_applying_the_same_again_changes_nothing(name: str) -> None:
    steps, _ = ROWS[name]
    last = next(step for step in reversed(steps) if isinstance(step, Apply))
    component = play(steps)
    assert apply(component, last.template, last.percent) == component


def test_reverting_to_old_content_makes_a_new_revision() -> None:
    assert [r.name for r in play((*CANARY, Apply("v1", 0))).revisions] == ["m-00001", "m-00002", "m-00003"]


def test_a_revision_named_at_zero_percent_stays_in_reach_and_a_dropped_one_does_not() -> None:
    assert play((*CANARY, Apply("v2", 0))).reachable == {"m-00001", "m-00002"}
    assert play((*CANARY, Apply("v1", 0), Is("r3"))).reachable == {"m-00001", "m-00003"}


FROZEN = (*CANARY, Is("r2", ready=False))


@pytest.mark.parametrize("then", [(), (Apply("v2", 0),), (Apply("v1", 0),), (Apply("v1"),), (Apply("v3", 10),)])
def test_a_canary_that_breaks_after_it_was_ready_freezes_the_route(then: tuple[Step, ...]) -> None:
    component = play((*FROZEN, *then))
    assert (component.routed, row(component).split(" : ")[1]) == (False, "r2 10 L + r1 90 prev")


def test_the_frozen_route_moves_when_the_canary_recovers() -> None:
    component = play((*FROZEN, Apply("v2", 0), Is("r2")))
    assert (component.routed, row(component)) == (True, "r2 / r2 / r1 / - : r2 0 L + r1 100 prev")


def test_the_frozen_route_moves_when_the_restored_revision_is_ready() -> None:
    component = play((*FROZEN, Apply("v1", 0), Is("r3")))
    assert (component.routed, row(component)) == (True, "r3 / r3 / r1 / - : r3 0 L + r1 100 prev")


def test_deleting_the_broken_revision_after_the_safe_revert_frees_the_route() -> None:
    component = converge(remove(play((*FROZEN, Apply("v1", 0))), "m-00002"), 0)
    assert (component.routed, row(component)) == (True, "r3 / r1 / r1 / - : r1 0 L + r1 100 prev")


def test_a_broken_baseline_freezes_the_route_until_the_weight_is_100() -> None:
    broken = (*CANARY, Apply("v2", 50), Is("r1", ready=False))
    assert row(play((*broken, Apply("v2", 60)))) == "r2 / r2 / r1 / - : r2 50 L + r1 50 prev"
    assert row(play((*broken, Apply("v2", 100)))) == "r2 / r2 / r2 / r1 : r2 100 L"


def test_the_baseline_race_gives_the_rest_to_the_model_before() -> None:
    raced = apply(play(ROLLED_OUT_TWICE), "v3", 10, race=True)
    assert row(raced) == "r3 / r2 / r1 / r1 : r2 10 L + r1 90 prev"


def test_the_baseline_race_cannot_happen_on_a_first_rollout() -> None:
    first = play((Apply("v1"), Is("r1")))
    assert apply(first, "v2", 10, race=True) == apply(first, "v2", 10)
