"""The adapter of the port Metrics and a real Prometheus that scrapes: killed, stopped and back again."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.adapters.prometheus import PrometheusMetrics
from gitops_serving.core.measure import Kind, Metric, Outcome, Query, Reading, Source
from gitops_serving.local import prometheus_binary
from tests.contract.stub import Call, await_that, serve
from tests.controller.answers import weighed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gitops_serving.ports import Metrics

pytestmark = pytest.mark.slow


@dataclass(slots=True)
class Server:
    """A Prometheus process over one directory."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(prometheus_binary.find()), f"--config.file={self.directory}/prometheus.yml", "--log.level=error"]
        command += [f"--storage.tsdb.path={self.directory}/data", f"--web.listen-address=127.0.0.1:{self.port}"]
        with (self.directory / "log").open("ab") as log:
            environment = {**os.environ, "GOMAXPROCS": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def tell(self, what: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(what)
        if what is signal.SIGKILL:
            self.process.wait(10)
        if what is signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # its threads stop one after another


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a Prometheus that has scraped a small exporter."""
    directory = tmp_path_factory.mktemp("prometheus")
    counts = iter(range(1_000_000))

    def expose(call: Call) -> None:
        head = "# TYPE demo_requests_total counter\ndemo_requests_total"
        text = f'{head}{{revision="iris-00001"}} {next(counts)}\n'
        call.reply(200, text + 'demo_nan{revision="iris-00001"} NaN\n', "text/plain")

    with serve(expose) as exporter:
        target = exporter.url.removeprefix("http://")
        (directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: demo, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        server = Server(directory, _free_port())
        server.start()
        try:
            with _reader(server) as metrics:
                await_that(lambda: _counted(_now(metrics, "demo_requests_total")) >= 5, 20)
            yield server
        finally:
            server.tell(signal.SIGKILL)


@contextmanager
def _reader(server: Server) -> Iterator[PrometheusMetrics]:
    metrics = PrometheusMetrics(f"http://127.0.0.1:{server.port}", timeout_seconds=1.0)
    yield metrics
    metrics.close()


def _counted(reading: Reading) -> int:
    return sum(len(each.samples) for each in reading.series)


def _now(metrics: Metrics, expression: str) -> Reading:
    """Read the last minute."""
    end = datetime.now(UTC)  # noqa: TID251 - a real server has a real clock
    step = timedelta(milliseconds=200)
    asked = Query(name="x", expression=expression, start=end - 300 * step, end=end, step=step)
    return metrics.read([asked])["x"]


def test_a_real_counter_is_read_on_the_grid(scraped: Server) -> None:
    with _reader(scraped) as metrics:
        (series,) = _now(metrics, 'demo_requests_total{revision="iris-00001"}').series
    assert series.labels["revision"] == "iris-00001"
    assert series.labels["job"] == "demo"
    times, values = zip(*series.samples, strict=True)
    assert list(values) == sorted(values)
    assert all(math.isclose(later - earlier, 0.2, abs_tol=1e-6) for earlier, later in itertools.pairwise(times))


def test_real_silences_have_causes_and_are_not_blind(scraped: Server) -> None:
    with _reader(scraped) as metrics:
        wrong = _now(metrics, "sum(")
        matching = _now(metrics, "up * on () group_left () (up or demo_requests_total)")
        absent = _now(metrics, "no_such_metric")
        nan = _now(metrics, "demo_nan")
    assert [each.blind for each in (wrong, matching, absent, nan)] == [False] * 4
    assert [each.wrong for each in (wrong, matching, absent, nan)] == [True, True, False, False]
    assert "parse error" in wrong.cause
    assert "execution" in matching.cause
    assert "no_such_metric" in absent.cause
    assert "NaN" in nan.cause


def test_a_metric_that_a_real_prometheus_rejects_holds_its_rollout_with_prometheus_s_words(scraped: Server) -> None:
    parts = {
        "total": 'demo_requests_total{revision="{{ revision }}"}',
        "bad": 'demo_requests_total{revision="{{ revision }}"',
    }
    metric = Metric(name="errors", sources=(Source(kind=Kind.COUNTER, parts=parts),), tolerance=0.2)
    now = datetime.now(UTC)  # noqa: TID251 - a real server has a real clock
    with _reader(scraped) as metrics:
        # It is young: what it scraped just now is what it scraped so long ago that no scrape can be missing.
        young = timedelta(seconds=15)
        verdict = weighed(metrics, 60, metric, started=now - timedelta(seconds=60), skew=young).verdict
    assert verdict.outcome is Outcome.SILENT
    assert verdict.silent_for == timedelta()
    assert "errors: Prometheus cannot evaluate the query (bad_data: " in verdict.because
    assert "parse error" in verdict.because


def test_a_killed_prometheus_blinds_and_its_return_heals(scraped: Server) -> None:
    with _reader(scraped) as metrics:
        assert _now(metrics, "demo_requests_total").series
        scraped.tell(signal.SIGKILL)
        reading = _now(metrics, "demo_requests_total")
        scraped.start()
        assert reading.blind
        assert "cannot be reached" in reading.cause
        await_that(lambda: _now(metrics, "demo_requests_total").series, 20)


def test_a_stopped_prometheus_blinds_in_time_and_its_return_heals(scraped: Server) -> None:
    with _reader(scraped) as metrics:
        assert _now(metrics, "demo_requests_total").series
        scraped.tell(signal.SIGSTOP)
        begun = time.monotonic()
        reading = _now(metrics, "demo_requests_total")
        lasted = time.monotonic() - begun
        scraped.tell(signal.SIGCONT)
        assert reading.blind
        assert "did not answer within" in reading.cause
        assert lasted < 5.0
        await_that(lambda: _now(metrics, "demo_requests_total").series, 20)
