from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from gitops_serving.local.files import read_json, write_json
from gitops_serving.local.statedir import (
    StateError,
    addresses,
    default_root,
    lock,
    owner,
    prepare,
    secret,
    write_kubeconfig,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    state = prepare(tmp_path / "s")
    write_kubeconfig(state, "http://127.0.0.1:1/x")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state.root, state.run, state.logs)] == [0o700] * 3
    assert stat.S_IMODE(state.kubeconfig.stat().st_mode) == 0o600


def test_only_one_cluster_may_run_in_a_directory(tmp_path: Path) -> None:
    state = prepare(tmp_path / "s")
    assert owner(state) == 0
    with lock(state):
        assert owner(state) == os.getpid()
        with pytest.raises(StateError, match="local down"):
            lock(state)
    assert owner(state) == 0


def test_addresses_of_a_cluster_that_is_gone_are_not_believed(tmp_path: Path) -> None:
    state = prepare(tmp_path / "s")
    assert addresses(state) == {}
    write_json(state.addresses, {"pid": os.getpid(), "api": "http://127.0.0.1:1"})
    assert addresses(state) == {}
    with lock(state):
        assert addresses(state)["api"] == "http://127.0.0.1:1"
        write_json(state.addresses, {"pid": os.getpid() + 1})
        assert addresses(state) == {}


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    state = prepare(tmp_path / "s")
    assert secret(state) == secret(state)
    assert len(secret(state)) >= 32
    assert secret(state) != secret(prepare(tmp_path / "t"))


def test_a_path_too_long_for_sockets_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="choose a shorter one"):
        prepare(tmp_path / ("s" * 100))


def test_the_default_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "gitops-serving" / "local"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".local" / "state" / "gitops-serving" / "local"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]
