"""The Kubernetes adapter: what it reads from an object, what it makes of a bad day, and where it finds the cluster."""

from __future__ import annotations

import copy
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.adapters import kube
from gitops_serving.core.errors import Invalid, Unavailable
from gitops_serving.core.model import Due, Share, Status
from tests.contract.stub import Call, Stub, break_off, hang, hang_in_body, replying, serve
from tests.contract.test_cluster import SERVICE, document, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

R1, R2 = "iris-predictor-00001", "iris-predictor-00002"
OURS = "gitops-serving.dev/revision"


def condition(kind: str, value: str, at: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": value, "lastTransitionTime": at, **more}


def live() -> dict[str, Any]:
    """An InferenceService in the middle of a canary, as a cluster shows it."""
    wanted = document(weight=10, label="0123456789ab.2")
    entry = {"apiVersion": "serving.kserve.io/v1beta1", "fieldsType": "FieldsV1"}
    server_made = {
        "uid": "0d76a4be-877f-44a8-856f-c7fb4fd62625",
        "resourceVersion": "214",
        "generation": 3,
        "creationTimestamp": "2026-11-22T09:00:00Z",
        "finalizers": ["inferenceservice.finalizers"],
        "managedFields": [
            {**entry, "manager": "gitops-serving", "operation": "Apply", "time": "2026-11-22T10:26:11Z"},
            {**entry, "manager": "gitops-serving", "operation": "Update", "time": "2026-11-22T10:40:00Z"},
            {**entry, "manager": "kserve", "operation": "Update", "time": "2026-11-22T10:50:00Z"},
        ],
    }
    annotations = {"team": "red", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    traffic = [
        {"revisionName": R2, "percent": 10, "latestRevision": True, "tag": "latest"},
        {"revisionName": R1, "percent": 90, "latestRevision": False, "tag": "prev"},
        {"revisionName": R1, "latestRevision": False},
    ]
    predictor = {"latestCreatedRevision": R2, "latestReadyRevision": R2, "latestRolledoutRevision": R1}
    predictor["previousRolledoutRevision"] = "iris-predictor-00000"
    conditions = [
        condition("PredictorReady", "True", "2026-11-22T10:27:00Z"),
        condition("PredictorConfigurationReady", "True", "2026-11-22T10:26:50Z"),
        condition("RoutesReady", "True", "2026-11-22T10:59:00Z"),
        {"type": "LatestDeploymentReady", "status": "True"},
    ]
    status = {
        "conditions": conditions,
        "components": {"predictor": {**predictor, "traffic": traffic}},
        "modelStatus": {"transitionStatus": "UpToDate", "lastFailureInfo": {"message": "an old story"}},
    }
    metadata = {**wanted["metadata"], "annotations": annotations, "labels": {"app": "iris"}, **server_made}
    return {**wanted, "metadata": metadata, "status": status}


def revisions(**labels: dict[str, str] | None) -> dict[str, Any]:
    items = [
        {"metadata": {"name": name.replace("_", "-"), **({"labels": each} if each is not None else {})}}
        for name, each in labels.items()
    ]
    return {"kind": "RevisionList", "apiVersion": "serving.knative.dev/v1", "items": items}


def failure(code: int, reason: str, message: str, **details: Any) -> Callable[[Call], None]:
    """Say no as an API server does."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return replying(code, {**body, "details": details, "code": code})


def showing(service: Any, listed: Callable[[Call], None] | None = None) -> Callable[[Call], None]:
    """Show an object and its revisions."""
    listed = listed or replying(200, revisions())
    return lambda call: listed(call) if call.request_seen.path.endswith("/revisions") else call.reply(200, service)


# -- what is read ----------------------------------------------------------------------------------------------------


def test_an_object_is_read_whole(stub: Stub, cluster: kube.KubeCluster) -> None:
    labels = revisions(iris_predictor_00002={OURS: "0123456789ab.2", "x": "y"}, iris_predictor_00001=None)
    stub.answer = showing(live(), replying(200, labels))
    wanted = document(weight=10, label="0123456789ab.2")
    assert cluster.observe(SERVICE) == Status(
        manifest={**wanted, "metadata": {**wanted["metadata"], "labels": {"app": "iris"}}},
        uid="0d76a4be-877f-44a8-856f-c7fb4fd62625",
        created=R2,
        ready=R2,
        rolled=R1,
        previous="iris-predictor-00000",
        traffic=(Share(R2, 10, latest=True), Share(R1, 90), Share(R1, 0)),
        routed=True,
        labels={R1: None, R2: "0123456789ab.2"},
        born=datetime(2026, 11, 22, 9, 0, tzinfo=UTC),
        applied=datetime(2026, 11, 22, 10, 26, 11, tzinfo=UTC),
        turned=datetime(2026, 11, 22, 10, 27, tzinfo=UTC),
        failure=None,
    )
    assert [each.path.removeprefix("/s3cret") for each in stub.asked] == [
        "/apis/serving.kserve.io/v1beta1/namespaces/demo/inferenceservices/iris",
        "/apis/serving.knative.dev/v1/namespaces/demo/revisions",
    ]
    assert stub.asked[1].query["labelSelector"] == "serving.kserve.io/inferenceservice=iris"


def test_an_object_that_nobody_has_reconciled_yet_is_known_and_empty(stub: Stub, cluster: kube.KubeCluster) -> None:
    stub.answer = showing({**document(), "metadata": {"name": "iris", "namespace": "demo", "uid": "u-1"}})
    status = cluster.observe(SERVICE)
    assert status.manifest is not None
    assert status == Status(manifest=status.manifest, uid="u-1")
    assert "annotations" not in status.manifest["metadata"]


def test_routes_are_read_from_the_predictor_where_nobody_sums_them_up(stub: Stub, cluster: kube.KubeCluster) -> None:
    service = live()
    service["status"]["conditions"] = [condition("PredictorRouteReady", "True", "2026-11-22T10:00:00Z")]
    stub.answer = showing(service)
    assert cluster.observe(SERVICE).routed
    service["status"]["conditions"] += [condition("RoutesReady", "False", "2026-11-22T10:00:00Z")]
    assert not cluster.observe(SERVICE).routed


@pytest.mark.parametrize(
    ("model", "ready", "expected"),
    [
        (("BlockedByFailedLoad", {"message": "no such\nfile"}), ("False", "Revision failed"), "no such file"),
        (("InvalidSpec", {"reason": "NoSupportingRuntime"}), ("True", ""), "NoSupportingRuntime"),
        (("InvalidSpec", {}), ("True", ""), "InvalidSpec"),
        (("InProgress", {"message": "an old story"}), ("Unknown", "waiting"), None),
        (("InProgress", {"message": "an old story"}), ("False", "Revision failed"), "Revision failed"),
        (("UpToDate", {}), ("True", "all well"), None),
    ],
)
def test_a_failure_is_told_while_it_lasts(
    stub: Stub,
    cluster: kube.KubeCluster,
    model: tuple[str, dict[str, str]],
    ready: tuple[str, str],
    expected: str | None,
) -> None:
    service = live()
    service["status"]["modelStatus"] = {"transitionStatus": model[0], "lastFailureInfo": model[1]}
    service["status"]["conditions"] = [condition("PredictorReady", ready[0], "2026-11-22T10:00:00Z", message=ready[1])]
    stub.answer = showing(service)
    assert cluster.observe(SERVICE).failure == expected


@pytest.mark.parametrize(
    "listed",
    [
        failure(403, "Forbidden", "revisions.serving.knative.dev is forbidden"),
        replying(404, "404 page not found", "text/plain"),
    ],
)
def test_where_revisions_cannot_be_told_apart_nothing_is_known(
    stub: Stub, cluster: kube.KubeCluster, listed: Callable[[Call], None]
) -> None:
    stub.answer = showing(live(), listed)
    status = cluster.observe(SERVICE)
    assert not status.known
    assert status.why


def test_a_namespace_or_object_that_does_not_exist_is_known(stub: Stub, cluster: kube.KubeCluster) -> None:
    words = 'inferenceservices.serving.kserve.io "iris" not found'
    stub.answer = failure(404, "NotFound", words, name="iris", group="serving.kserve.io", kind="inferenceservices")
    assert cluster.observe(SERVICE) == Status()


def broken(*path: Any, value: Any) -> dict[str, Any]:
    """Damage one place of an otherwise sound object."""
    service = copy.deepcopy(live())
    *way, last = path
    place: Any = service
    for step in way:
        place = place[step]
    place[last] = value
    return service


UNKNOWN: dict[str, tuple[Callable[[Call], None], str]] = {
    "no KServe": (replying(404, "404 page not found", "text/plain"), "install KServe"),
    "forbidden": (failure(403, "Forbidden", 'User "me" cannot get'), 'User "me" cannot get'),
    "unauthorised": (failure(401, "Unauthorized", "Unauthorized"), "renew the credentials"),
    "busy": (failure(429, "TooManyRequests", "try later"), "try later"),
    "internal": (failure(500, "InternalError", "etcd is full"), "etcd is full"),
    "gateway": (replying(502, "<html>", "text/html"), "502"),
    "redirect": (replying(302, "", Location="http://127.0.0.1:1/login"), "302"),
    "broken off": (break_off, "did not answer"),
    "garbage": (replying(200, b"\xff{"), "no answer of its API"),
    "empty": (replying(200, b""), "no answer of its API"),
    "login page": (replying(200, "<html>", "text/html"), "no answer of its API"),
    "odd charset": (replying(200, "{}", "application/json; charset=nonsense"), "no answer of its API"),
    "odd type": (replying(200, b"\x00", "application/octet-stream"), "did not answer"),
    "null": (replying(200, None), "no answer of its API"),
    "list": (replying(200, []), "no answer of its API"),
    "no metadata": (replying(200, {}), "no answer of its API"),
    "odd status": (showing(broken("status", value="fine")), "unexpected form"),
    "odd percent": (showing(broken("status", "components", "predictor", "traffic", 0, "percent", value="x")), "API"),
    "odd time": (showing(broken("metadata", "managedFields", 0, "time", value="yesterday")), "API"),
    "odd traffic": (showing(broken("status", "components", "predictor", "traffic", value=[1])), "unexpected form"),
    "odd details": (replying(404, {"kind": "Status", "details": "none", "message": "not here"}), "not here"),
    "revisions fail": (showing(live(), failure(500, "InternalError", "etcd is full")), "etcd is full"),
    "revisions odd": (showing(live(), replying(200, {"items": [{}]})), "no answer of its API"),
}


@pytest.mark.parametrize(("behaviour", "words"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_cannot_be_read_is_unknown_and_never_raises(
    stub: Stub, cluster: kube.KubeCluster, behaviour: Callable[[Call], None], words: str
) -> None:
    stub.answer = behaviour
    status = cluster.observe(SERVICE)
    assert (status.known, status.manifest) == (False, None)
    assert words in status.why
    assert SERVICE in status.why
    assert ";" in status.why  # what to do
    assert "s3cret" not in status.why
    assert len(stub.asked) <= 2  # the object and its revisions, nothing twice


@pytest.fixture
def hasty(cluster: kube.KubeCluster) -> kube.KubeCluster:
    return kube.KubeCluster(cluster._api, observe_timeout_seconds=0.3, apply_timeout_seconds=0.3)


@pytest.mark.parametrize("behaviour", [hang, hang_in_body])
def test_a_server_that_hangs_is_given_up_after_the_time_out(
    stub: Stub, hasty: kube.KubeCluster, behaviour: Callable[[Call], None]
) -> None:
    stub.answer = behaviour
    begun = time.monotonic()
    status = hasty.observe(SERVICE)
    with pytest.raises(Unavailable, match="time is up"):
        hasty.apply(Due(SERVICE, document()))
    assert time.monotonic() - begun < 5
    assert not status.known
    assert len(stub.asked) == 2


def test_a_name_without_a_namespace_is_unknown_too(cluster: kube.KubeCluster) -> None:
    assert not cluster.observe("iris").known


# -- where the cluster is --------------------------------------------------------------------------------------------


def test_a_kubeconfig_that_is_not_there_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no kubeconfig") as caught:
        kube.connect(str(tmp_path / "nowhere"))
    assert caught.value.code == "kubeconfig-unusable"


def test_a_context_that_is_not_there_is_invalid_and_named(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    with pytest.raises(Invalid, match="context 'elsewhere'"):
        kube.connect(path, "elsewhere")


@pytest.mark.parametrize(
    "content", ["", "[1]", "users: [{name: me, user: {token: hunter2}}]", "{hunter2", "a: b: hunter2", "hunter2"]
)
def test_a_kubeconfig_that_is_damaged_is_invalid_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(Invalid) as caught:
        kube.connect(str(path))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_context_is_chosen_by_name(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, stub.url)
    path.write_text(path.read_text().replace("current-context: it", "current-context: other"))
    stub.answer = showing(live())
    cluster = kube.connect(str(path), "it")
    assert cluster.observe(SERVICE).known
    cluster.close()


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.answer = showing(live())
    with serve(replying(502, "a proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        cluster = kube.connect(write_kubeconfig(tmp_path / "kubeconfig", stub.url))
        assert cluster.observe(SERVICE).known
        cluster.close()
    assert proxy.asked == []
