from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gitops_serving.core import manifest, propose
from gitops_serving.core.errors import Invalid, Unavailable
from gitops_serving.core.measure import Outcome
from gitops_serving.core.model import Owned, Wait
from gitops_serving.core.rollout import read_rollouts

from .stage import Stage, never, seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from gitops_serving.core.measure import Query, Reading
    from gitops_serving.core.model import Place, Status
    from gitops_serving.ports import Tree

DOWN = "no route to host"


# -- the line --------------------------------------------------------------------------------------------------------


def test_a_good_model_goes_all_the_way(stage: Stage) -> None:
    stage.on_trial("good")
    for _ in range(80):
        stage.pass_by(5)
        stage.tick()
    assert stage.actions() == ["adopt", "shift", "shift", "shift", "promote"]
    assert stage.shares() == {"good": 100}
    assert stage.weight() is None


def test_a_bad_model_goes_back(burning: Stage) -> None:
    snapshot = burning.tick()
    assert seen(snapshot).situation is not None
    assert burning.actions()[-1] == "abort"
    assert burning.shares() == {"one": 100}
    burning.tick()
    assert burning.actions()[-1] == "settle"
    assert burning.weight() is None
    assert [r.because for r in burning.record().rejected]


def test_nothing_reaches_the_cluster_that_was_not_appended(stage: Stage) -> None:
    stage.adopt()
    stage.push("good")
    stage.repository.refuses = "protected branch"
    snapshot = stage.tick()
    assert "protected branch" in snapshot.error
    assert snapshot.appended == ()
    assert stage.shares() == {"one": 100}


def test_what_was_appended_is_applied_in_the_same_tick(stage: Stage) -> None:
    stage.on_trial("good")
    assert stage.weight() == 5
    assert stage.shares() == {"good": 5, "one": 95}


def test_a_second_tick_on_the_same_inputs_appends_nothing(stage: Stage) -> None:
    stage.on_trial("good")
    head, applies = stage.repository.head.commit, stage.cluster.applies
    for _ in range(3):
        assert stage.tick().appended == ()
    assert (stage.repository.head.commit, stage.cluster.applies) == (head, applies)


def test_a_tick_needs_no_memory(burning: Stage) -> None:
    burning.last = None
    assert burning.tick().appended == ("rollout(fraud/scorer): abort, 5% -> 0%",)


def test_a_snapshot_tells_what_was_seen_asked_and_appended(stage: Stage) -> None:
    stage.on_trial("good")
    stage.pass_by(55)
    snapshot = stage.tick()
    found = seen(snapshot)
    assert (snapshot.environment, snapshot.error, snapshot.at) == ("demo", "", stage.clock())
    assert found.situation is not None
    assert found.situation.verdict.outcome is Outcome.SILENT  # the first block is not over
    assert [query.name for query in found.queries] == list(found.readings or {})
    assert found.evidence is not None
    assert found.evidence.served is not None
    assert isinstance(found.decision, Wait)


# -- isolation -------------------------------------------------------------------------------------------------------


def test_a_service_that_cannot_be_read_stops_no_other() -> None:
    stage = Stage(("other", "scorer"))
    stage.repository.push({"clusters/demo/fraud/other.yaml": b"spec: [\n"})
    stage.adopt()
    assert stage.record("scorer").stable is not None
    assert seen(stage.tick(), "fraud/other").invalid is not None


class Poisonous:
    """A cluster on which one service makes the client fall over."""

    def __init__(self, stage: Stage) -> None:
        self.cluster = stage.cluster

    def observe(self, service: str) -> Status:
        if service == "fraud/other":
            raise RuntimeError("a bug in the client")
        return self.cluster.observe(service)

    def apply(self, due: Any) -> None:
        self.cluster.apply(due)


def test_a_service_that_cannot_be_observed_stops_no_other() -> None:
    stage = Stage(("other", "scorer"))
    stage.desk = replace(stage.desk, cluster=Poisonous(stage))
    snapshot = stage.tick()
    assert snapshot.appended == ("rollout(fraud/scorer): adopt",)
    assert seen(snapshot, "fraud/other").error == "RuntimeError: a bug in the client"


def test_a_service_that_is_refused_by_the_cluster_stops_no_other() -> None:
    stage = Stage(("other", "scorer"))
    stage.cluster.refuses = lambda d: "denied" if d["metadata"]["name"] == "other" else None
    snapshot = stage.tick()
    assert snapshot.appended == ("rollout(fraud/scorer): adopt",)


def test_a_change_that_cannot_be_written_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(("other", "scorer"))
    stage.adopt()
    stage.push("good")
    stage.push("good", "other")
    path, written = "clusters/demo/fraud/other.yaml", propose._with_owned

    def refusing(tree: Tree, place: Place, owned: Owned) -> bytes:
        if place.path == path:
            raise Invalid("the changed text can no longer be read", code="verify")
        return written(tree, place, owned)

    monkeypatch.setattr(propose, "_with_owned", refusing)
    snapshot = stage.tick()
    assert snapshot.appended == ("rollout(fraud/scorer): shift, 0% -> 5%",)
    assert path in seen(snapshot, "fraud/other").error


