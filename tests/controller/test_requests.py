from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.controller import requests
from gitops_serving.controller.requests import Word
from gitops_serving.core import ledger
from gitops_serving.core.errors import Conflict, Invalid
from gitops_serving.core.ledger import read_trailers
from gitops_serving.core.model import Request
from tests.core.trees import V1, V2, text

from .stage import ANN, Stage, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops_serving.core.model import Change
    from gitops_serving.ports import Tree

PATH = "rollouts/demo/fraud/scorer.yaml"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def trial(stage: Stage) -> Stage:
    """A scorer whose model "two" is on trial."""
    stage.on_trial("two")
    return stage


def word(stage: Stage, reason: str = "", service: str = "fraud/scorer") -> Word:
    return Word(environment="demo", service=service, by=ANN, at=stage.clock(), reason=reason)


def commit(stage: Stage, make: Callable[[Tree], Change]) -> Change:
    return requests.commit(stage.repository, make)


def hold(stage: Stage, reason: str = "on call", minutes: int | None = None) -> Change:
    until = None if minutes is None else stage.clock() + minutes * MINUTE
    return commit(stage, lambda tree: requests.hold(word(stage, reason), tree, until))


def resume(stage: Stage) -> Change:
    return commit(stage, lambda tree: requests.resume(word(stage), tree))


def ask(stage: Stage, what: Request) -> Change:
    return commit(stage, lambda tree: requests.ask(word(stage), tree, what))


def retry(stage: Stage, revision: str | None = None) -> Change:
    return commit(stage, lambda tree: requests.retry(word(stage), tree, stage.repository.content, revision))


