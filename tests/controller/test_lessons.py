"""What went wrong once, and must not again: each test's docstring is the lesson."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.controller import requests
from gitops_serving.controller.loop import LEAST, Loop
from gitops_serving.controller.requests import Word
from gitops_serving.core.errors import Conflict, Denied, Invalid
from gitops_serving.core.model import Request, Wait
from tests.core.trees import ENVIRONMENT, text

from .stage import ANN, Stage, seen

if TYPE_CHECKING:
    from gitops_serving.core.model import Due, Status
    from gitops_serving.ports import Tree

MANIFEST = "clusters/demo/fraud/scorer.yaml"


def ask(stage: Stage, what: Request) -> None:
    """Ask for something as a person."""
    word = Word(environment="demo", service="fraud/scorer", by=ANN, at=stage.clock())
    requests.commit(stage.repository, lambda tree: requests.ask(word, tree, what))


def promoted(stage: Stage) -> None:
    """Bring model "two" through all steps."""
    stage.on_trial("two")
    for _ in range(60):
        stage.pass_by(10)
        stage.tick()
    assert stage.actions()[-1] == "promote"


def test_revisions_that_cannot_be_told_apart_never_lower_what_is_rolled_out(stage: Stage) -> None:
    """Without labels every revision was unknown, and the cap wrote weight 0: KServe fell back to the older model."""
    promoted(stage)
    observe = stage.cluster.observe

    def unlabelled(service: str) -> Status:
        status = observe(service)
        return replace(status, labels={})

    stage.cluster.observe = unlabelled  # type: ignore[method-assign]  # as where revisions may not be listed
    stage.tick()
    assert stage.weight() is None
    assert stage.shares() == {"two": 100}


def test_a_seat_that_is_being_put_back_is_looked_at_again_at_once(stage: Stage) -> None:
    """A status that lags left the canary at 100 for a whole interval; it became ready meanwhile."""
    promoted(stage)
    stage.cluster.loading = lambda _: timedelta(seconds=12)
    stage.cluster.race = lambda _: True
    stage.cluster.lags = lambda: True
    loop = Loop("demo", lambda _: stage.desk, clock=stage.clock, jitter=lambda least, _: least)
    stage.push("three")
    pauses = []
    for _ in range(4):
        pauses.append(loop._ticked())
        stage.clock.advance(1)
        if stage.weight() == 100:
            assert pauses[-1] <= timedelta(seconds=1)
            stage.cluster.lags = lambda: False
    assert LEAST in pauses
    assert stage.weight() == 5
    assert stage.shares() == {"two": 100}


def test_a_person_s_abort_counts_while_the_head_cannot_be_read(stage: Stage) -> None:
    """An unreadable head dropped the request: the verb said done, and the canary went on serving."""
    stage.on_trial("two")
    stage.repository.push({MANIFEST: b"spec: [\n"}, at=stage.clock())
    stage.tick()
    ask(stage, Request.ABORT)
    stage.tick()
    assert stage.actions()[-1] == "drop"
    assert stage.shares() == {"one": 100}


def test_a_refused_push_takes_its_request_with_it(stage: Stage) -> None:
    """A promote asked for a rejected revision survived, and gave it everything at the next retry."""
    stage.on_trial("two")
    ask(stage, Request.ABORT)
    for _ in range(3):
        stage.tick()
    stage.push("two")
    with pytest.raises(Invalid, match="ask for a retry first"):
        ask(stage, Request.PROMOTE)


def test_rights_that_we_lack_reject_no_model(stage: Stage) -> None:
    """A missing right of ours aborted the rollout and rejected the user's model."""
    stage.adopt()
    stage.push("two")
    apply = stage.cluster.apply

    def denied(due: Due) -> None:
        raise Denied(f"the cluster says: cannot patch {due.service}; grant it")

    stage.cluster.apply = denied  # type: ignore[method-assign]  # as an API server does
    stage.tick()
    found = seen(stage.tick())
    assert found.decision == Wait("the cluster says: cannot patch fraud/scorer; grant it")
    assert stage.record().rejected == ()
    stage.cluster.apply = apply  # type: ignore[method-assign]  # and the right is granted
    stage.tick()
    assert stage.weight() == 5


def test_a_cluster_that_refuses_the_first_start_is_quoted(stage: Stage) -> None:
    """It said that the first revision was starting, for ever."""
    stage.cluster.refuses = lambda _: 'namespaces "fraud" not found'
    stage.tick()
    decision = seen(stage.tick()).decision
    assert decision is not None
    assert "not found" in decision.because


def test_a_lost_race_does_not_forget_the_tree_that_brakes(stage: Stage) -> None:
    """After a conflict nothing was remembered, and nobody braked when Git went away next."""
    stage.on_trial("bad")
    loop = Loop("demo", lambda _: stage.desk, clock=stage.clock, jitter=lambda least, _: least)
    loop._ticked()
    desks = iter([Conflict("it moved"), None, None, None])

    def desk(_: Tree | None) -> object:
        error = next(desks)
        if error:
            raise error
        return stage.desk

    loop._desk = desk  # type: ignore[assignment]  # the race is lost before anything is read
    loop._ticked()
    stage.repository.down = "no route to host"
    stage.pass_by(60)
    loop._ticked()
    assert stage.weight() == 0


