"""The port Metrics: what the adapter and the fake both promise."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.adapters.prometheus import PrometheusMetrics
from gitops_serving.core.measure import Query, Series
from gitops_serving.testing.metrics import FakeMetrics

from .stub import Call, replying, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gitops_serving.ports import Metrics

START = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
STEP = timedelta(seconds=30)
GRID = [START + number * STEP for number in range(4)]


def query(revision: str, name: str) -> Query:
    expression = f'revision_request_count{{revision_name="{revision}"}}'
    return Query(name=name, expression=expression, start=GRID[0], end=GRID[-1], step=STEP)


@dataclass(frozen=True, slots=True)
class World:
    """An implementation, and the two things that the suite does to its surroundings."""

    metrics: Metrics
    scrape: Callable[[Mapping[str, Sequence[float]]], None]  # each revision's counter at the points of the grid
    refuse: Callable[[str], None]  # from now on every query is wrong, for this reason
    darken: Callable[[], None]  # from now on nothing answers


@contextmanager
def adapter_on_a_stub() -> Iterator[World]:
    held: dict[str, list[list[object]]] = {}

    def answer(call: Call) -> None:
        values = held.get(call.request_seen.query["query"])
        result = [{"metric": {"response_code_class": "2xx"}, "values": values}] if values else []
        call.reply(200, {"status": "success", "data": {"resultType": "matrix", "result": result}})

    def scrape(counters: Mapping[str, Sequence[float]]) -> None:
        for revision, totals in counters.items():
            pairs = [[at.timestamp(), str(total)] for at, total in zip(GRID, totals, strict=True)]
            held[query(revision, "").expression] = pairs

    with serve(answer) as stub:

        def refuse(words: str) -> None:
            stub.answer = replying(400, {"status": "error", "errorType": "bad_data", "error": words})

        def darken() -> None:
            stub.answer = replying(503, "the proxy has lost its server", "text/plain")

        metrics = PrometheusMetrics(stub.url, timeout_seconds=5.0)
        yield World(metrics, scrape, refuse, darken)
        metrics.close()


@contextmanager
def fake() -> Iterator[World]:
    metrics = FakeMetrics()

    def scrape(counters: Mapping[str, Sequence[float]]) -> None:
        for number, at in enumerate(GRID):
            for revision, totals in counters.items():
                before = totals[number - 1] if number else 0.0
                metrics.serve(revision, requests=totals[number] - before, bad=0)
            metrics.scrape(at)

    def refuse(words: str) -> None:
        metrics.refuses = lambda _: words

    def darken() -> None:
        metrics.blind = "nobody is there"

    yield World(metrics, scrape, refuse, darken)


WORLDS = [adapter_on_a_stub, fake]


@pytest.fixture(params=WORLDS, ids=lambda each: each.__name__)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with request.param() as made:
        yield made


def good(series: Sequence[Series]) -> Series:
    (found,) = (each for each in series if each.labels["response_code_class"] == "2xx")
    return found


def test_every_query_is_answered_by_its_name_with_the_samples_of_its_grid(world: World) -> None:
    one, two = [1.0, 2.0, 30.0, 400.0], [5.0, 5.0, 6.5, 7.0]
    world.scrape({"iris-00001": one, "iris-00002": two})
    read = world.metrics.read([query("iris-00001", "a"), query("iris-00002", "b"), query("iris-00001", "c")])
    assert set(read) == {"a", "b", "c"}
    for name, totals in {"a": one, "b": two, "c": one}.items():
        expected = tuple((at.timestamp(), total) for at, total in zip(GRID, totals, strict=True))
        assert good(read[name].series).samples == expected
        assert (read[name].cause, read[name].blind) == ("", False)


def test_no_series_is_a_silence_with_a_cause_and_not_blindness(world: World) -> None:
    reading = world.metrics.read([query("nobody", "a")])["a"]
    assert reading.series == ()
    assert reading.cause
    assert (reading.blind, reading.wrong) == (False, False)


def test_a_query_that_is_wrong_is_told_from_one_without_an_answer_in_prometheus_s_words(world: World) -> None:
    world.scrape({"iris-00001": [1.0, 2.0, 3.0, 4.0]})
    world.refuse("invalid parameter: parse error")
    reading = world.metrics.read([query("iris-00001", "a")])["a"]
    assert (reading.series, reading.blind, reading.wrong) == ((), False, True)
    assert "invalid parameter: parse error" in reading.cause


def test_when_nothing_answers_every_query_is_blind_with_a_cause(world: World) -> None:
    world.scrape({"iris-00001": [1.0, 2.0, 3.0, 4.0]})
    world.darken()
    read = world.metrics.read([query("iris-00001", "a"), query("nobody", "b")])
    assert set(read) == {"a", "b"}
    assert all(reading.blind and reading.cause and not reading.series for reading in read.values())


def test_no_queries_have_no_readings(world: World) -> None:
    assert world.metrics.read([]) == {}
