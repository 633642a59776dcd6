"""Every query of every shipped pack on a real Prometheus, over series such as the real things report."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gitops_serving import shipped
from gitops_serving.adapters.prometheus import PrometheusMetrics
from gitops_serving.core.accounts import Account, Line
from gitops_serving.core.measure import Kind, Metric, Query, Reading, Source
from gitops_serving.core.model import Policy, Step
from gitops_serving.core.pack import chosen, detections, read_pack, render, resolve
from gitops_serving.local import prometheus_binary
from tests.adapters.expositions import (
    BUCKETS,
    EXPOSITIONS,
    NOBODY,
    OTHERS,
    RELABELLED,
    REVISIONS,
    SERVICE,
    Exposition,
    filled,
    grown,
)
from tests.contract.stub import Call, await_that, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gitops_serving.ports import Metrics

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packs")]

SCRAPE = timedelta(milliseconds=400)
SPAN = SCRAPE * 8
PACKS = {pack.name: pack for pack in (read_pack(source, path) for path, source in shipped.packs().items())}
SIGNALS = sorted({signal for pack in PACKS.values() for signal in pack.signals})
CASES = [(namespace, signal) for namespace, each in EXPOSITIONS.items() for signal in each.sources]
MEANS = {"mean-latency": 0.05, "mean-queue": 0.001}  # seconds
STRANGE = "we'ird\"\\x\n.*{a}|é\u2028🦊"
STRANGER = STRANGE.replace(".", "X")


# -- a Prometheus that scrapes them all ------------------------------------------------------------------------------


def targets() -> dict[str, tuple[str, dict[str, str], str]]:
    """List the targets by path: their job, the labels that scraping adds, and what they expose."""
    found = {}
    for namespace, each in EXPOSITIONS.items():
        for number, pod in enumerate(_pods(namespace, each)):
            labels, text = pod
            found[f"/{namespace}/{number}"] = (namespace, labels | {"instance": f"{namespace}-{number}"}, text)
    somebody = {name: filled(value, NOBODY, next(iter(REVISIONS))) for name, value in RELABELLED.items()}
    found[f"/{NOBODY}"] = (NOBODY, somebody, OTHERS)
    strange = [value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in (STRANGE, STRANGER)]
    loans = [
        f'loan_{what}_total{{revision_name="{revision}"}} {growth}'
        for revision, bad in REVISIONS.items()
        for what, growth in (("scored", 100), ("accepted", 100 - bad))
    ]
    found["/loans"] = ("loans", {}, "\n".join(loans))
    found["/strange"] = ("strange", {}, "\n".join(f'strange{{revision="{value}"}} 1' for value in strange))
    return found


def _pods(namespace: str, each: Exposition) -> list[tuple[dict[str, str], str]]:
    """Share the series of both revisions out to whoever reports them."""
    texts = [filled(each.text, namespace, revision) for revision in REVISIONS]
    if each.shared:
        return [(dict(each.target), "\n".join(texts))]
    return [
        ({name: filled(value, namespace, revision) for name, value in each.target.items()}, text)
        for revision, text in zip(REVISIONS, texts, strict=True)
    ]


@contextmanager
def running(directory: Path, address: str, found: Mapping[str, tuple[str, dict[str, str], str]]) -> Iterator[str]:
    """Run a Prometheus over these targets of one address."""
    jobs = []
    for name, group in itertools.groupby(found.items(), lambda item: item[1][0]):
        pods = [{"targets": [address], "labels": {"__metrics_path__": path, **pod[1]}} for path, pod in group]
        jobs.append({"job_name": name, "static_configs": pods})
    every = f"{SCRAPE / timedelta(milliseconds=1):.0f}ms"
    settings = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}
    (directory / "prometheus.yml").write_text(json.dumps(settings))  # all of JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [str(prometheus_binary.find()), f"--config.file={directory}/prometheus.yml", "--log.level=error"]
    command += [f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    """Read a Prometheus that has scraped everything for a while."""
    found = targets()
    scrapes = {path: itertools.count(1) for path in found}

    def expose(call: Call) -> None:
        path = call.request_seen.path
        call.reply(200, grown(found[path][2], next(scrapes[path])), "text/plain; version=0.0.4; charset=utf-8")

    with ExitStack() as stack:
        address = stack.enter_context(serve(expose)).url.removeprefix("http://")
        url = stack.enter_context(running(tmp_path_factory.mktemp("packs"), address, found))
        reader = PrometheusMetrics(url, timeout_seconds=5.0)
        stack.callback(reader.close)
        wanted = (SPAN + SCRAPE * 4) / SCRAPE
        await_that(lambda: next(iter(counts(reader)), 0) >= wanted, 60)
        yield reader


def counts(reader: Metrics) -> list[float]:
    """Count the scrapes of the target that has fewest, once all are there."""
    each = ask(reader, f"min(count_over_time(up[1m])) and (count(up == 1) == {len(targets())})")
    return [series.samples[-1][1] for series in each.series]


def ask(reader: Metrics, expression: str) -> Reading:
    """Read the last moment, save what may still be in the making."""
    return ask_all(reader, {"x": expression}, timedelta())["x"]


def ask_all(reader: Metrics, expressions: Mapping[str, str], span: timedelta = SPAN) -> Mapping[str, Reading]:
    """Read the same instants of several expressions, so that they can be divided by one another."""
    end = datetime.now(UTC) - SCRAPE  # noqa: TID251 - a real server has a real clock
    queries = [
        Query(name=name, expression=expression, start=end - span, end=end, step=SCRAPE)
        for name, expression in expressions.items()
    ]
    return reader.read(queries)


# -- what is asked of every pack -------------------------------------------------------------------------------------


def policy(*packs: str) -> Policy:
    minute = timedelta(minutes=1)
    metrics = tuple(Metric(name=pack.replace("/", "-"), pack=pack) for pack in packs)
    unresolved = Policy(steps=(Step(10, minute),), ready_within=minute, patience=5 * minute, metrics=metrics)
    return resolve(unresolved, PACKS)


def present(reader: Metrics, of: Policy, namespace: str, service: str = SERVICE) -> list[str]:
    """Ask which of a policy's sources are there."""
    found = ask_all(reader, {query: query for query in detections(of, namespace, service)})
    return [query for query, reading in found.items() if reading.series]


