"""The whole local cluster with a real model server, gateway and Prometheus: one journey, told in its steps.

The journey is one test per step that matters to users; the cluster of this module
is started once, because a model server takes seconds to come up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from gitops_serving.local import statedir
from tests.local.apiserver import kubectl
from tests.local.objects import Json, service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PATIENCE_SECONDS = 60


class Local:
    """A supervisor in a process of its own, and the requests of its users."""

    def __init__(self, root: Path) -> None:
        self.state = statedir.prepare(root / "s")
        self.models = root / "models"
        self.where: Json = {}

    def start(self) -> None:
        with (self.state.root / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gitops_serving.local.cluster", "--state", str(self.state.root)],
                stdout=output,
                stderr=output,
            )
        self.where = self.until(lambda: statedir.addresses(self.state), bool)

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sent)
        return self.process.wait(PATIENCE_SECONDS)

    def until(self, ask: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not right(answer := ask()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"still {answer}\n{self.said()}"
            threading.Event().wait(0.05)
        return answer

    def said(self) -> str:
        return (self.state.root / "output").read_text(encoding="utf-8")

    def model(self, answer: int) -> str:
        directory = self.models / f"v{answer}"
        directory.mkdir(parents=True, exist_ok=True)
        fitted = DummyClassifier(strategy="constant", constant=answer).fit(np.zeros((2, 2)), [answer, 9])
        joblib.dump(fitted, directory / "model.joblib")
        return directory.as_uri()

    def apply(self, name: str, answer: int, **predictor: Any) -> None:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": self.model(answer)}
        body = service(name, model=model, **predictor)
        done = kubectl(self.state.kubeconfig, "apply", "--server-side", "-f", "-", stdin=json.dumps(body))
        assert done.returncode == 0, done.stderr

    def get(self, path: str) -> Json:
        with urllib.request.urlopen(f"{self.where['api']}{path}", timeout=10) as answer:
            found: Json = json.load(answer)
        return found

    def status(self, name: str) -> Json:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/fraud/inferenceservices/{name}"
        status: Json = self.get(path).get("status", {})
        return status

    def traffic(self, name: str) -> dict[str, int]:
        entries = self.status(name).get("components", {}).get("predictor", {}).get("traffic", [])
        return {("L" if e["latestRevision"] else e["tag"]) + e["revisionName"][-1]: e["percent"] for e in entries}

    def until_traffic(self, name: str, **wanted: int) -> None:
        self.until(lambda: self.traffic(name), lambda traffic: traffic == wanted)

    def predict(self, name: str) -> int:
        request = urllib.request.Request(
            f"{self.where['gateway']}/serving/fraud/{name}/v1/models/{name}:predict",
            data=b'{"instances": [[0, 0]]}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return int(json.load(answer)["predictions"][0])

    def counted(self, revision: str, code: str) -> float:
        with urllib.request.urlopen(f"{self.where['gatewayAdmin']}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        mine = (line for line in lines if line.startswith("revision_request_count{") and f'"{revision}"' in line)
        return sum(float(line.split()[-1]) for line in mine if f'response_code="{code}"' in line)

    def servers(self, revision: str) -> list[int]:
        """List the processes of a revision's model servers by the sockets in the gateway's table."""
        with urllib.request.urlopen(f"{self.where['gatewayAdmin']}/table", timeout=10) as answer:
            table = json.load(answer)["table"]
        sockets = table["revisions"].get(f"fraud/{revision}", {}).get("replicas", [])
        return [pid for pid, line in commands() if any(socket in line for socket in sockets)]


def commands() -> list[tuple[int, str]]:
    """List all processes with their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append((int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")))
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    cluster = Local(tmp_path_factory.mktemp("c"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
    assert not [line for _, line in commands() if str(cluster.state.root) in line]


def test_a_first_version_answers_through_the_gateway(local: Local) -> None:
    local.apply("first", 1)
    local.until_traffic("first", L1=100)
    assert local.predict("first") == 1
    local.until(lambda: ready(local.status("first")), lambda told: told == "True")


def ready(status: Json) -> str:
    return next((c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"), "")


def test_a_canary_gets_its_exact_share_and_the_abort_takes_it_away_at_once(local: Local) -> None:
    local.apply("canary", 1)
    local.until_traffic("canary", L1=100)
    local.apply("canary", 2, canaryTrafficPercent=10)
    local.until_traffic("canary", L2=10, prev1=90)
    local.until(lambda: local.servers("canary-predictor-00002"), bool)
    assert sorted(local.predict("canary") for _ in range(20)) == [1] * 18 + [2] * 2
    local.apply("canary", 1, canaryTrafficPercent=0, labels={"fresh": "1"})
    local.until_traffic("canary", L2=0, prev1=100)
    local.until_traffic("canary", L3=0, prev1=100)
    assert {local.predict("canary") for _ in range(20)} == {1}
    local.apply("canary", 1, labels={"fresh": "1"})
    local.until_traffic("canary", L3=100)
    gone = ("canary-predictor-00001", "canary-predictor-00002")
    local.until(lambda: [local.servers(name) for name in gone], lambda found: found == [[], []])
    assert local.predict("canary") == 1


def test_a_killed_model_server_is_seen_in_metrics_and_comes_back(local: Local) -> None:
    local.apply("killed", 1)
    local.until_traffic("killed", L1=100)
    revision = "killed-predictor-00001"
    before = local.until(lambda: local.servers(revision), bool)
    assert local.predict("killed") == 1
    count = local.counted(revision, "200")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    frozen = local.until(lambda: local.status("killed"), lambda status: ready(status) == "False")
    assert "SIGKILL" in frozen["modelStatus"]["lastFailureInfo"]["message"]
    assert local.predict("killed") == 1
    local.until(lambda: ready(local.status("killed")), lambda told: told == "True")
    assert set(local.servers(revision)).isdisjoint(before)
    assert local.counted(revision, "200") == count + 1
    query = f"{local.where['prometheus']}/api/v1/query?query=revision_request_count"
    local.until(lambda: urllib.request.urlopen(query, timeout=10).read().decode(), lambda text: revision in text)


def test_a_canary_that_breaks_freezes_the_route_until_its_revision_is_deleted(local: Local) -> None:
    local.apply("frozen", 1)
    local.until_traffic("frozen", L1=100)
    local.apply("frozen", 6, canaryTrafficPercent=10)
    local.until_traffic("frozen", L2=10, prev1=90)
    (local.models / "v6" / "model.joblib").unlink()
    for pid in local.until(lambda: local.servers("frozen-predictor-00002"), bool):
        os.kill(pid, signal.SIGKILL)
    local.until(lambda: routed(local.status("frozen")), lambda told: told == "RevisionMissing")
    nowhere = {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///nowhere"}
    body = json.dumps(service("frozen", model=nowhere, canaryTrafficPercent=0))
    kubectl(local.state.kubeconfig, "apply", "--server-side", "-f", "-", stdin=body)
    local.until(lambda: local.status("frozen")["components"]["predictor"]["latestCreatedRevision"][-1], "3".__eq__)
    assert local.traffic("frozen") == {"L2": 10, "prev1": 90}
    kubectl(local.state.kubeconfig, "delete", "revision", "frozen-predictor-00002", "-n", "fraud")
    local.until_traffic("frozen", L1=0, prev1=100)
    assert {local.predict("frozen") for _ in range(10)} == {1}


def routed(status: Json) -> str:
    return next((c.get("reason", "") for c in status.get("conditions", []) if c["type"] == "RoutesReady"), "")


def test_nobody_loses_a_request_while_one_version_takes_over_from_another(local: Local) -> None:
    local.apply("smooth", 1)
    local.until_traffic("smooth", L1=100)
    answers: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(local.predict("smooth"))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            local.apply("smooth", 2)
            local.until_traffic("smooth", L2=100)
            local.until(lambda: local.servers("smooth-predictor-00001"), lambda found: not found)
            local.until(lambda: answers[-1], lambda answer: answer == 2)
        finally:
            done.set()
    assert [future.exception() for future in asking] == [None, None]
    assert set(answers) == {1, 2}


def gateway_pid(local: Local) -> int:
    """Tell the gateway's process; 0: it is not up."""
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads((local.state.root / "gateway.json").read_text(encoding="utf-8"))["pid"])
    return 0


def test_a_gateway_that_is_killed_comes_back_where_it_was_with_its_table(local: Local) -> None:
    """Its ports were the kernel's choice each time: whoever sent it requests went on sending them to nobody."""
    local.apply("kept", 1)
    local.until_traffic("kept", L1=100)
    assert local.predict("kept") == 1
    before, killed = dict(local.where), gateway_pid(local)
    os.kill(killed, signal.SIGKILL)
    local.until(lambda: gateway_pid(local), lambda pid: pid not in {0, killed})
    local.until(lambda: local.servers("kept-predictor-00001"), bool)  # it has its table
    assert local.predict("kept") == 1
    assert statedir.addresses(local.state) == before


def test_a_gateway_whose_place_was_taken_goes_elsewhere_and_prometheus_follows(local: Local) -> None:
    local.apply("moved", 1)
    local.until_traffic("moved", L1=100)
    before = dict(local.where)
    (local.state.root / "gateway-ports.json").write_text("[70000, 70000]", encoding="utf-8")  # there are no such ports
    os.kill(gateway_pid(local), signal.SIGKILL)
    local.where = local.until(
        lambda: statedir.addresses(local.state),
        lambda told: bool(told) and told["gateway"] != before["gateway"] and told["prometheus"] != before["prometheus"],
    )
    assert local.predict("moved") == 1
    path = "/apis/serving.kserve.io/v1beta1/namespaces/fraud/inferenceservices/moved"
    local.until(lambda: local.get(path)["status"]["address"]["url"], lambda url: url.startswith(local.where["gateway"]))


def test_a_model_that_does_not_load_says_why(local: Local) -> None:
    local.apply("broken", 1)
    local.until_traffic("broken", L1=100)
    (local.models / "v7").mkdir(parents=True)
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": (local.models / "v7").as_uri()}
    body = service("broken", model=model, canaryTrafficPercent=10)
    kubectl(local.state.kubeconfig, "apply", "--server-side", "-f", "-", stdin=json.dumps(body))
    failed = local.until(
        lambda: local.status("broken").get("modelStatus", {}),
        lambda told: told.get("transitionStatus") == "BlockedByFailedLoad",
    )
    assert failed["lastFailureInfo"]["modelRevisionName"] == "broken-predictor-00002"
    assert re.search(r"v7", failed["lastFailureInfo"]["message"])
    assert local.traffic("broken") == {"L1": 10, "prev1": 90}
    assert {local.predict("broken") for _ in range(10)} == {1}


def test_deleting_a_service_stops_its_model_servers(local: Local) -> None:
    local.apply("deleted", 1)
    local.until_traffic("deleted", L1=100)
    pids = local.until(lambda: local.servers("deleted-predictor-00001"), bool)
    assert kubectl(local.state.kubeconfig, "delete", "isvc", "deleted", "-n", "fraud").returncode == 0
    local.until(lambda: {pid for pid, _ in commands()} & set(pids), lambda left: not left)
    with pytest.raises(urllib.error.HTTPError) as caught:
        local.predict("deleted")
    assert caught.value.code == 404
    caught.value.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_supervisor_brings_the_same_revisions_back(local: Local, sent: signal.Signals) -> None:
    name = f"back-{sent.name.lower()}"
    local.apply(name, 1)
    local.until_traffic(name, L1=100)
    local.apply(name, 2, canaryTrafficPercent=50)
    local.until_traffic(name, L2=50, prev1=50)
    before = local.status(name)["components"]
    revisions = "/apis/serving.knative.dev/v1/namespaces/fraud/revisions"
    uids = {item["metadata"]["uid"] for item in local.get(revisions)["items"]}
    kubeconfig = local.state.kubeconfig.read_text(encoding="utf-8")
    local.stop(sent)
    local.start()
    assert local.state.kubeconfig.read_text(encoding="utf-8") == kubeconfig
    assert local.status(name)["components"] == before
    assert {item["metadata"]["uid"] for item in local.get(revisions)["items"]} == uids
    assert sorted(local.predict(name) for _ in range(10)) == [1] * 5 + [2] * 5


def test_a_second_supervisor_in_the_same_place_is_refused(local: Local) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "gitops_serving.local.cluster", "--state", str(local.state.root)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert "runs in" in second.stderr
    assert "local down" in second.stderr
