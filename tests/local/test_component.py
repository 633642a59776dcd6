"""Passes over real objects in a real store, with the health of the processes made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.local import writes
from gitops_serving.local.component import KEPT, Record, World, blank, from_json, own_revisions, reconciled, to_json
from gitops_serving.local.kinds import INFERENCE_SERVICE, REVISION
from gitops_serving.local.scale import Scale
from gitops_serving.local.store import Store
from tests.local.objects import LATER, NOW, Json, labelled, service, write

if TYPE_CHECKING:
    from pathlib import Path

READY = Scale(desired=1, ready=1, sockets=("/run/a.sock",))
STARTING = Scale(desired=1, starting=0.0)
CRASHED = Scale(desired=1, failed=True, reason="ExitCode137", message="ended by SIGKILL", exit_code=137)


class Cluster:
    """A store, a record and the scales that a test sets."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory)
        self.scales: dict[str, Scale] = {}
        self.record: Record | None = None
        self.now, self.elapsed = NOW, 1.0

    def apply(self, body: Json) -> Json:
        writes.apply(self.store, write(force=True), body)
        return self.run()

    def run(self, **scales: Scale) -> Json:
        self.scales |= {f"scorer-predictor-{int(name[1:]):05d}": scale for name, scale in scales.items()}
        world = World(
            store=self.store,
            scale=lambda body: self.scales.get(body["metadata"]["name"], STARTING) if body else Scale(),
            elapsed=self.elapsed,
            now=self.now,
            address="http://127.0.0.1:1",
        )
        self.record = reconciled(self.record or blank(self.live()), self.live(), world)
        status: Json = self.live().get("status", {})
        return status

    def live(self) -> Json:
        found = self.store.get(INFERENCE_SERVICE, "fraud", "scorer")
        assert found is not None
        return found

    def revision(self, number: int) -> Json:
        found = self.store.get(REVISION, "fraud", f"scorer-predictor-{number:05d}")
        assert found is not None
        return found


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def conditions(status: Json) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def condition(body: Json, name: str) -> Json:
    found: Json = next(entry for entry in body["conditions"] if entry["type"] == name)
    return found


def shares(status: Json) -> dict[str, Any]:
    entries = status["components"]["predictor"].get("traffic", [])
    return {("L " if e["latestRevision"] else "prev ") + e["revisionName"][-1]: e["percent"] for e in entries}


def test_a_new_service_waits_for_its_first_revision(cluster: Cluster) -> None:
    status = cluster.apply(service())
    assert conditions(status) == {
        "Ready": "False",
        "PredictorReady": "Unknown",
        "IngressReady": "False",
        "PredictorRouteReady": "Unknown",
        "PredictorConfigurationReady": "Unknown",
        "RoutesReady": "Unknown",
        "LatestDeploymentReady": "Unknown",
    }
    assert status["components"]["predictor"] == {"latestCreatedRevision": "scorer-predictor-00001"}
    assert status["modelStatus"]["transitionStatus"] == "InProgress"
    assert "url" not in status


def test_a_ready_service_says_where_it_answers(cluster: Cluster) -> None:
    cluster.apply(service())
    status = cluster.run(r1=READY)
    assert set(conditions(status).values()) == {"True"}
    assert status["url"] == "http://scorer.fraud.example.com"
    assert status["address"] == {"url": "http://127.0.0.1:1/serving/fraud/scorer"}
    assert status["modelStatus"] == {
        "transitionStatus": "UpToDate",
        "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
        "copies": {"totalCopies": 1, "failedCopies": 0},
    }


