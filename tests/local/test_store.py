from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from gitops_serving.local import store as stores
from gitops_serving.local.faults import ApiError
from gitops_serving.local.kinds import INFERENCE_SERVICE, NAMESPACE
from gitops_serving.local.store import Store
from tests.local.objects import NOW, Json, service

if TYPE_CHECKING:
    from pathlib import Path


def stored(name: str = "scorer", namespace: str = "fraud") -> Json:
    body = service(name, namespace=namespace)
    return {**body, "metadata": {**body["metadata"], "uid": "u", "creationTimestamp": NOW}}


def test_objects_survive_a_restart_byte_for_byte(tmp_path: Path) -> None:
    body = Store(tmp_path).put(INFERENCE_SERVICE, stored())
    assert Store(tmp_path).get(INFERENCE_SERVICE, "fraud", "scorer") == body


def test_a_deleted_object_stays_deleted_over_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remove(INFERENCE_SERVICE, store.put(INFERENCE_SERVICE, stored()))
    assert Store(tmp_path).every(INFERENCE_SERVICE) == []


def test_versions_grow_over_restarts_even_when_the_newest_objects_are_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    last = store.remove(INFERENCE_SERVICE, store.put(INFERENCE_SERVICE, stored()))
    after = Store(tmp_path).put(INFERENCE_SERVICE, stored())
    assert int(after["metadata"]["resourceVersion"]) > int(last["metadata"]["resourceVersion"])


def test_versions_grow_past_the_reserved_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "BLOCK", 4)
    store = Store(tmp_path)
    for _ in range(11):
        newest = store.put(INFERENCE_SERVICE, stored())
    assert Store(tmp_path).version >= int(newest["metadata"]["resourceVersion"])


def test_a_namespace_comes_with_its_first_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(INFERENCE_SERVICE, stored())
    assert [body["metadata"]["name"] for body in store.every(NAMESPACE)] == ["fraud"]


def test_a_list_is_sorted_and_may_be_of_one_namespace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, namespace in (("b", "two"), ("a", "two"), ("c", "one")):
        store.put(INFERENCE_SERVICE, stored(name, namespace))
    assert [body["metadata"]["name"] for body in store.every(INFERENCE_SERVICE)] == ["c", "a", "b"]
    assert [body["metadata"]["name"] for body in store.every(INFERENCE_SERVICE, "two")] == ["a", "b"]


def test_history_tells_every_change_since_a_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.put(INFERENCE_SERVICE, stored())
    since = int(first["metadata"]["resourceVersion"])
    store.put(INFERENCE_SERVICE, stored())
    store.remove(INFERENCE_SERVICE, first)
    assert [event.action for event in store.since(since)] == ["MODIFIED", "DELETED"]


def test_history_that_is_gone_is_refused_with_410(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "HISTORY", 5)
    store = Store(tmp_path)
    start = store.version
    for _ in range(7):
        store.put(INFERENCE_SERVICE, stored())
    with pytest.raises(ApiError) as caught:
        store.since(start)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    assert len(store.since(store.version - 5)) == 5


@pytest.mark.parametrize("version", [1, 10**9])
def test_a_version_from_before_a_restart_or_from_another_life_is_refused_with_410(tmp_path: Path, version: int) -> None:
    Store(tmp_path).put(INFERENCE_SERVICE, stored())
    with pytest.raises(ApiError) as caught:
        Store(tmp_path).since(version)
    assert caught.value.code == 410


def test_waiting_ends_with_the_next_change(tmp_path: Path) -> None:
    async def play() -> None:
        store = Store(tmp_path)
        waiting = asyncio.create_task(store.changed(store.version))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.put(INFERENCE_SERVICE, stored())
        await asyncio.wait_for(waiting, 5)

    asyncio.run(play())


def test_files_are_for_their_owner_alone_and_no_draft_is_left(tmp_path: Path) -> None:
    Store(tmp_path).put(INFERENCE_SERVICE, stored())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert not [path for path in files if path.name.startswith(".")]
