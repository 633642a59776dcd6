"""The API over real HTTP, with plain requests and with the official Python client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import kubernetes as typeless
import pytest

from gitops_serving.local.body import LIMIT_BYTES
from gitops_serving.local.kinds import INFERENCE_SERVICE, REVISION
from tests.local.apiserver import Server, running_api
from tests.local.objects import NOW, Json, labelled, service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kubernetes: Any = typeless  # it ships no types

ROOT = "/apis/serving.kserve.io/v1beta1"
ALL = f"{ROOT}/inferenceservices"
MINE = f"{ROOT}/namespaces/fraud/inferenceservices"
APPLY = "application/apply-patch+yaml"
KSERVE = ("serving.kserve.io", "v1beta1", "fraud", "inferenceservices")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_api(tmp_path / "s") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(server.kubeconfig)) as api:
        yield kubernetes.client.CustomObjectsApi(api)


def apply(server: Server, body: Json, options: str = "fieldManager=alice") -> tuple[int, Json]:
    raw = json.dumps(body).encode()
    return server.request("PATCH", f"{MINE}/{body['metadata']['name']}?{options}", raw, Content_Type=APPLY)


def test_an_apply_creates_with_201_and_changes_with_200(server: Server) -> None:
    assert apply(server, service())[0] == 201
    assert apply(server, service(timeout=30))[0] == 200


def test_a_conflict_is_kubernetes_own_answer(server: Server) -> None:
    apply(server, service())
    code, body = apply(server, service(timeout=30), "fieldManager=bob")
    assert (code, body["kind"], body["reason"]) == (409, "Status", "Conflict")
    assert body["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "alice"',
            "field": ".spec",
        }
    ]
    assert apply(server, service(timeout=30), "fieldManager=bob&force=true")[0] == 200


def test_an_invalid_object_is_kubernetes_own_answer(server: Server) -> None:
    code, body = apply(server, service(minReplicas=-1))
    assert (code, body["reason"], body["code"]) == (422, "Invalid", 422)
    assert body["message"].startswith('InferenceService.serving.kserve.io "scorer" is invalid: spec.predictor')


def test_an_address_without_the_secret_tells_nothing(server: Server) -> None:
    apply(server, service())
    other = Server(server.url[:-1] + "x", server.kubeconfig, server.store, server.loop)
    code, body = other.request("GET", ALL)
    assert code == 404
    assert "scorer" not in json.dumps(body)


@pytest.mark.parametrize(
    ("asked", "raw", "kind", "code"),
    [
        (f"PATCH {MINE}/scorer?fieldManager=a", b"a: [", APPLY, 400),
        (f"PATCH {MINE}/scorer", b"{}", APPLY, 422),
        (f"PATCH {MINE}/scorer?fieldManager=a&dryRun=yes", b"{}", APPLY, 422),
        (f"PATCH {MINE}/scorer?fieldManager={'a' * 129}", b"{}", APPLY, 422),
        (f"PATCH {MINE}/scorer", b"[]", "application/json-patch+json", 415),
        (f"PATCH {MINE}/scorer?force=true", b"{}", "application/merge-patch+json", 422),
        (f"PATCH {MINE}/scorer", b"{}", "application/merge-patch+json", 404),
        (f"PATCH {MINE}/scorer/status?fieldManager=a", b"{}", APPLY, 405),
        (f"PUT {MINE}/scorer/status", b"{}", "application/json", 405),
        (f"PUT {MINE}/scorer", b"{}", "application/json", 404),
        (f"POST {MINE}", b"x", "application/vnd.kubernetes.protobuf", 415),
        ("POST /apis/serving.knative.dev/v1/namespaces/fraud/revisions", b"{}", "application/json", 405),
        (f"DELETE {MINE}/scorer", b"", "application/json", 404),
        (f"DELETE {MINE}", b"", "application/json", 405),
        ("DELETE /api/v1/namespaces/fraud", b"", "application/json", 405),
        (f"GET {ALL}?watch=1&resourceVersion=abc", None, "application/json", 400),
        (f"GET {ALL}?watch=1&sendInitialEvents=true", None, "application/json", 422),
        (f"GET {ALL}?labelSelector=a%3Db%3Dc", None, "application/json", 400),
        ("GET /apis/serving.kserve.io/v1beta1/inferencegraphs", None, "application/json", 404),
        ("GET /api/v1/pods", None, "application/json", 404),
        ("GET /etc/passwd", None, "application/json", 404),
    ],
)
def test_what_cannot_be_done_is_answered_with_a_status(
    server: Server, asked: str, raw: bytes | None, kind: str, code: int
) -> None:
    method, path = asked.split(" ", 1)
    answer = server.request(method, path, raw, Content_Type=kind)
    assert (answer[0], answer[1]["kind"], answer[1]["code"]) == (code, "Status", code)


def test_a_body_over_the_limit_is_answered_with_413(server: Server) -> None:
    raw = b"x" * (LIMIT_BYTES + 1)
    assert server.request("PATCH", f"{MINE}/scorer?fieldManager=a", raw, Content_Type=APPLY)[0] == 413


def test_a_list_is_of_all_namespaces_or_of_one_and_may_be_selected(server: Server) -> None:
    apply(server, labelled(service(), team="risk"))
    apply(server, service("other"))

    def names(path: str) -> list[str]:
        return [item["metadata"]["name"] for item in server.request("GET", path)[1]["items"]]

    assert names(ALL) == names(MINE) == ["other", "scorer"]
    assert names(f"{MINE}?labelSelector=team%3Drisk") == ["scorer"]
    assert names(f"{MINE}?fieldSelector=metadata.name%3Dother") == ["other"]
    assert names(f"{ROOT}/namespaces/elsewhere/inferenceservices") == []


def test_a_namespace_is_there_once_it_holds_something(server: Server) -> None:
    assert server.request("GET", "/api/v1/namespaces/fraud")[0] == 404
    apply(server, service())
    assert server.request("GET", "/api/v1/namespaces/fraud")[1]["status"] == {"phase": "Active"}


def test_a_revision_may_be_read_and_deleted_and_nothing_else(server: Server) -> None:
    revision = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {"name": "r", "namespace": "fraud", "uid": "u", "creationTimestamp": NOW},
    }
    server.call(server.store.put, REVISION, revision)
    path = "/apis/serving.knative.dev/v1/namespaces/fraud/revisions/r"
    assert server.request("GET", path)[1]["metadata"]["name"] == "r"
    assert server.request("PATCH", f"{path}?fieldManager=a", b"{}", Content_Type=APPLY)[0] == 405
    assert server.request("DELETE", path)[1]["status"] == "Success"
    assert server.request("GET", path)[0] == 404


class Watched:
    """The events of a watch with the official client, read in a thread."""

    def __init__(self, client: Any, server: Server, version: str, count: int) -> None:
        self.events: list[tuple[str, Any]] = []
        self._arguments = (client, version, count)
        self._server = server
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        client, version, count = self._arguments
        watch = kubernetes.watch.Watch()
        options = {"resource_version": version, "timeout_seconds": 15}
        for event in watch.stream(client.list_namespaced_custom_object, *KSERVE, **options):
            self.events.append((event["type"], event["object"]["spec"]["predictor"].get("timeout")))
            if len(self.events) == count:
                watch.stop()

    def all(self) -> list[tuple[str, Any]]:
        self._thread.join(20)
        return self.events


def test_the_official_client_sees_every_change_from_its_list_on(server: Server, client: Any) -> None:
    apply(server, service())
    version = client.list_namespaced_custom_object(*KSERVE)["metadata"]["resourceVersion"]
    apply(server, service(timeout=30))
    watched = Watched(client, server, version, 3)
    apply(server, service(timeout=40))
    client.delete_namespaced_custom_object(*KSERVE, "scorer")
    assert watched.all() == [("MODIFIED", 30), ("MODIFIED", 40), ("DELETED", 40)]


def test_a_watch_from_nowhere_begins_with_what_there_is(server: Server, client: Any) -> None:
    apply(server, service(timeout=10))
    assert Watched(client, server, "", 1).all() == [("ADDED", 10)]


def test_the_official_client_is_told_that_history_is_gone(server: Server, client: Any) -> None:
    apply(server, service())
    with pytest.raises(kubernetes.client.ApiException) as caught:
        list(
            kubernetes.watch.Watch().stream(
                client.list_namespaced_custom_object, *KSERVE, resource_version="999999", timeout_seconds=5
            )
        )
    assert caught.value.status == 410


def test_a_watch_ends_after_the_time_that_the_client_gave_it(client: Any) -> None:
    stream = kubernetes.watch.Watch().stream(client.list_namespaced_custom_object, *KSERVE, timeout_seconds=1)
    assert list(stream) == []


def test_a_watch_tells_when_an_object_begins_and_ends_to_match(server: Server) -> None:
    apply(server, service())
    version = server.request("GET", MINE)[1]["metadata"]["resourceVersion"]
    apply(server, labelled(service(), team="risk"))
    apply(server, labelled(service(timeout=5), team="risk"))
    apply(server, service(timeout=5))
    query = f"watch=1&timeoutSeconds=1&labelSelector=team&resourceVersion={version}"
    assert [line["type"] for line in lines(server, f"{MINE}?{query}")] == ["ADDED", "MODIFIED", "DELETED"]


def lines(server: Server, path: str) -> list[Json]:
    with urllib.request.urlopen(server.url + path, timeout=10) as answer:
        return [json.loads(line) for line in answer]


def test_the_official_client_reads_the_kubeconfig_and_the_whole_round(server: Server, client: Any) -> None:
    made = client.patch_namespaced_custom_object(
        *KSERVE, "scorer", service(), field_manager="alice", force=True, _content_type=APPLY, _preload_content=False
    )
    assert made.status == 201
    made.read()
    made.release_conn()  # an unread answer keeps its socket
    live = client.get_namespaced_custom_object(*KSERVE, "scorer")
    live["spec"]["predictor"]["timeout"] = 30
    assert client.replace_namespaced_custom_object(*KSERVE, "scorer", live)["metadata"]["generation"] == 2
    with pytest.raises(kubernetes.client.ApiException) as caught:
        client.replace_namespaced_custom_object(*KSERVE, "scorer", live)
    assert caught.value.status == 409
    assert client.delete_namespaced_custom_object(*KSERVE, "scorer")["status"] == "Success"
    assert server.call(server.store.every, INFERENCE_SERVICE) == []


def test_a_client_that_goes_leaves_no_watch_behind(server: Server) -> None:
    """A watch that outlives its client would hold the server's end of it for half an hour."""
    answer = urllib.request.urlopen(f"{server.url}{MINE}?watch=1", timeout=10)
    assert watches(server) == 1
    answer.close()
    deadline = time.monotonic() + 10
    while watches(server) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert watches(server) == 0


def watches(server: Server) -> int:
    """Count the watches that wait for a change."""
    return server.call(lambda: sum("Store.changed" in repr(task.get_coro()) for task in asyncio.all_tasks()))
