"""The Prometheus adapter: what it asks, and what it makes of each bad day of a server."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import prometheus_api_client.exceptions
import pytest
import requests
import urllib3
from prometheus_api_client import PrometheusConnect

from gitops_serving.adapters import prometheus
from gitops_serving.adapters.prometheus import PrometheusMetrics
from gitops_serving.core.measure import Query, Reading, Series
from tests.contract.stub import (
    Call,
    Stub,
    await_that,
    break_off,
    drip_body,
    drip_head,
    hang,
    hang_in_body,
    replying,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gitops_serving.ports import Metrics

START = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
TIMEOUT = 0.4
SLACK = 3.0  # for a busy machine; a server that never ends would take hours


def query(expression: str = "requests_total", name: str | None = None) -> Query:
    step = timedelta(seconds=30)
    return Query(name=name or expression, expression=expression, start=START, end=START + 4 * step, step=step)


def matrix(*series: tuple[dict[str, str], Sequence[tuple[float, str]]], **more: Any) -> dict[str, Any]:
    """Write an answer as Prometheus does: values are texts."""
    result = [{"metric": labels, "values": [list(pair) for pair in values]} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def complaint(kind: str, words: str) -> dict[str, str]:
    return {"status": "error", "errorType": kind, "error": words}


@pytest.fixture
def metrics(stub: Stub) -> Iterator[PrometheusMetrics]:
    made = PrometheusMetrics(stub.url, timeout_seconds=10.0, max_bytes=100_000, max_points=1000)
    yield made
    made.close()


@pytest.fixture
def hasty(stub: Stub) -> Iterator[PrometheusMetrics]:
    """Give up at once, for servers that never end anyway."""
    made = PrometheusMetrics(stub.url, timeout_seconds=TIMEOUT)
    yield made
    made.close()


def read_one(metrics: Metrics, expression: str = "requests_total") -> Reading:
    return metrics.read([query(expression)])[expression]


def test_the_grid_is_asked_for_as_the_query_says_to_the_millisecond(stub: Stub, metrics: PrometheusMetrics) -> None:
    """The library rounds start and end to whole seconds, which moves every sample of the grid."""
    stub.answer = replying(200, matrix())
    read_one(metrics)
    asked = stub.asked[0].query
    assert float(asked["start"]) == START.timestamp()
    assert float(asked["end"]) == START.timestamp() + 120
    assert float(asked["step"]) == 30
    assert stub.asked[0].path == "/api/v1/query_range"


def test_prometheus_is_told_to_give_up_before_we_do(stub: Stub, metrics: PrometheusMetrics) -> None:
    stub.answer = replying(200, matrix())
    read_one(metrics)
    assert 0 < float(stub.asked[0].query["timeout"]) < 10


def test_at_most_four_queries_are_under_way_at_once(stub: Stub) -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    four = threading.Event()

    def answer(call: Call) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == 4:
                four.set()
        four.wait(5)  # the first three wait for the fourth: they really run side by side
        call.reply(200, matrix(({}, [(1.0, "1")])))
        with lock:
            under_way -= 1

    stub.answer = answer
    metrics = PrometheusMetrics(stub.url, timeout_seconds=10.0)
    read = metrics.read([query("x", str(number)) for number in range(12)])
    metrics.close()
    assert most == 4
    assert all(reading.series for reading in read.values())


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.answer = replying(200, matrix(({}, [(1.0, "1")])))
    with serve(replying(502, "a proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        metrics = PrometheusMetrics(stub.url, timeout_seconds=5.0)
        reading = metrics.read([query()])["requests_total"]
        metrics.close()
    assert reading.series
    assert proxy.asked == []


# -- what it makes of an answer -------------------------------------------------------------------------


def test_samples_that_are_no_numbers_are_dropped(stub: Stub, metrics: PrometheusMetrics) -> None:
    values = [(1.5, "NaN"), (2.5, "1"), (3.5, "+Inf"), (4.5, "-Inf"), (5.5, "2e-3")]
    stub.answer = replying(200, matrix(({"code": "200"}, values), ({"code": "500"}, [(1.5, "NaN")])))
    assert read_one(metrics) == Reading((Series({"code": "200"}, ((2.5, 1.0), (5.5, 0.002))),))


def test_nothing_but_nan_is_a_silence_of_its_own(stub: Stub, metrics: PrometheusMetrics) -> None:
    stub.answer = replying(200, matrix(({}, [(1.0, "NaN"), (2.0, "NaN")])))
    reading = read_one(metrics)
    assert (reading.series, reading.blind) == ((), False)
    assert "NaN" in reading.cause


def test_warnings_are_kept_beside_the_series_that_they_are_about(stub: Stub, metrics: PrometheusMetrics) -> None:
    warned = matrix(({}, [(1.0, "1")]), warnings=["remote read failed", "partial response"])

    def answer(call: Call) -> None:
        call.reply(200, warned if call.request_seen.query["query"] == "warned" else matrix(({}, [(1.0, "1")])))

    stub.answer = answer
    read = metrics.read([query("warned"), *(query("plain", str(number)) for number in range(8))])
    assert read["warned"].warnings == ("remote read failed", "partial response")
    assert read["warned"].series
    assert all(read[str(number)].warnings == () for number in range(8))


def test_an_empty_answer_keeps_its_warnings(stub: Stub, metrics: PrometheusMetrics) -> None:
    stub.answer = replying(200, matrix(warnings=["remote read failed"]))
    reading = read_one(metrics)
    assert reading.cause
    assert reading.warnings == ("remote read failed",)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(400, "bad_data", "1:9: parse error: unclosed left parenthesis"), (422, "execution", "many-to-many matching")],
)
def test_a_query_that_prometheus_calls_wrong_is_silence_and_names_the_error(
    stub: Stub, metrics: PrometheusMetrics, status: int, kind: str, words: str
) -> None:
    stub.answer = replying(status, complaint(kind, words))
    reading = read_one(metrics)
    assert (reading.blind, reading.wrong) == (False, True)
    assert words in reading.cause
    assert "correct" in reading.cause


BAD_DAYS: dict[str, tuple[Callable[[Call], None], str]] = {
    "breaks off": (break_off, "broke off"),
    "times out by itself": (replying(503, complaint("timeout", "query timed out")), "query timed out"),
    "has lost its server": (replying(502, "<html>Bad Gateway</html>", "text/html"), "502"),
    "fails inside": (replying(500, complaint("internal", "disk")), "internal: disk"),
    "is too busy": (replying(429, "slow down", "text/plain"), "429"),
    "wants a password": (replying(401, "who are you?", "text/plain"), "401"),
    "is another site": (replying(404, "no such page", "text/plain"), "404"),
    "complains in HTML": (replying(400, "<html>Bad Request</html>", "text/html"), "400"),
    "sends one elsewhere": (replying(302, "", Location="http://127.0.0.1:1/login"), "302"),
    "shows a login page": (replying(200, "<html>Log in</html>", "text/html"), "no answer of its API"),
    "says nothing": (replying(200, b""), "no answer of its API"),
    "sends bytes": (replying(200, b"\xff\xfe\x00{"), "no answer of its API"),
    "sends a list": (replying(200, []), "no answer of its API"),
    "sends no data": (replying(200, {"status": "success", "data": None}), "no answer of its API"),
    "sends a scalar": (replying(200, {"status": "success", "data": {"result": [1.0, "1"]}}), "no answer of its API"),
    "nests deeply": (replying(200, b"[" * 50_000), "no answer of its API"),
    "lies about gzip": (replying(200, b"no gzip", **{"Content-Encoding": "gzip"}), "no answer of its API"),
}


@pytest.mark.parametrize(("behaviour", "words"), BAD_DAYS.values(), ids=BAD_DAYS.keys())
def test_a_server_on_a_bad_day_leaves_us_blind_with_a_cause_and_is_asked_once(
    stub: Stub, metrics: PrometheusMetrics, behaviour: Callable[[Call], None], words: str
) -> None:
    stub.answer = behaviour
    reading = read_one(metrics)
    assert reading.blind
    assert reading.series == ()
    assert words in reading.cause
    assert stub.url in reading.cause
    assert len(stub.asked) == 1


ENDLESS = [hang, hang_in_body, drip_head, drip_body]


@pytest.mark.parametrize("behaviour", ENDLESS)
def test_a_server_that_never_ends_its_answer_leaves_us_blind_in_time(
    stub: Stub, hasty: PrometheusMetrics, behaviour: Callable[[Call], None]
) -> None:
    stub.answer = behaviour
    begun = time.monotonic()
    reading = read_one(hasty)
    assert time.monotonic() - begun < TIMEOUT + 1.0 + SLACK
    assert reading.blind
    assert "did not answer within" in reading.cause
    assert len(stub.asked) == 1


@pytest.mark.parametrize("behaviour", ENDLESS)
def test_forty_queries_to_a_server_that_never_ends_last_no_longer_than_one_and_leave_no_thread(
    stub: Stub, hasty: PrometheusMetrics, behaviour: Callable[[Call], None]
) -> None:
    stub.answer = behaviour
    begun = time.monotonic()
    read = hasty.read([query("x", str(number)) for number in range(40)])
    assert time.monotonic() - begun < TIMEOUT + 1.0 + SLACK
    assert len(read) == 40
    assert all(reading.blind and reading.cause for reading in read.values())
    await_that(lambda: not [each for each in threading.enumerate() if each.name.startswith("prometheus")], 10.0)


def test_after_a_bad_day_the_next_answer_is_read(stub: Stub, hasty: PrometheusMetrics) -> None:
    stub.answer = drip_head
    assert read_one(hasty).blind
    stub.answer = replying(200, matrix(({}, [(1.0, "1")])))
    await_that(lambda: read_one(hasty).series, 10.0)


def test_a_closed_port_is_blindness_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    metrics = PrometheusMetrics(f"http://127.0.0.1:{port}", timeout_seconds=TIMEOUT)
    reading = read_one(metrics)
    metrics.close()
    assert reading.blind
    assert "Connection refused" in reading.cause


def test_an_address_that_is_none_is_blindness_too() -> None:
    metrics = PrometheusMetrics("prometheus:9090", timeout_seconds=TIMEOUT)
    reading = read_one(metrics)
    metrics.close()
    assert reading.blind
    assert reading.cause


def test_an_answer_with_too_many_points_is_refused_and_is_no_blindness(stub: Stub, metrics: PrometheusMetrics) -> None:
    stub.answer = replying(200, matrix(({}, [(float(number), "1") for number in range(1001)])))
    reading = read_one(metrics)
    assert (reading.series, reading.blind, reading.wrong) == ((), False, True)
    assert "1001 points" in reading.cause


def large(call: Call) -> None:
    """Send more than is allowed, and do not say so before."""
    call.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(100):
        call.wfile.write(b" " * 10_000)
    call.close_connection = True


@pytest.mark.parametrize("behaviour", [replying(200, b" " * 100_001), large], ids=["announced", "unannounced"])
def test_an_answer_with_too_many_bytes_is_not_read_to_its_end(
    stub: Stub, metrics: PrometheusMetrics, behaviour: Callable[[Call], None]
) -> None:
    stub.answer = behaviour
    reading = read_one(metrics)
    assert (reading.series, reading.blind, reading.wrong) == ((), False, True)
    assert "too large" in reading.cause
    assert "100000 are allowed" in reading.cause or "more than 100000" in reading.cause


def test_a_query_that_would_load_too_much_may_be_asked_for_less(stub: Stub, metrics: PrometheusMetrics) -> None:
    words = "query processing would load too many samples into memory in query execution"
    stub.answer = replying(422, complaint("execution", words))
    reading = read_one(metrics)
    assert (reading.wrong, reading.heavy, reading.blind) == (True, True, False)
    stub.answer = replying(422, complaint("execution", "vector cannot contain metrics with the same labelset"))
    reading = read_one(metrics)
    assert (reading.wrong, reading.heavy) == (True, False)


def test_a_read_that_is_cut_off_cuts_off_no_other(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """They once shared their connections, and one slow query blinded every service that was looked at with it."""
    begun, waiting, go_on = threading.Event(), threading.Event(), threading.Event()

    def answer(call: Call) -> None:
        if call.request_seen.query["query"] == "drips":
            drip_head(call)
        else:
            begun.set()
            go_on.wait(20)
            call.reply(200, matrix(({}, [(1.0, "1")])))

    def wait(futures: Any, timeout: float) -> Any:
        waiting.set()
        return concurrent.futures.wait(futures, timeout)

    monkeypatch.setattr(prometheus, "wait", wait)
    stub.answer = answer
    metrics = PrometheusMetrics(stub.url, timeout_seconds=20.0)
    with ThreadPoolExecutor(1) as other:
        healthy = other.submit(read_one, metrics, "healthy")
        assert begun.wait(20)
        assert waiting.wait(20)
        metrics._timeout_seconds = TIMEOUT  # of the read that comes now
        assert read_one(metrics, "drips").blind
        go_on.set()
        assert healthy.result().series
    metrics.close()


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_how_far_the_server_s_clock_is_ahead_is_told(stub: Stub, seconds: int) -> None:
    stub.answer = replying(200, matrix(({}, [(1.0, "1")])))
    metrics = PrometheusMetrics(
        stub.url,
        timeout_seconds=10.0,
        clock=lambda: datetime.now(UTC) - timedelta(seconds=seconds),  # noqa: TID251 - the stub's clock is the machine's
    )
    skew = read_one(metrics).skew
    metrics.close()
    assert skew is not None
    assert abs(skew.total_seconds() - seconds) < 30


def test_a_server_that_does_not_tell_the_time_is_not_held_to_it(stub: Stub) -> None:
    def answer(call: Call) -> None:
        body = json.dumps(matrix(({}, [(1.0, "1")]))).encode()
        call.wfile.write(b"HTTP/1.1 200 OK\r\nDate: sometime\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    stub.answer = answer
    metrics = PrometheusMetrics(stub.url, timeout_seconds=10.0, clock=lambda: START)
    reading = read_one(metrics)
    metrics.close()
    assert reading.series
    assert reading.skew is None


def test_a_password_in_the_address_is_used_and_never_shown(stub: Stub) -> None:
    stub.answer = replying(503, "busy", "text/plain")
    metrics = PrometheusMetrics(stub.url.replace("http://", "http://reader:hunter2@"), timeout_seconds=TIMEOUT)
    reading = read_one(metrics)
    metrics.close()
    assert stub.asked[0].headers["authorization"].startswith("Basic ")
    assert reading.blind
    assert "hunter2" not in repr(reading)
    assert stub.url in reading.cause


def _classes(module: Any) -> list[type[Exception]]:
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Exception)]
    return [each for each in found if not issubclass(each, Warning)]


LIBRARY_ERRORS = [
    *_classes(prometheus_api_client.exceptions),
    *_classes(requests.exceptions),
    *_classes(urllib3.exceptions),
]


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_nothing_that_the_libraries_raise_leaves_the_door(
    metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind.__new__(kind)

    monkeypatch.setattr(PrometheusConnect, "custom_query_range", fail)
    reading = metrics.read([query()])["requests_total"]
    assert reading.blind
    assert reading.cause
