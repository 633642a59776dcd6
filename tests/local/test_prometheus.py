"""A real Prometheus that scrapes the real gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from gitops_serving.local import prometheus, prometheus_binary
from gitops_serving.local.prometheus import Prometheus, PrometheusFailedError
from gitops_serving.local.prometheus_binary import PrometheusMissingError
from tests.local.serving import eventually, gateway, in_loop, names_in, running, short_directory, table, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

slow = pytest.mark.slow


@pytest.fixture
def state() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


def query(server: Prometheus, expression: str) -> list[dict[str, Any]]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{server.url}/api/v1/query", params={"query": expression}, timeout=5).json()
    assert answer["status"] == "success"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def value(server: Prometheus, expression: str) -> float | None:
    result = query(server, expression)
    return float(result[0]["value"][1]) if result else None


@slow
@in_loop
async def test_a_revisions_requests_are_seen_within_seconds_in_both_generations(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "new") as (new, _), upstream(state, "old") as (old, _):
        admin_port = int(gate.admin.rpartition(":")[2])
        with Prometheus(state / "prometheus", gateway_admin_port=admin_port) as server:
            await eventually(lambda: value(server, "up") == 1)
            await gate.put(table({"new": 20, "old": 80}, {"new": [new], "old": [old]}))
            zero = 'revision_request_count{revision_name="new",response_code="200"}'
            await eventually(lambda: value(server, zero) == 0)
            for number in range(50):
                await gate.get(f"{gate.data}/serving/fraud/scorer/x?code={500 if number % 10 == 9 else 200}")
            counted = 'sum(revision_request_count{namespace_name="fraud",revision_name="new"})'
            await eventually(lambda: value(server, counted) == 10)
            # The zero was scraped, so nothing of the increase is lost but what extrapolation may add or take.
            increase = value(server, 'sum(increase(revision_request_count{revision_name="old"}[30s]))')
            assert increase is not None
            assert increase >= 20
            relabelled = 'sum(http_server_request_duration_seconds_count{namespace="fraud",revision_name="old"})'
            assert value(server, relabelled) == 40
            failed = 'sum(revision_request_count{response_code_class="5xx"})'
            assert value(server, failed) == 5
            p95 = value(
                server, "histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket[30s])))"
            )
            assert p95 is not None
            assert 0 < p95 < 5
            assert query(server, 'revision_request_latencies_bucket{le="1000",revision_name="new"}')
            (sample,) = query(server, zero)
            assert sample["metric"]["service_name"] == "scorer-predictor"
            assert sample["metric"]["pod_name"] == "new-deployment-local"
            assert not any(name.startswith("exported_") for name in sample["metric"])


@slow
def test_one_directory_has_one_prometheus_and_keeps_its_samples(state: Path) -> None:
    with Prometheus(state, gateway_admin_port=9) as first:
        with pytest.raises(PrometheusFailedError, match="choose another state directory"):
            Prometheus(state, gateway_admin_port=9)
        assert first.alive()
    assert not first.alive()
    first.stop()
    with Prometheus(state, gateway_admin_port=9) as second:
        assert second.alive()
        assert second.url == f"http://127.0.0.1:{second.port}"


@slow
def test_a_stranger_on_the_port_is_not_taken_for_ours(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Prometheus(state / "stranger", gateway_admin_port=9) as stranger:
        free = prometheus._free_port
        ports = iter([stranger.port, stranger.port])
        monkeypatch.setattr(prometheus, "_free_port", lambda: next(ports, None) or free())
        with Prometheus(state / "ours", gateway_admin_port=9) as ours:
            assert ours.port != stranger.port
            assert ours.alive()
            assert stranger.alive()


@slow
def test_a_prometheus_that_never_stands_is_reported_with_its_last_words(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(prometheus, "_free_port", lambda: taken.getsockname()[1])
        with pytest.raises(PrometheusFailedError, match="address already in use"):
            Prometheus(state, gateway_admin_port=9)
    monkeypatch.undo()
    with Prometheus(state, gateway_admin_port=9) as after:
        assert after.alive()


@slow
@in_loop
async def test_it_dies_with_a_parent_that_was_killed(state: Path) -> None:
    parent = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from gitops_serving.local.prometheus import Prometheus
        server = Prometheus(Path(sys.argv[1]), gateway_admin_port=9)
        print(server.pid, flush=True)
        time.sleep(60)
        """
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", parent, str(state)), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    pid = int(await child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    await child.communicate()
    await eventually(lambda: not running(pid))

    def free() -> bool:
        """Tell whether its lock went with it; a busy kernel closes the files of the dead a little later."""
        try:
            Prometheus(state, gateway_admin_port=9).stop()
        except PrometheusFailedError:
            return False
        return True

    await eventually(free)


