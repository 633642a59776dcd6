"""The Kubernetes adapter: what it applies, how a server says no, and that no library's exception gets out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kubernetes.client.exceptions
import kubernetes.config.config_exception
import pytest
import urllib3

from gitops_serving.adapters import kube
from gitops_serving.core.errors import Refused, Unavailable
from gitops_serving.core.model import Due
from tests.contract.stub import Call, Stub, break_off, replying, serve
from tests.contract.test_cluster import SERVICE, document, write_kubeconfig

from .test_kube import failure, live, showing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_manifest_is_applied_whole_as_the_owner_of_its_fields(stub: Stub, cluster: kube.KubeCluster) -> None:
    stub.answer = replying(201, live())
    cluster.apply(Due(SERVICE, document(weight=5)))
    (asked,) = stub.asked
    assert asked.method == "PATCH"
    assert asked.path == "/s3cret/apis/serving.kserve.io/v1beta1/namespaces/demo/inferenceservices/iris"
    assert asked.headers["content-type"] == "application/apply-patch+yaml"
    assert asked.headers["authorization"] == "Bearer hunter2"
    assert (asked.query["fieldManager"], asked.query["force"].lower()) == ("gitops-serving", "true")
    assert asked.query["fieldValidation"] == "Strict"
    assert json.loads(asked.body) == document(weight=5)


REFUSALS: dict[str, tuple[Callable[[Call], None], str]] = {
    "invalid": (failure(422, "Invalid", "spec.predictor.minReplicas: must be positive"), "must be positive"),
    "bad request": (failure(400, "BadRequest", "the namespace does not match"), "correct the manifest"),
    "forbidden": (failure(403, "Forbidden", 'User "me" cannot patch'), "grant the right"),
    "no namespace": (
        failure(404, "NotFound", 'namespaces "demo" not found', name="demo", kind="namespaces"),
        "kubectl create namespace demo",
    ),
    "no KServe": (replying(404, "404 page not found", "text/plain"), "install KServe"),
    "another owner": (
        failure(409, "Conflict", 'Apply failed with 1 conflict: conflict with "argocd": .spec'),
        'conflict with "argocd"',
    ),
    "unauthorised": (failure(401, "Unauthorized", "Unauthorized"), "renew the credentials"),
    "too large": (failure(413, "RequestEntityTooLarge", "limit is 3145728"), "smaller"),
    "no such type": (replying(415, "", "text/plain"), "server-side apply"),
    "wrong type of field": (
        failure(500, "", "failed to create typed patch object: .spec: expected map, got &{5}"),
        "expected map",
    ),
    "teapot": (replying(418, "", "text/plain"), "ask who runs the cluster"),
    "odd details": (replying(404, {"kind": "Status", "details": "none", "message": "not here"}), "not here"),
}


@pytest.mark.parametrize(("behaviour", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_no_is_refused_with_the_servers_words_and_a_remedy_and_is_asked_once(
    stub: Stub, cluster: kube.KubeCluster, behaviour: Callable[[Call], None], words: str
) -> None:
    stub.answer = behaviour
    with pytest.raises(Refused) as caught:
        cluster.apply(Due(SERVICE, document()))
    assert words in str(caught.value)
    assert SERVICE in str(caught.value)
    assert ";" in str(caught.value)
    assert len(stub.asked) == 1


UNANSWERED: dict[str, tuple[Callable[[Call], None], str]] = {
    "busy": (failure(429, "TooManyRequests", "try later"), "try later"),
    "webhook": (failure(500, "InternalError", "failed calling webhook"), "failed calling webhook"),
    "gateway": (replying(502, "<html>", "text/html"), "502"),
    "starting": (failure(503, "ServiceUnavailable", "starting"), "starting"),
    "slow": (failure(504, "Timeout", "request did not complete"), "did not complete"),
    "broken off": (break_off, "did not answer"),
    "garbage": (replying(200, b"\xff{"), "no answer of its API"),
    "redirect": (replying(302, "", Location="http://127.0.0.1:1/login"), "302"),
}


@pytest.mark.parametrize(("behaviour", "words"), UNANSWERED.values(), ids=UNANSWERED.keys())
def test_no_clear_answer_is_unavailable_and_is_asked_once(
    stub: Stub, cluster: kube.KubeCluster, behaviour: Callable[[Call], None], words: str
) -> None:
    stub.answer = behaviour
    with pytest.raises(Unavailable) as caught:
        cluster.apply(Due(SERVICE, document()))
    assert words in str(caught.value)
    assert SERVICE in str(caught.value)
    assert len(stub.asked) == 1


def test_a_server_that_is_gone_is_named_without_its_secret_address(tmp_path: Path) -> None:
    with serve() as gone:
        server = gone.url + "/s3cret"
    cluster = kube.connect(write_kubeconfig(tmp_path / "kubeconfig", server))
    with pytest.raises(Unavailable, match="Connection refused") as caught:
        cluster.apply(Due(SERVICE, document()))
    status = cluster.observe(SERVICE)
    cluster.close()
    assert "Connection refused" in status.why
    assert "s3cret" not in str(caught.value) + status.why


def test_after_a_bad_day_the_next_answer_is_read(stub: Stub, cluster: kube.KubeCluster) -> None:
    stub.answer = break_off
    assert not cluster.observe(SERVICE).known
    stub.answer = showing(live())
    assert cluster.observe(SERVICE).known


def _library_errors() -> list[Exception]:
    """Make one of each exception that the libraries define."""
    modules: list[Any] = [kubernetes.client.exceptions, kubernetes.config.config_exception, urllib3.exceptions]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    made: list[Exception] = []
    kind: Any
    for kind in kinds:
        if not issubclass(kind, Exception) or issubclass(kind, Warning):
            continue
        answer = issubclass(kind, kubernetes.client.exceptions.ApiException)
        made.append(kind(status=0, reason="") if answer else kind.__new__(kind))
    return made


@pytest.mark.parametrize("error", _library_errors(), ids=lambda each: type(each).__name__)
def test_nothing_that_the_libraries_raise_leaves_the_door(
    cluster: kube.KubeCluster, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cluster._objects, "get_namespaced_custom_object", fail)
    monkeypatch.setattr(cluster._objects, "patch_namespaced_custom_object", fail)
    assert not cluster.observe(SERVICE).known
    with pytest.raises((Refused, Unavailable)) as caught:
        cluster.apply(Due(SERVICE, document()))
    assert caught.value.__suppress_context__
