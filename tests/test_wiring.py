from __future__ import annotations

import fcntl
import json
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving import wiring
from gitops_serving.config import Settings
from gitops_serving.core.environment import Environment
from gitops_serving.core.errors import Invalid, Unavailable
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.repository import FakeRepository
from gitops_serving.wiring import Addresses, Office, addresses, environments
from tests.cli.fleet import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = ManualClock()()
KUBERNETES = Environment(
    name="prod",
    cluster="kubernetes",
    context="prod",
    prometheus_url="http://prometheus:9090",
    prometheus_timeout=timedelta(seconds=7),
)
LOCAL = Environment(name="here", cluster="local")


def settings(path: Path, **more: object) -> Settings:
    return Settings(repo="/a", cache_dir=path, local_state=path / "state", **more)  # type: ignore[arg-type]  # by name


@pytest.fixture
def up(tmp_path: Path) -> Iterator[dict[str, object]]:
    """A local cluster, as far as its state directory tells: somebody holds the lock, and says where everything is."""
    state = tmp_path / "state"
    state.mkdir()
    told = {"pid": os.getpid(), "kubeconfig": str(state / "kubeconfig"), "prometheus": "http://127.0.0.1:1234"}
    (state / "local.json").write_text(json.dumps(told))
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        yield told


def test_a_kubernetes_environment_is_reached_by_its_context(tmp_path: Path) -> None:
    assert addresses(settings(tmp_path), KUBERNETES) == Addresses(None, "prod", "http://prometheus:9090", 7.0)


def test_prometheus_alone_needs_no_cluster(tmp_path: Path) -> None:
    """Where its address is known; only a local cluster that is not up cannot tell it."""
    for found, environment_ in ((settings(tmp_path), KUBERNETES), (settings(tmp_path, prometheus="http://p:1"), LOCAL)):
        _, close = wiring.open_metrics(found, environment_)
        close()
    with pytest.raises(Unavailable, match="is not up"):
        wiring.open_metrics(settings(tmp_path), LOCAL)


def test_options_of_the_process_come_before_the_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, kubeconfig="/k", context="mine", prometheus="http://p:1")

    assert addresses(found, KUBERNETES) == Addresses("/k", "mine", "http://p:1", 7.0)


def test_a_local_environment_is_reached_where_the_cluster_says_that_it_is(
    tmp_path: Path, up: dict[str, object]
) -> None:
    assert addresses(settings(tmp_path), LOCAL) == Addresses(str(up["kubeconfig"]), None, "http://127.0.0.1:1234", 5.0)


def test_a_local_cluster_that_is_not_up_is_told_with_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"gitops-serving local up --state {tmp_path / 'state'}"):
        addresses(settings(tmp_path), LOCAL)


def test_environments_are_those_asked_for_or_all(tmp_path: Path) -> None:
    tree = FakeRepository({**environment("b"), **environment("a")}, at=NOW).head

    assert environments(settings(tmp_path), tree) == ["a", "b"]
    assert environments(settings(tmp_path, env=("b",)), tree) == ["b"]
    with pytest.raises(Invalid, match="there are: a, b"):
        environments(settings(tmp_path, env=("c",)), tree)
    with pytest.raises(Invalid, match="no environment on branch main"):
        environments(settings(tmp_path), FakeRepository({"README.md": b""}, at=NOW).head)


class Connections:
    """What was connected to, and what was given back."""

    def __init__(self) -> None:
        self.made: list[Addresses] = []
        self.closed = 0

    def __call__(self, found: Addresses) -> tuple[object, object, object]:
        self.made.append(found)
        return object(), object(), self.close

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    made = Connections()
    monkeypatch.setattr(wiring, "connect", made)
    return made


def office(path: Path, repository: FakeRepository) -> Office:
    return Office(settings(path), "a", repository)  # type: ignore[arg-type]  # a fake that passes the same contract


def test_a_desk_is_kept_until_an_address_changes_in_git(tmp_path: Path, connections: Connections) -> None:
    repository = FakeRepository(environment("a"), at=NOW)
    made = office(tmp_path, repository)

    first = made.desk(None)
    same = [made.desk(None), made.desk(repository.head)]
    path = "clusters/a/cluster.yaml"
    repository.push({path: (repository.head.read(path) or b"").replace(b"127.0.0.1:9", b"127.0.0.1:10")})
    other = made.desk(repository.head)
    made.close()

    assert all(desk is first for desk in same)
    assert other is not first
    assert [found.prometheus for found in connections.made] == ["http://127.0.0.1:9", "http://127.0.0.1:10"]
    assert connections.closed == 2


def test_an_environment_that_turns_invalid_keeps_its_desk(tmp_path: Path, connections: Connections) -> None:
    repository = FakeRepository(environment("a"), at=NOW)
    made = office(tmp_path, repository)
    first = made.desk(None)
    repository.push({"clusters/a/cluster.yaml": b"kind: Nonsense\n"})

    kept = made.desk(repository.head)
    made.close()

    assert kept is first
    assert len(connections.made) == 1
    fresh = office(tmp_path, repository)
    with pytest.raises(Invalid, match=r"clusters/a/cluster\.yaml"):
        fresh.desk(None)
    fresh.close()


@pytest.mark.usefixtures("connections")
def test_services_are_looked_at_in_parallel_and_answered_in_order(tmp_path: Path) -> None:
    made = office(tmp_path, FakeRepository(environment("a"), at=NOW))
    meeting = threading.Barrier(wiring.AT_ONCE, timeout=10)

    def look(number: int) -> int:
        meeting.wait()  # passes only if all are looked at together
        return number

    found = list(made.desk(None).each(look, range(wiring.AT_ONCE)))
    made.close()

    assert found == list(range(wiring.AT_ONCE))


@pytest.mark.slow
def test_real_adapters_are_made_of_addresses(tmp_path: Path, up: dict[str, object]) -> None:
    """Nothing listens there, so that both say in their own words that nobody answers."""
    named = {"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    document = {"clusters": [named], "contexts": [context], "users": [{"name": "x", "user": {}}]}
    kubeconfig = tmp_path / "state" / "kubeconfig"
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", **document}))
    assert up["kubeconfig"] == str(kubeconfig)

    cluster, metrics, close = wiring.connect(addresses(settings(tmp_path), LOCAL))
    status = cluster.observe("fraud/scorer")
    close()

    assert not status.known
    assert metrics.read([]) == {}