def wrong(code: str, act: Callable[[], object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        act()
    assert caught.value.code == code
    assert caught.value.remedy
    return caught.value


# -- hold and resume -------------------------------------------------------------------------------------------------


def test_a_hold_is_a_commit_of_its_author_that_changes_the_record_alone(trial: Stage) -> None:
    hold(trial, "Black Friday\n\nRollout-Action: promote")
    logged = trial.repository.log[-1]
    assert logged.author == ANN
    assert list(logged.files) == [PATH]
    assert logged.message == (
        "rollout(fraud/scorer): hold\n\nProgress is held. Black Friday Rollout-Action: promote\n\n"
        f"Rollout-Service: fraud/scorer\nRollout-Environment: demo\nRollout-Action: hold\nRollout-Revision: {V2}\n"
    )
    held = trial.record().hold
    assert held is not None
    assert (held.by, held.at, held.until) == (ANN, trial.clock(), None)


def test_a_held_canary_stays_where_it_is_until_somebody_resumes(trial: Stage) -> None:
    hold(trial)
    for _ in range(20):
        trial.pass_by(20)
        trial.tick()
    assert trial.weight() == 5
    resume(trial)
    trial.tick()
    assert trial.weight() == 25


def test_a_hold_with_an_end_ends(trial: Stage) -> None:
    change = hold(trial, minutes=5)
    assert f"Progress is held until {ledger.instant(trial.clock() + 5 * MINUTE)}." in change.message
    trial.pass_by(290)
    trial.tick()
    assert trial.weight() == 5
    trial.pass_by(10)
    trial.tick()
    assert trial.weight() == 25
    assert trial.record().hold is None


def test_a_hold_stops_no_abort(stage: Stage) -> None:
    stage.on_trial("bad")
    hold(stage)
    stage.pass_by(60)
    stage.tick()
    assert stage.actions()[-1] == "abort"
    assert stage.record().hold is not None


def test_a_new_revision_does_not_start_while_held(stage: Stage) -> None:
    stage.adopt()
    hold(stage)
    stage.push("two")
    stage.tick()
    assert stage.shares() == {"one": 100}
    resume(stage)
    stage.tick()
    assert stage.weight() == 5


def test_held_time_is_added_up_over_holds(trial: Stage) -> None:
    for seconds in (30, 45):
        hold(trial)
        trial.clock.advance(seconds)
        resume(trial)
        trial.clock.advance(10)
    canary = trial.record().canary
    assert canary is not None
    assert canary.held == timedelta(seconds=75)


def test_a_hold_that_ran_out_may_be_renewed_and_is_counted(trial: Stage) -> None:
    hold(trial, minutes=1)
    trial.clock.advance(90)
    hold(trial)
    canary = trial.record().canary
    assert canary is not None
    assert canary.held == MINUTE


def test_a_hold_over_a_hold_says_whose_it_is(trial: Stage) -> None:
    hold(trial)
    complaint = wrong("held", lambda: hold(trial))
    assert ANN in complaint.message
    assert "2026-01-01T" in complaint.message


def test_a_hold_that_would_end_in_the_past_is_refused(trial: Stage) -> None:
    wrong("until", lambda: hold(trial, minutes=0))


def test_there_must_be_a_hold_to_resume_from(trial: Stage) -> None:
    wrong("not-held", lambda: resume(trial))


# -- promote and abort -----------------------------------------------------------------------------------------------


def test_a_promote_gives_all_traffic_and_then_is_forgotten(trial: Stage) -> None:
    change = ask(trial, Request.PROMOTE)
    assert read_trailers(change.message)["Action"] == "ask-promote"
    assert f"Revision {V2} is to be given all traffic." in change.message
    trial.tick()
    assert trial.shares() == {"two": 100}
    trial.tick()
    assert trial.record().asked is None
    assert trial.record().stable_text.count("models/two") == 1


def test_an_abort_goes_back_and_rejects(trial: Stage) -> None:
    ask(trial, Request.ABORT)
    trial.tick()
    assert trial.shares() == {"one": 100}
    assert [r.revision for r in trial.record().rejected] == [V2]
    assert trial.record().asked is None


def test_a_pending_revision_is_promoted_without_a_trial(stage: Stage) -> None:
    stage.adopt()
    hold(stage)
    stage.push("two")
    ask(stage, Request.PROMOTE)
    stage.tick()
    assert stage.shares() == {"two": 100}


def test_a_request_names_its_revision_and_no_newer_one(trial: Stage) -> None:
    """A push after the request: the person did not mean that one."""
    hold(trial)
    ask(trial, Request.ABORT)
    trial.push("three")
    trial.tick()
    assert trial.actions()[-1] == "abort" or trial.actions()[-1] == "drop"
    assert [r.revision for r in trial.record().rejected] == [V2]
    assert b"models/three" in (trial.repository.head.read("clusters/demo/fraud/scorer.yaml") or b"")


@pytest.mark.parametrize("what", Request)
def test_nothing_can_be_asked_of_an_idle_service(stage: Stage, what: Request) -> None:
    stage.adopt()
    assert "fraud/scorer" in wrong("idle", lambda: ask(stage, what)).message


def test_an_abort_cannot_be_asked_of_what_is_only_pending(stage: Stage) -> None:
    stage.adopt()
    hold(stage)
    stage.push("two")
    wrong("idle", lambda: ask(stage, Request.ABORT))


# -- retry -----------------------------------------------------------------------------------------------------------


def rejected(stage: Stage, model: str) -> None:
    """Put a model on trial and have a person abort it; everything is at rest then."""
    stage.push(model)
    stage.tick()
    ask(stage, Request.ABORT)
    stage.tick()
    stage.tick()
    assert stage.actions()[-1] == "settle"


def test_a_rejected_manifest_comes_back_from_the_record_that_was_on_trial_with_it(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    change = retry(stage)
    path = "clusters/demo/fraud/scorer.yaml"
    assert set(change.files) == {PATH, path}
    assert change.files[path].decode() == text("two")
    assert stage.record().rejected == ()
    assert seen(stage.tick()).decision is not None
    assert stage.weight() == 5


def test_pushing_a_rejected_manifest_is_no_retry(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    stage.push("two")
    stage.tick()
    assert stage.actions()[-1] == "refuse"
    assert b"models/one" in (stage.repository.head.read("clusters/demo/fraud/scorer.yaml") or b"")


def test_the_newest_rejection_is_retried_unless_another_is_named(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    rejected(stage, "three")
    assert b"models/three" in retry(stage).files["clusters/demo/fraud/scorer.yaml"]
    assert [r.revision for r in stage.record().rejected] == [V2]


def test_a_rejection_may_be_named(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    rejected(stage, "three")
    assert b"models/two" in retry(stage, V2).files["clusters/demo/fraud/scorer.yaml"]


def test_nothing_is_retried_that_was_not_rejected(stage: Stage) -> None:
    stage.adopt()
    wrong("idle", lambda: retry(stage))
    rejected(stage, "two")
    assert V2 in wrong("unknown", lambda: retry(stage, V1)).remedy


def test_nothing_is_retried_while_another_is_on_trial(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    stage.push("three")
    stage.tick()
    wrong("busy", lambda: retry(stage))


def test_a_retry_never_replaces_a_push_that_was_not_decided_about(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    stage.push("three")
    assert "push the stable manifest back" in wrong("busy", lambda: retry(stage)).remedy


def test_a_retry_needs_the_history_that_holds_the_manifest(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    complaint = wrong("lost", lambda: commit(stage, lambda tree: requests.retry(word(stage), tree, lambda _: None)))
    assert "whole history" in complaint.remedy


def test_a_retry_needs_a_file_to_write_to(stage: Stage) -> None:
    stage.adopt()
    rejected(stage, "two")
    stage.repository.push({"clusters/demo/fraud/scorer.yaml": None})
    wrong("missing", lambda: retry(stage))


# -- what there must be ----------------------------------------------------------------------------------------------


def test_an_unknown_service_names_those_that_there_are(trial: Stage) -> None:
    complaint = wrong("unknown", lambda: commit(trial, lambda tree: requests.hold(word(trial, service="a/b"), tree)))
    assert complaint.remedy == "one of: fraud/scorer"


def test_a_service_must_be_adopted_before_anything_is_asked_of_it(stage: Stage) -> None:
    assert "explain" in wrong("new", lambda: hold(stage)).remedy


def test_a_damaged_record_is_shown_and_not_overwritten(trial: Stage) -> None:
    trial.repository.push({PATH: b"{}"})
    assert wrong("record", lambda: hold(trial)).path == PATH


# -- the race --------------------------------------------------------------------------------------------------------


def racing(stage: Stage, times: int) -> None:
    """Let somebody else push first, as often as that."""
    left = iter(range(times))

    def push() -> None:
        if next(left, None) is not None:
            stage.push(f"other-{stage.repository.head.commit[:6]}", "unrelated")
            stage.repository.before_append = push

    stage.repository.before_append = push


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_lost_race_is_run_again(trial: Stage, times: int) -> None:
    racing(trial, times)
    hold(trial)
    assert trial.record().hold is not None


def test_three_lost_races_are_a_conflict(trial: Stage) -> None:
    racing(trial, 3)
    with pytest.raises(Conflict):
        hold(trial)
    assert trial.record().hold is None


def test_a_change_is_made_anew_on_the_tree_that_it_lands_on(trial: Stage) -> None:
    """Somebody else held it a moment ago: the second hold must not overwrite that."""
    trial.repository.before_append = lambda: hold(trial, "first")
    wrong("held", lambda: hold(trial, "second"))
    held = trial.record().hold
    assert held is not None
    assert held.reason == "first"