@slow
def test_only_the_gateway_is_a_target_and_only_loopback_is_used(state: Path) -> None:
    with Prometheus(state, gateway_admin_port=4321):
        written = yaml.safe_load((state / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = written["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:4321"]}]
    assert job["honor_labels"] is True
    assert written["global"] == {"scrape_interval": "1s", "scrape_timeout": "900ms"}


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Look for programs nowhere but under a directory of the test."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    return tmp_path


def test_the_look_up_goes_from_the_nearest_to_the_farthest(places: Path) -> None:
    cached = program(places / "cache/gitops-serving/prometheus/usr/bin/prometheus")
    assert prometheus_binary.find() == cached
    beside = program(places / "environment/prometheus/usr/bin/prometheus")
    assert prometheus_binary.find() == beside
    on_path = program(places / "path/prometheus")
    assert prometheus_binary.find() == on_path
    named = program(places / "mine/prometheus")
    assert prometheus_binary.find(named) == named
    assert prometheus_binary.install() == on_path


def test_a_named_program_that_is_none_is_refused(places: Path) -> None:
    program(places / "path/prometheus")
    with pytest.raises(PrometheusMissingError, match="name Prometheus' binary"):
        prometheus_binary.find(places / "absent")


def test_without_a_package_tool_the_error_says_what_to_install(places: Path) -> None:
    with pytest.raises(PrometheusMissingError, match=r"without apt-get .* install Prometheus"):
        prometheus_binary.find()
    assert not (places / "cache/gitops-serving/prometheus").exists()


def test_a_failed_download_is_reported_and_leaves_nothing(places: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        failing = program(places / "path" / tool)
        failing.write_text("#!/bin/sh\necho E: Unable to locate package >&2\nexit 100\n", encoding="utf-8")
    with pytest.raises(PrometheusMissingError, match="Unable to locate package; run apt-get update"):
        prometheus_binary.find()
    assert names_in(places / "cache/gitops-serving") == []


@slow
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this machine has no Debian packages")
def test_a_package_is_unpacked_where_the_look_up_finds_it(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a real package and let a stand-in for the download hand it over: tests reach no network."""
    monkeypatch.setenv("PATH", os.defpath)
    content = places / "content"
    program(content / "usr/bin/prometheus")
    control = content / "DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        "Package: prometheus\nVersion: 2.42.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: test\n",
        encoding="utf-8",
    )
    built = places / "prometheus_2.42.0_all.deb"
    prometheus_binary._run(["dpkg-deb", "-b", str(content), str(built)], places)
    download = program(places / "path/apt-get")
    download.write_text(f"#!/bin/sh\ncp {built} .\n", encoding="utf-8")
    monkeypatch.setenv("PATH", f"{places / 'path'}:{os.defpath}")
    if shutil.which("prometheus", path=os.defpath) is not None:
        pytest.skip("this machine has Prometheus installed")
    unpacked = prometheus_binary.install()
    assert unpacked == places / "environment/prometheus/usr/bin/prometheus"
    assert os.access(unpacked, os.X_OK)
    assert names_in(places / "environment") == ["prometheus"]
    download.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert prometheus_binary.install() == unpacked