def test_notes_beside_the_records_are_no_services(stage: Stage) -> None:
    """A README below rollouts/ was shown as a damaged record."""
    stage.repository.push({"rollouts/demo/README.md": b"# ours\n", "rollouts/demo/fraud/.gitkeep": b""})
    assert [found.service for found in stage.tick().services] == ["fraud/scorer"]


def test_time_that_was_held_is_no_time_to_become_ready_in(stage: Stage) -> None:
    """A canary held while it loaded was aborted as late the moment somebody resumed it."""
    stage.cluster.loading = lambda document: None if "two" in str(document) else timedelta()
    stage.on_trial("two")
    word = Word(environment="demo", service="fraud/scorer", by=ANN, at=stage.clock())
    requests.commit(stage.repository, lambda tree: requests.hold(word, tree))
    stage.pass_by(400)
    later = replace(word, at=stage.clock())
    requests.commit(stage.repository, lambda tree: requests.resume(later, tree))
    assert isinstance(seen(stage.tick()).decision, Wait)
    stage.pass_by(310)
    stage.tick()
    assert stage.actions()[-1] == "abort"


def test_an_edited_weight_is_named_beside_the_recorded_one(stage: Stage) -> None:
    """It said that fields were edited, and not which, nor what helps."""
    stage.on_trial("two")
    head = (stage.repository.head.read(MANIFEST) or b"").replace(
        b"canaryTrafficPercent: 5", b"canaryTrafficPercent: 60"
    )
    stage.repository.push({MANIFEST: head}, at=stage.clock())
    decision = seen(stage.tick()).decision
    assert decision is not None
    assert "60 and" in decision.because
    assert "the record says 5 and" in decision.because
    assert stage.weight() == 5
    assert text("two").splitlines()[0].encode() in head


LISTED = ENVIRONMENT.replace(b"{kind: local}", b"{kind: local, namespaces: [fraud]}")
ENVIRONMENT_PATH = "clusters/demo/cluster.yaml"


def test_who_breaks_the_environment_starts_nothing_outside_its_namespaces(stage: Stage) -> None:
    """An invalid cluster.yaml dropped the list of namespaces, and the same push could start anything anywhere."""
    stage.repository.push({ENVIRONMENT_PATH: LISTED})
    stage.adopt()
    evil = text("evil", name="evil").replace("namespace: fraud", "namespace: kube-system").encode()
    record = (stage.repository.head.read("rollouts/demo/fraud/scorer.yaml") or b"").replace(b"fraud", b"kube-system")
    forged = {"clusters/demo/evil.yaml": evil, "rollouts/demo/kube-system/scorer.yaml": record}
    for environment in (LISTED + b"  typo: 1\n", LISTED):
        stage.repository.push({ENVIRONMENT_PATH: environment, **forged})
        for _ in range(3):
            snapshot = stage.tick()
            stage.pass_by(10)
        assert list(stage.cluster.services) == ["fraud/scorer"]
        assert seen(snapshot, "kube-system/evil").situation is None
        assert seen(snapshot).decision == Wait("nothing to roll out")


def test_a_service_taken_out_of_the_namespaces_is_still_taken_back(burning: Stage) -> None:
    """A canary on trial was forgotten the moment its namespace left the list, and a FAIL changed nothing."""
    burning.repository.push({ENVIRONMENT_PATH: LISTED.replace(b"[fraud]", b"[search]")})
    burning.tick()
    assert burning.actions()[-1] == "drop"
    assert burning.shares() == {"one": 100}
    burning.tick()
    assert burning.actions()[-1] == "drop"
    burning.repository.push({ENVIRONMENT_PATH: LISTED})
    burning.tick()
    assert burning.actions()[-1] == "refuse"


def test_a_fix_of_the_first_push_is_not_adopted_on_the_status_of_the_first_push(stage: Stage) -> None:
    """Seed 1044: a status that lagged was taken for the fix's, and the record named a revision that never ran."""
    stage.cluster.loading = lambda _: None
    stage.cluster.lags = lambda: True
    stage.tick()
    (served,) = stage.cluster.services.values()
    served.due["scorer-predictor-00001"] = stage.clock() + timedelta(seconds=5)
    stage.pass_by(10)  # the first one is ready, and nobody was told of it
    stage.push("two")
    for _ in range(3):
        stage.tick()
        stage.pass_by(5)
    stage.cluster.lags = lambda: False
    stage.pass_by(120)
    assert seen(stage.tick()).decision == Wait("the cluster is not at rest yet")
    assert stage.actions() == []


def test_a_canary_is_watched_while_nobody_can_read_the_environment(stage: Stage) -> None:
    stage.on_trial("two")
    stage.repository.push({ENVIRONMENT_PATH: b"{{"})
    stage.pass_by(100)
    assert seen(stage.tick()).decision == Wait("no valid policy")
    assert stage.shares() == {"two": 5, "one": 95}
    stage.pass_by(1800)
    stage.tick()
    assert stage.actions()[-1] == "abort"
    assert stage.shares() == {"one": 100}