def source_of(reader: Metrics, namespace: str, signal: str) -> Source:
    found = policy(signal)
    source = chosen(found.metrics[0], present(reader, found, namespace), namespace, SERVICE)
    assert source is not None
    return source


def readings(reader: Metrics, source: Source, namespace: str, revision: str) -> Mapping[str, Reading]:
    """Read all parts of a signal about one revision."""
    values = {"namespace": namespace, "service": SERVICE, "revision": revision, "baseline": "x", "window": "2s"}
    return ask_all(reader, {part: render(template, values) for part, template in source.parts.items()})


def increase(reading: Reading) -> float:
    assert reading.series, reading.cause
    return sum(series.samples[-1][1] - series.samples[0][1] for series in reading.series)


def identities(found: Mapping[str, Reading]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(part, frozenset(each.labels.items())) for part, reading in found.items() for each in reading.series}


def test_every_source_of_every_pack_is_tried() -> None:
    known = {
        (signal, source.name)
        for pack in PACKS.values()
        for signal, sources in pack.signals.items()
        for source in sources
    }
    assert {(signal, each.sources[signal]) for each in EXPOSITIONS.values() for signal in each.sources} == known


@pytest.mark.parametrize(("namespace", "signal"), CASES, ids=["/".join(case) for case in CASES])
def test_detection_finds_the_source_and_its_queries_tell_the_revisions_apart(
    metrics: Metrics, namespace: str, signal: str
) -> None:
    source = source_of(metrics, namespace, signal)
    assert source.name == EXPOSITIONS[namespace].sources[signal]
    found = {revision: readings(metrics, source, namespace, revision) for revision in REVISIONS}
    first, second = (identities(each) for each in found.values())
    assert first
    assert not first & second
    for revision, parts in found.items():
        for reading in parts.values():
            assert all(revision in each.labels[source.revision_label] for each in reading.series), reading
            assert not any("trap" in each.labels for each in reading.series), reading
        match source.kind:
            case Kind.COUNTER:
                assert share(parts) == pytest.approx(REVISIONS[revision] / 100)
            case Kind.HISTOGRAM:
                assert is_cumulative(parts["buckets"])
            case _:
                (series,) = parts["value"].series
                means = [value * source.scale for _, value in series.samples]
                assert means == pytest.approx([MEANS[signal]] * len(means))