def test_an_invalid_policy_stops_what_is_new_and_nothing_that_fails_is_forgotten(stage: Stage) -> None:
    stage.on_trial("good")
    stage.repository.push({"policies/standard.yaml": b"spec: [\n"})
    found = seen(stage.tick())
    assert found.decision == Wait("no valid policy")
    assert found.invalid is not None
    assert found.invalid.path == "policies/standard.yaml"


# -- the cluster -----------------------------------------------------------------------------------------------------


def test_a_refused_apply_aborts_with_the_server_s_words(stage: Stage) -> None:
    stage.adopt()
    stage.cluster.refuses = lambda d: "denied by webhook" if "/two" in str(d) else None
    stage.push("two")
    stage.tick()
    stage.tick()
    assert stage.actions()[-1] == "abort"
    assert "denied by webhook" in stage.record().rejected[0].because
    assert stage.shares() == {"one": 100}
    assert not stage.record().settling  # nothing of it had arrived: nothing restarts


def test_an_apply_without_an_answer_is_made_up_for(stage: Stage) -> None:
    stage.adopt()
    stage.push("two")
    stage.repository.after_append = lambda: setattr(stage.cluster, "down", "timed out")
    stage.tick()
    assert stage.actions()[-1] == "shift"
    assert stage.shares() == {"one": 100}
    stage.cluster.down = None
    stage.tick()
    assert stage.weight() == 5


def test_a_cluster_that_does_not_answer_is_no_reason_to_reject(stage: Stage) -> None:
    stage.on_trial("good")
    stage.cluster.down = "timed out"
    for _ in range(40):
        stage.pass_by(60)
        stage.tick()
    assert stage.record().rejected == ()
    assert stage.actions()[-1] == "shift"


def test_a_model_that_never_becomes_ready_is_aborted(stage: Stage) -> None:
    stage.cluster.loading = never
    stage.on_trial("never")
    stage.pass_by(290)
    assert stage.tick().appended == ()
    stage.pass_by(15)
    stage.tick()
    assert stage.actions()[-1] == "abort"
    assert stage.record().rejected[0].because == "not ready in time (after 5m5s; readyWithin is 5m)"


def test_a_lost_seat_is_put_back_within_one_tick(stage: Stage) -> None:
    """KServe may fall back to the revision before stable; 100 puts stable back while the canary loads."""
    stage.adopt()
    for model in ("two", "three"):
        stage.push(model)
        stage.tick()
        for _ in range(60):
            stage.pass_by(5)
            stage.tick()
        assert stage.shares() == {model: 100}
    stage.cluster.loading = never
    stage.cluster.race = lambda _: True
    applied: list[Owned] = []
    stage.cluster.before_apply = lambda _, document: applied.append(_owned(document))
    stage.push("never")
    stage.tick()
    label = applied[0].label
    assert [owned.weight for owned in applied] == [5, 100, 5]
    assert {owned.label for owned in applied} == {label}
    assert stage.shares() == {"three": 100}


def _owned(document: Mapping[str, Any]) -> Owned:
    return manifest.owned_of(document)


def test_an_edit_in_the_cluster_is_undone(stage: Stage) -> None:
    stage.on_trial("good")
    served = stage.cluster.services["fraud/scorer"]
    stage.cluster.edit("fraud/scorer", manifest.with_owned(served.manifest, Owned(80, "x.1")))
    stage.tick()
    assert stage.weight() == 5


def test_a_blind_prometheus_starts_and_moves_nothing(stage: Stage) -> None:
    stage.adopt()
    stage.metrics.blind = "Prometheus did not answer"
    stage.push("good")
    found = seen(stage.tick())
    assert found.decision == Wait("Prometheus did not answer; no rollout starts blind")
    assert stage.actions() == ["adopt"]


def test_services_are_looked_at_the_way_the_desk_says() -> None:
    stage = Stage(("other", "scorer"))
    looked: list[str] = []

    def each(look: Any, items: Any) -> list[Any]:
        found = [look(item) for item in items]
        looked.extend(one.service for one in found)
        return found

    stage.desk = replace(stage.desk, each=each)
    stage.tick()
    assert looked == ["fraud/other", "fraud/scorer"]


class Unanswering:
    """Metrics that a tick must not ask for an idle service."""

    def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
        raise Unavailable(f"nobody may ask: {queries}")


def test_an_idle_service_asks_prometheus_nothing(stage: Stage) -> None:
    stage.adopt()
    stage.desk = replace(stage.desk, metrics=Unanswering())
    assert seen(stage.tick()).error == ""
    assert list(read_rollouts(stage.repository.head, "demo", stage.clock())) == ["fraud/scorer"]
