from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.core import ledger
from gitops_serving.core.errors import Conflict
from gitops_serving.core.measure import Outcome

from .stage import Stage, seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gitops_serving.core.model import Change
    from gitops_serving.testing.repository import FakeTree

DOWN = "no route to host"


def test_without_git_and_without_a_snapshot_nothing_is_done(stage: Stage) -> None:
    stage.repository.down = DOWN
    snapshot = stage.tick()
    assert (snapshot.tree, snapshot.services) == (None, ())
    assert DOWN in snapshot.error
    assert stage.cluster.services == {}


def test_without_git_the_last_tree_serves_for_judging(burning: Stage) -> None:
    burning.repository.down = DOWN
    snapshot = burning.tick()
    assert DOWN in snapshot.error
    found = seen(snapshot)
    assert found.situation is not None
    assert found.situation.verdict.outcome is Outcome.FAIL


def test_a_failing_canary_is_braked_while_git_is_down(burning: Stage) -> None:
    burning.repository.down = DOWN
    burning.tick()
    assert burning.shares() == {"one": 100}
    assert burning.weight() == 0
    assert burning.actions()[-1] == "shift"


def test_a_failing_canary_is_braked_while_git_refuses(burning: Stage) -> None:
    burning.repository.refuses = "protected branch"
    snapshot = burning.tick()
    assert "protected branch" in snapshot.error
    assert (burning.weight(), burning.shares()) == (0, {"one": 100})


def test_a_brake_stays_on_for_as_long_as_git_refuses(burning: Stage) -> None:
    """The brake itself changes what is live; the failure that was measured before it must not be forgotten."""
    burning.repository.refuses = "protected branch"
    weights = set()
    for _ in range(30):
        burning.tick()
        burning.pass_by(10)
        weights.add(burning.weight())
    assert weights == {0}
    burning.repository.refuses = None
    assert burning.tick().appended == ("rollout(fraud/scorer): abort, 5% -> 0%",)


def test_a_healthy_canary_is_not_braked_while_git_is_down(stage: Stage) -> None:
    stage.on_trial("good")
    stage.pass_by(60)
    stage.repository.down = DOWN
    stage.tick()
    assert stage.weight() == 5


def test_a_brake_that_the_cluster_does_not_take_is_tried_again(burning: Stage) -> None:
    burning.repository.down = DOWN
    burning.cluster.refuses = lambda _: "denied by webhook"
    burning.tick()
    assert burning.weight() == 5
    burning.cluster.refuses = lambda _: None
    burning.tick()
    assert burning.weight() == 0


def test_nothing_is_appended_or_applied_from_a_cached_tree(stage: Stage) -> None:
    stage.adopt()
    stage.push("good")
    stage.last = replace(stage.tick(), tree=stage.repository.head)
    applies = stage.cluster.applies
    stage.cluster.services.clear()
    stage.repository.down = DOWN
    stage.tick()
    assert stage.cluster.applies == applies
    assert stage.cluster.services == {}


def test_a_lost_race_leaves_the_tick(burning: Stage) -> None:
    burning.repository.before_append = lambda: burning.push("good")
    with pytest.raises(Conflict):
        burning.tick()
    assert burning.actions()[-1] == "shift"
    assert burning.tick().appended == ("rollout(fraud/scorer): shift, 0% -> 5%",)  # the newer push takes its place
    burning.tick()
    assert burning.shares() == {"good": 5, "one": 95}


def test_an_answer_that_is_lost_is_no_second_commit(burning: Stage) -> None:
    burning.repository.lose_answer_and_fetch = 1
    snapshot = burning.tick()
    assert snapshot.appended == ()
    assert burning.tick().appended != ("rollout(fraud/scorer): abort, 5% -> 0%",)
    assert burning.actions().count("abort") == 1
    assert burning.shares() == {"one": 100}


class Guarded:
    """A repository whose hook refuses every push that touches one service."""

    def __init__(self, stage: Stage, guarded: str) -> None:
        self.repository = stage.repository
        self.guarded = guarded
        self.tries = 0

    def fetch(self) -> FakeTree:
        return self.repository.fetch()

    def append(self, onto: str, changes: Sequence[Change]) -> FakeTree:
        self.tries += 1
        guarded = any(self.guarded in path for change in changes for path in change.files)
        self.repository.refuses = "a hook guards this service" if guarded else None
        return self.repository.append(onto, changes)

    def history(self, path: str) -> Any:
        return self.repository.history(path)

    def content(self, blob: str) -> bytes | None:
        return self.repository.content(blob)


def test_a_refused_batch_is_bisected() -> None:
    stage = Stage(tuple("abcdefgh"))
    stage.on_trial("bad")
    stage.pass_by(60)
    guarded = Guarded(stage, "/e.yaml")
    stage.desk = replace(stage.desk, repository=guarded)
    snapshot = stage.tick()
    assert len(snapshot.appended) == 7
    assert guarded.tries <= 8
    assert snapshot.error == ""
    assert all(stage.shares(name) == {"one": 100} for name in "abcdfgh")


def test_a_batch_that_is_refused_as_a_whole_is_braked() -> None:
    stage = Stage(("other", "scorer"))
    stage.on_trial("bad")
    stage.pass_by(60)
    stage.desk = replace(stage.desk, repository=Guarded(stage, "/"))
    assert "a hook guards" in stage.tick().error
    assert (stage.weight("other"), stage.weight("scorer")) == (0, 0)


def test_a_canary_whose_abort_is_refused_alone_is_braked() -> None:
    """The other services' commits land; that must not hide the one that did not."""
    stage = Stage(("other", "scorer"))
    stage.on_trial("bad")
    stage.pass_by(60)
    stage.desk = replace(stage.desk, repository=Guarded(stage, "/scorer.yaml"))
    snapshot = stage.tick()
    assert snapshot.appended == ("rollout(fraud/other): abort, 5% -> 0%",)
    assert stage.shares("scorer") == {"one": 100}
    assert "a hook guards" in seen(snapshot).error


def test_a_canary_whose_abort_cannot_be_written_is_braked() -> None:
    """A record from before holds a text that nobody can splice: no reason to let a failing canary serve."""
    stage = Stage()
    stage.on_trial("bad")
    path, of = "rollouts/demo/fraud/scorer.yaml", stage.record()
    shared = of.stable_text.replace("predictor:", "predictor: &p") + "x: *p\n"
    stage.repository.push({path: ledger.write_record(replace(of, stable_text=shared))})
    stage.pass_by(60)
    snapshot = stage.tick()
    assert snapshot.appended == ()
    assert path in seen(snapshot).error
    assert stage.shares() == {"one": 100}
