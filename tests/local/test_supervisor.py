"""What the supervisor and its children outlive: a round that fails, a start that fails, a race that is lost."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gitops_serving.local import statedir
from gitops_serving.local.child import Child
from gitops_serving.local.cluster import Cluster
from gitops_serving.local.fleet import Crew, Fleet
from gitops_serving.local.monitor import Monitor
from tests.local.objects import Json, service
from tests.local.serving import eventually, in_loop, short_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

BODY: Json = {"metadata": {"namespace": "fraud", "name": "scorer-predictor-00001", "uid": "1"}}
KEY = "fraud/scorer-predictor-00001"


class Crewed(Fleet):
    """A fleet whose revisions have no processes."""

    def _start(self, body: Json) -> Crew:
        return Crew(body, [], "")


def fleet(place: Path) -> Crewed:
    async def idle(_: str) -> int:
        return 0

    return Crewed(run_dir=place, log_dir=place, changed=lambda: None, busy=idle)


@in_loop
async def test_a_revision_that_went_while_the_gateway_took_its_table_is_let_go_without_harm(tmp_path: Path) -> None:
    """It raised KeyError, which ended the supervisor, the gateway and a demonstration in its 33rd second."""
    crews = fleet(tmp_path)
    crews.ensure(BODY)
    leaving = crews.names()
    crews.release(KEY)
    await eventually(lambda: crews.names() == [])

    for key in leaving:
        crews.release(key)

    assert crews.names() == []


@in_loop
async def test_a_round_that_fails_is_logged_with_its_traceback_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a service's own pass was guarded: anything else that went wrong ended everything."""
    with short_directory() as place:
        cluster = Cluster(statedir.prepare(place))
        cluster._gateway = SimpleNamespace(where={})  # type: ignore[assignment]  # it is away
        rounds = {"_round": 0, "_push": 0, "_announce": 0}

        def failing(name: str) -> Any:
            def fail(*_: object) -> Any:
                rounds[name] += 1
                raise KeyError(name)

            return fail

        for name in rounds:
            monkeypatch.setattr(cluster, name, failing(name))
        working = asyncio.create_task(cluster._work())
        await eventually(lambda: rounds["_announce"] == 1)
        cluster._news.set()
        await eventually(lambda: rounds["_announce"] == 2)
        assert not working.done()
        working.cancel()

    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 6
    assert all("failed; everything else goes on" in record.getMessage() for record in told)
    assert rounds == {"_round": 2, "_push": 2, "_announce": 2}


@in_loop
async def test_what_goes_wrong_with_one_service_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with short_directory() as place:
        cluster = Cluster(statedir.prepare(place))
        cluster._gateway = SimpleNamespace(where={})  # type: ignore[assignment]  # it is away
        for name in ("one", "two"):
            cluster._store.put(cluster_kind(), stored(name))
        started: list[str] = []

        def ensure(body: Json) -> None:
            started.append(body["metadata"]["name"])
            if body["metadata"]["name"].startswith("one"):
                raise KeyError("annotations")

        monkeypatch.setattr(cluster._fleet, "ensure", ensure)
        monkeypatch.setattr(cluster._fleet, "names", lambda: ["fraud/one-predictor-00001", "fraud/two-predictor-00001"])
        assert cluster._round() == []  # nobody has to leave because somebody could not be started

    assert started == ["one-predictor-00001", "two-predictor-00001"]
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "starting fraud/one-predictor-00001 failed"
    ]


def cluster_kind() -> Any:
    from gitops_serving.local.kinds import INFERENCE_SERVICE

    return INFERENCE_SERVICE


def stored(name: str) -> Json:
    body = service(name)
    body["metadata"] |= {"uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
    return body


@in_loop
async def test_a_gateway_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where memory for a process was short for a moment, nobody ever started the gateway again."""
    told, start, tries = tmp_path / "told.json", asyncio.create_subprocess_exec, []
    program = f"import json, os, time; json.dump({{'pid': os.getpid()}}, open({str(told)!r}, 'w')); time.sleep(60)"

    async def short_of_memory(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        tries.append(arguments)
        if len(tries) == 1:
            raise BlockingIOError("Resource temporarily unavailable")
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", short_of_memory)
    child = Child(
        "the gateway", [sys.executable, "-c", program], told=told, log_path=tmp_path / "log", changed=lambda: None
    )
    await child.up(20)
    await child.stop()

    assert len(tries) == 2
    assert "the gateway could not be started" in caplog.text


@in_loop
async def test_a_prometheus_that_fails_in_a_new_way_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, tries = Monitor(tmp_path, lambda: None), []

    async def follow(target: int) -> None:
        tries.append(target)
        raise KeyError("data")

    monkeypatch.setattr("gitops_serving.local.monitor.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(monitor, "follow", follow)
    keeping = asyncio.create_task(monitor.keep(lambda: 1))
    await eventually(lambda: len(tries) > 1)
    keeping.cancel()
    await monitor.stop()

    assert "KeyError" in caplog.text