def test_a_pass_without_news_writes_nothing(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    version, record = cluster.store.version, cluster.record
    cluster.now = LATER
    cluster.run()
    assert (cluster.store.version, cluster.record) == (version, record)


def test_a_condition_keeps_its_time_while_its_status_stands(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    cluster.now = LATER
    status = cluster.apply(service(canaryTrafficPercent=10, timeout=30))
    assert condition(status, "RoutesReady")["lastTransitionTime"] == NOW
    assert condition(status, "LatestDeploymentReady")["lastTransitionTime"] == LATER


def test_a_canary_gets_its_share_only_when_it_is_ready(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    assert shares(cluster.apply(service(canaryTrafficPercent=10, timeout=30))) == {"L 1": 10, "prev 1": 90}
    assert shares(cluster.run(r2=READY)) == {"L 2": 10, "prev 1": 90}


def test_the_abort_pattern_moves_all_traffic_at_once(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    cluster.apply(service(canaryTrafficPercent=10, timeout=30))
    cluster.run(r2=READY)
    status = cluster.apply(service(canaryTrafficPercent=0, labels={"fresh": "1"}))
    assert shares(status) == {"L 2": 0, "prev 1": 100}
    assert status["components"]["predictor"]["latestRolledoutRevision"] == "scorer-predictor-00001"
    assert shares(cluster.run(r3=READY)) == {"L 3": 0, "prev 1": 100}
    assert cluster.record is not None
    assert cluster.record.component.reachable == {"scorer-predictor-00001", "scorer-predictor-00003"}


def test_a_revision_carries_its_labels_and_its_models_address(cluster: Cluster) -> None:
    cluster.apply(labelled(service(labels={"gitops-serving.dev/revision": "abc.1"}), team="risk"))
    metadata = cluster.revision(1)["metadata"]
    assert metadata["labels"] == {
        "team": "risk",
        "gitops-serving.dev/revision": "abc.1",
        "component": "predictor",
        "serving.knative.dev/configuration": "scorer-predictor",
        "serving.knative.dev/configurationGeneration": "1",
        "serving.knative.dev/service": "scorer-predictor",
        "serving.knative.dev/routingState": "active",
        "serving.kserve.io/inferenceservice": "scorer",
    }
    source = "internal.serving.kserve.io/storage-initializer-sourceuri"
    assert metadata["annotations"][source] == "file:///models/v1"
    assert metadata["ownerReferences"][0]["uid"] == cluster.live()["metadata"]["uid"]


def test_a_canary_that_never_loads_leaves_users_alone_and_says_why(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    cluster.apply(service(canaryTrafficPercent=10, timeout=30))
    status = cluster.run(r2=CRASHED)
    assert shares(status) == {"L 1": 10, "prev 1": 90}
    told = conditions(status)
    assert (told["RoutesReady"], told["LatestDeploymentReady"], told["Ready"]) == ("True", "False", "False")
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "message": "ended by SIGKILL",
        "modelRevisionName": "scorer-predictor-00002",
        "exitCode": 137,
        "time": NOW,
    }


def broken_canary(cluster: Cluster) -> Json:
    cluster.apply(service())
    cluster.run(r1=READY)
    cluster.apply(service(canaryTrafficPercent=10, timeout=30))
    cluster.run(r2=READY)
    return cluster.run(r2=CRASHED)


def test_a_canary_that_breaks_freezes_the_route_and_names_itself(cluster: Cluster) -> None:
    status = broken_canary(cluster)
    route = condition(status, "RoutesReady")
    assert (route["status"], route["reason"]) == ("False", "RevisionMissing")
    assert "scorer-predictor-00002" in route["message"]
    assert shares(cluster.apply(service(canaryTrafficPercent=0, labels={"fresh": "1"}))) == {"L 2": 10, "prev 1": 90}


def test_deleting_the_broken_revision_frees_the_route(cluster: Cluster) -> None:
    broken_canary(cluster)
    cluster.apply(service(canaryTrafficPercent=0, labels={"fresh": "1"}))
    cluster.store.remove(REVISION, cluster.revision(2))
    status = cluster.run()
    assert shares(status) == {"L 1": 0, "prev 1": 100}
    assert conditions(status)["RoutesReady"] == "True"


def test_deleting_the_newest_revision_brings_it_back_under_its_name(cluster: Cluster) -> None:
    broken_canary(cluster)
    before = cluster.revision(2)["metadata"]["uid"]
    cluster.store.remove(REVISION, cluster.revision(2))
    cluster.run(r2=STARTING)
    assert cluster.revision(2)["metadata"]["uid"] != before
    assert shares(cluster.run(r2=READY)) == {"L 2": 10, "prev 1": 90}


def test_a_revision_that_is_scaled_down_stays_ready_or_failed_as_it_was(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    cluster.apply(service(timeout=30))
    cluster.run(r2=READY)
    cluster.run(r1=Scale())
    assert condition(cluster.revision(1)["status"], "Ready")["status"] == "True"
    assert condition(cluster.revision(1)["status"], "Active")["reason"] == "NoTraffic"
    broken = Cluster(cluster.store._directory / "other")
    broken_canary(broken)
    broken.apply(service(timeout=40))
    broken.run(r2=Scale(), r3=READY)
    assert condition(broken.revision(2)["status"], "Ready")["message"] == "ended by SIGKILL"


def test_a_restart_of_the_processes_leaves_a_ready_revision_ready(cluster: Cluster) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    assert conditions(cluster.run(r1=STARTING))["Ready"] == "True"


def test_a_revision_that_takes_too_long_fails(cluster: Cluster) -> None:
    body = service(annotations={"serving.knative.dev/progress-deadline": "30s"})
    assert conditions(cluster.apply(body))["LatestDeploymentReady"] == "Unknown"
    cluster.elapsed = 31.0
    assert conditions(cluster.run())["LatestDeploymentReady"] == "False"
    assert condition(cluster.revision(1)["status"], "Ready")["reason"] == "ProgressDeadlineExceeded"


@pytest.mark.parametrize("change", [{"model": {"modelFormat": {"name": "onnx"}}}, {"canaryTrafficPercent": 120}])
def test_a_spec_that_cannot_run_changes_neither_revisions_nor_traffic(cluster: Cluster, change: Json) -> None:
    cluster.apply(service())
    cluster.run(r1=READY)
    status = cluster.apply(service(timeout=30, **change))
    assert conditions(status)["PredictorReady"] == "False"
    assert condition(status, "PredictorReady")["reason"] in {"NoSupportingRuntime", "ReconcileFailed"}
    assert shares(status) == {"L 1": 100}
    assert len(own_revisions(cluster.store, "fraud", "scorer-predictor")) == 1
    assert conditions(cluster.apply(service()))["Ready"] == "True"


def test_observed_generation_is_the_childs(cluster: Cluster) -> None:
    """It moves with template and traffic of the Knative service, so it is no measure of the InferenceService's."""
    cluster.apply(service(canaryTrafficPercent=20))
    status = cluster.run(r1=READY)
    assert (cluster.live()["metadata"]["generation"], status["observedGeneration"]) == (1, 2)


def test_old_revisions_are_forgotten_beyond_those_that_are_kept(cluster: Cluster) -> None:
    for number in range(1, KEPT + 5):
        cluster.apply(service(timeout=number))
        cluster.run(**{f"r{number}": READY})
    names = [body["metadata"]["name"] for body in own_revisions(cluster.store, "fraud", "scorer-predictor")]
    assert names[0] == "scorer-predictor-00004"
    assert len(names) == KEPT + 1


def test_a_record_survives_being_written_down(cluster: Cluster) -> None:
    broken_canary(cluster)
    assert cluster.record is not None
    assert from_json(to_json(cluster.record)) == cluster.record
