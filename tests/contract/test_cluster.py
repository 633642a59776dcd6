"""The port Cluster: what the adapter and the fake both promise.

The adapter stands on two servers: a small one of its own, and the local cluster's
API with its store and its rules of server-side apply.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aiohttp import web

from gitops_serving.adapters import kube
from gitops_serving.core.errors import Refused, Unavailable
from gitops_serving.core.model import Due, Status
from gitops_serving.local.api import Api
from gitops_serving.local.store import Store
from gitops_serving.testing.cluster import FakeCluster

from .stub import Call, replying, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gitops_serving.ports import Cluster

SERVICE = "demo/iris"


def document(weight: int | None = None, label: str | None = None, uri: str = "file:///models/1") -> dict[str, Any]:
    """Write a manifest as Git would hold it."""
    predictor: dict[str, Any] = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}}
    if weight is not None:
        predictor["canaryTrafficPercent"] = weight
    if label is not None:
        predictor["labels"] = {"gitops-serving.dev/revision": label}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": "demo", "annotations": {"team": "red"}},
        "spec": {"predictor": predictor},
    }


REFUSED = {**document(), "metadata": {"name": "iris", "namespace": "demo", "labels": {"team": ["no", "text"]}}}


@dataclass(frozen=True, slots=True)
class World:
    """An implementation, and what the suite does to its surroundings."""

    cluster: Cluster
    darken: Callable[[], None]  # from now on nothing answers
    later: Callable[[], None]  # let so much time pass that the cluster's clock shows it


def write_kubeconfig(path: Path, server: str) -> str:
    entry = {"cluster": "it", "user": "me"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": {"token": "hunter2"}}],
        "contexts": [{"name": "it", "context": entry}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


@contextmanager
def fake(_: Path) -> Iterator[World]:
    now = [datetime(2026, 11, 22, 10, tzinfo=UTC)]
    cluster = FakeCluster(lambda: now[0])
    cluster.refuses = lambda wanted: "cannot apply it; write texts" if wanted == REFUSED else None

    def darken() -> None:
        cluster.down = "nobody is there"

    def later() -> None:
        now[0] += timedelta(seconds=5)

    yield World(cluster, darken, later)


@contextmanager
def adapter_on_a_stub(directory: Path) -> Iterator[World]:
    objects: dict[str, dict[str, Any]] = {}
    seconds = [0]

    def missing(path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        details = {"name": name, "group": "serving.kserve.io", "kind": "inferenceservices"}
        message = f'inferenceservices.serving.kserve.io "{name}" not found'
        return {"kind": "Status", "reason": "NotFound", "message": message, "details": details, "code": 404}

    def answer(call: Call) -> None:
        path = call.request_seen.path
        if path.endswith("/revisions"):
            call.reply(200, {"kind": "RevisionList", "items": []})
        elif call.request_seen.method == "PATCH":
            wanted = yaml.safe_load(call.request_seen.body)
            if wanted == REFUSED:
                call.reply(422, {"kind": "Status", "reason": "Invalid", "message": "no text", "code": 422})
                return
            before = objects.get(path)
            if before is None or before["wanted"] != wanted:
                objects[path] = {"wanted": wanted, "time": f"2026-11-22T10:00:{seconds[0]:02}Z"}
            call.reply(200, {})
        elif path in objects:
            held = objects[path]
            ours = {"manager": "gitops-serving", "operation": "Apply", "time": held["time"]}
            server_made = {"uid": "u-1", "resourceVersion": "7", "generation": 2, "managedFields": [ours]}
            call.reply(200, {**held["wanted"], "metadata": {**held["wanted"]["metadata"], **server_made}})
        else:
            call.reply(404, missing(path))

    with serve(answer) as stub:
        cluster = kube.connect(write_kubeconfig(directory / "kubeconfig", stub.url))

        def darken() -> None:
            stub.answer = replying(503, "the proxy has lost its server", "text/plain")

        def later() -> None:
            seconds[0] += 5

        yield World(cluster, darken, later)
        cluster.close()


@contextmanager
def adapter_on_the_local_api(directory: Path) -> Iterator[World]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    async def start() -> web.AppRunner:
        runner = web.AppRunner(Api(Store(directory / "store"), "s3cret").app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def later() -> None:
        """Wait for the next second: the API writes its times to the second."""
        time.sleep(1.01 - time.time() % 1)  # noqa: TID251 - a real server has a real clock

    try:
        runner = run(start())
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/s3cret"
        cluster = kube.connect(write_kubeconfig(directory / "kubeconfig", url))
        yield World(cluster, lambda: run(runner.cleanup()), later)
        cluster.close()
        run(runner.cleanup())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


WORLDS = [fake, adapter_on_a_stub, adapter_on_the_local_api]


@pytest.fixture(params=WORLDS, ids=lambda each: each.__name__)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with request.param(tmp_path) as made:
        yield made


def test_what_does_not_exist_is_known_and_has_no_manifest(world: World) -> None:
    assert world.cluster.observe(SERVICE) == Status()


def test_what_was_applied_is_observed_as_it_was_written(world: World) -> None:
    wanted = document(weight=5, label="0123456789ab.1")
    world.cluster.apply(Due(SERVICE, wanted))
    status = world.cluster.observe(SERVICE)
    assert status.known
    assert status.manifest == wanted
    assert status.uid
    assert status.applied is not None
    assert status.applied.tzinfo is not None


def test_a_second_manifest_replaces_the_first_and_leaves_nothing_of_it(world: World) -> None:
    world.cluster.apply(Due(SERVICE, document(weight=5, label="0123456789ab.1")))
    first = world.cluster.observe(SERVICE)
    world.later()
    wanted = document(uri="file:///models/2")
    world.cluster.apply(Due(SERVICE, wanted))
    second = world.cluster.observe(SERVICE)
    assert second.manifest == wanted
    assert second.uid == first.uid
    assert first.applied is not None
    assert second.applied is not None
    assert second.applied > first.applied


def test_applying_what_is_live_already_is_no_effective_apply(world: World) -> None:
    world.cluster.apply(Due(SERVICE, document(weight=5)))
    first = world.cluster.observe(SERVICE)
    world.later()
    world.cluster.apply(Due(SERVICE, document(weight=5)))
    assert world.cluster.observe(SERVICE).applied == first.applied


def test_a_refusal_is_raised_with_words_and_changes_nothing(world: World) -> None:
    world.cluster.apply(Due(SERVICE, document(weight=5)))
    before = world.cluster.observe(SERVICE)
    with pytest.raises(Refused, match=r"\w+"):
        world.cluster.apply(Due(SERVICE, REFUSED))
    assert world.cluster.observe(SERVICE) == before


def test_when_nothing_answers_an_observation_is_unknown_and_an_apply_is_unavailable(world: World) -> None:
    world.cluster.apply(Due(SERVICE, document()))
    world.darken()
    status = world.cluster.observe(SERVICE)
    assert not status.known
    assert status.why
    assert status.manifest is None
    with pytest.raises(Unavailable, match=r"\w+"):
        world.cluster.apply(Due(SERVICE, document(weight=5)))