def share(parts: Mapping[str, Reading]) -> float:
    """Find the share of the bad requests again."""
    by = {part: increase(reading) for part, reading in parts.items()}
    total = by["total"] if "total" in by else by["good"] + by["bad"]
    return (by["bad"] if "bad" in by else total - by["good"]) / total


def is_cumulative(buckets: Reading) -> bool:
    """Whether every bucket is there and none ever falls."""
    rising = all(a[1] <= b[1] for series in buckets.series for a, b in itertools.pairwise(series.samples))
    return (
        rising and increase(buckets) > 0 and {each.labels["le"] for each in buckets.series} == {le for le, _ in BUCKETS}
    )


def test_a_common_name_alone_is_taken_for_nobody(metrics: Metrics) -> None:
    found = policy(*SIGNALS)
    assert present(metrics, found, NOBODY) == []
    assert [chosen(metric, (), NOBODY, SERVICE) for metric in found.metrics] == [None] * len(SIGNALS)


def test_model_servers_are_detected_by_service_and_not_for_their_neighbours(metrics: Metrics) -> None:
    found = policy("kserve/errors")
    assert present(metrics, found, "kserve")
    for neighbour in ("score", "scorer-2", ".*", "scorer|"):
        assert not present(metrics, found, "kserve", neighbour)


def test_the_guide_s_gauge_of_one_s_own_is_understood(metrics: Metrics) -> None:
    """Its answers have no labels at all, of either revision: they were always taken for the same series."""
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    queries = [line.partition("query: ")[2] for line in guide.splitlines() if "query: sum(rate(loan_accepted_" in line]
    assert queries
    for query in queries:
        source = Source(kind=Kind.GAUGE, parts={"value": query})
        told = {
            ("value", arm): [(Line.of(series, 1.0), series.samples[-1][1]) for series in reading.series]
            for arm, revision in zip(("stable", "canary"), REVISIONS, strict=True)
            for reading in readings(metrics, source, "loans", revision).values()
        }
        account = Account(source)
        assert account.hear(told), account.odd
        assert [round(value, 6) for each in told.values() for _, value in each] == [0.95, 0.8]


def test_no_value_breaks_a_query_or_matches_another(metrics: Metrics) -> None:
    for operator in ("=", "=~"):
        for quote in "\"'":
            query = f"strange{{revision{operator}{quote}{{{{ revision }}}}{quote}}}"
            (series,) = ask(metrics, render(query, {"revision": STRANGE})).series
            assert series.labels["revision"] == STRANGE


def test_no_value_makes_a_shipped_query_wrong(metrics: Metrics) -> None:
    values = dict.fromkeys(("revision", "baseline", "namespace", "service"), STRANGE) | {"window": "2s"}
    sources = [source for pack in PACKS.values() for found in pack.signals.values() for source in found]
    for template in {template for source in sources for template in (*source.parts.values(), source.detect)}:
        reading = ask(metrics, render(template, values))
        assert not reading.series
        assert "error" not in reading.cause, reading.cause
