"""The ledger read backwards: what is told of each rollout, and what is not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.core.ledger import Entry
from gitops_serving.core.model import Commit
from gitops_serving.core.past import End, Given, found

from .situations import MINUTE, NOON

if TYPE_CHECKING:
    from gitops_serving.core.past import Journey

V1, V2, V3 = "111111111111", "222222222222", "333333333333"
STABLE, CANARY = "scorer-predictor-00001", "scorer-predictor-00002"


def at(minutes: float, action: str, revision: str = V2, **fields: object) -> Commit:
    """One entry of the scorer's ledger, so many minutes after noon."""
    before, weight = fields.pop("before", None), fields.pop("weight", None)
    entry = Entry(
        service="fraud/scorer",
        action=action,
        step="",
        weight_before=before,  # type: ignore[arg-type]
        weight=weight,  # type: ignore[arg-type]
        revision=revision,
        environment="demo",
        because=str(fields.pop("because", "A reason.")),
        **fields,  # type: ignore[arg-type]
    )
    return Commit(f"{minutes}", "gitops-serving <x@y>", NOON + minutes * MINUTE, entry.message())


def shift(minutes: float, before: int, weight: int, revision: str = V2, **fields: object) -> Commit:
    return at(minutes, "shift", revision, before=before, weight=weight, **fields)


def told(*commits: Commit) -> tuple[Journey, ...]:
    return found(list(reversed(commits)), "demo", "fraud/scorer")


ADOPTED = at(0, "adopt", V1)


def test_a_rollout_is_told_from_its_admission_to_its_promotion() -> None:
    (journey,) = told(
        ADOPTED,
        shift(1, 0, 10, stable=STABLE),
        shift(6, 10, 25, canary=CANARY, stable=STABLE),
        shift(11, 25, 100, canary=CANARY, stable=STABLE),
        at(12, "promote", canary=CANARY, because="All traffic is on it."),
    )

    assert (journey.revision, journey.canary, journey.stable) == (V2, CANARY, STABLE)
    assert journey.given == (
        Given(10, NOON + MINUTE),
        Given(25, NOON + 6 * MINUTE),
        Given(100, NOON + 11 * MINUTE),
    )
    assert (journey.end, journey.because) == (End.PROMOTED, "All traffic is on it.")
    assert journey.decided == NOON + 11 * MINUTE
    assert [given.weight for given in journey.steps] == [10, 25]


def test_an_abort_names_the_revision_that_is_gone() -> None:
    (journey,) = told(
        ADOPTED,
        shift(1, 0, 10),
        at(4, "abort", before=10, weight=0, canary=CANARY, stable=STABLE, because="Errors 4%."),
    )

    assert (journey.end, journey.canary, journey.stable) == (End.ABORTED, CANARY, STABLE)
    assert (journey.decided, journey.because) == (NOON + 4 * MINUTE, "Errors 4%.")


def test_a_newer_push_supersedes_what_is_on_trial() -> None:
    first, second = told(ADOPTED, shift(1, 0, 10), shift(3, 0, 10, V3), at(5, "drop", V3, before=10, weight=0))

    assert (first.end, first.because) == (End.SUPERSEDED, "a newer revision was pushed")
    assert (second.revision, second.end) == (V3, End.DROPPED)


def test_what_is_still_on_trial_has_not_ended() -> None:
    (journey,) = told(ADOPTED, shift(1, 0, 10))

    assert (journey.end, journey.ended, journey.decided) == (End.OPEN, None, None)


def test_a_rollout_whose_beginning_is_lost_is_not_told() -> None:
    assert told(shift(6, 10, 25), at(7, "abort", before=25, weight=0)) == ()


def test_what_was_given_all_traffic_at_once_had_no_trial() -> None:
    assert told(ADOPTED, shift(1, 0, 100), at(2, "promote")) == ()


def test_pushing_back_what_was_stable_takes_a_promotion_back() -> None:
    (journey,) = told(
        ADOPTED,
        shift(1, 0, 10),
        shift(6, 10, 100),
        at(7, "promote"),
        shift(90, 0, 100, V1, because="It was stable before; all traffic goes to it."),
        at(91, "promote", V1),
    )

    assert journey.taken_back


def test_it_is_seen_even_where_the_adoption_was_one_of_many() -> None:
    together = Commit(
        "0", "x", NOON, "rollout(demo): adopt, 2 services\n\nRollout-Environment: demo\nRollout-Action: adopt\n"
    )
    (journey,) = told(
        together,
        shift(1, 0, 10),
        shift(6, 10, 100),
        at(7, "promote"),
        shift(90, 0, 100, V1, because="It was stable before; all traffic goes to it."),
        at(91, "promote", V1),
    )

    assert journey.taken_back


def test_a_further_promotion_takes_nothing_back() -> None:
    first, second = told(
        ADOPTED, shift(1, 0, 10), at(7, "promote"), shift(20, 0, 10, V3), shift(25, 10, 100, V3), at(26, "promote", V3)
    )

    assert not first.taken_back
    assert not second.taken_back


def test_a_hold_lasts_until_it_is_resumed_or_as_long_as_was_said() -> None:
    (resumed,) = told(ADOPTED, shift(1, 0, 10), at(2, "hold"), at(5, "resume"), at(9, "abort", before=10, weight=0))
    (until,) = told(
        ADOPTED,
        shift(1, 0, 10),
        at(2, "hold", because="Progress is held until 2026-01-01T12:03:00Z. tea"),
        at(9, "abort", before=10, weight=0),
    )

    assert resumed.held_for(NOON, NOON + 9 * MINUTE) == 3 * MINUTE
    assert [resumed.held_at(NOON + minutes * MINUTE) for minutes in (1, 3, 6)] == [False, True, False]
    assert until.held_for(NOON, NOON + 9 * MINUTE) == MINUTE
    assert until.held_for(NOON + 4 * MINUTE, NOON + 9 * MINUTE) == timedelta()


def test_commits_of_people_tell_nothing() -> None:
    person = Commit("5", "Ann", NOON + 2 * MINUTE, "touch the record\n\nfor no reason\n")

    (journey,) = told(ADOPTED, shift(1, 0, 10), person, at(4, "abort", before=10, weight=0))

    assert journey.end is End.ABORTED
