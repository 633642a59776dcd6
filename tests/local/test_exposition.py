"""The page is read back with a parser of its own, so that what is asserted is what Prometheus would store."""

from __future__ import annotations

import re

from gitops_serving.local.exposition import CODES_FROM_THE_START, GRACE_SECONDS, Exposition, Identity

FIRST = Identity("fraud", "scorer-predictor-00001", "scorer-predictor")
SECOND = Identity("fraud", "scorer-predictor-00002", "scorer-predictor")
_LINE = re.compile(r"^([a-z_]+)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def parse(page: str) -> Samples:
    samples: Samples = {}
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        match = _LINE.match(line)
        assert match is not None, f"not a sample: {line}"
        key = (match[1], frozenset(_LABEL.findall(match[2])))
        assert key not in samples, f"twice on one page: {line}"
        samples[key] = float(match[3])
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    found = [value for (metric, got), value in samples.items() if metric == name and wanted <= got]
    assert found, f"no series {name} {labels}"
    return sum(found)


def test_an_admitted_revision_starts_at_zero_in_both_generations() -> None:
    exposition = Exposition(Clock())
    exposition.admit([FIRST])
    samples = parse(exposition.page())
    for code in CODES_FROM_THE_START:
        assert total(samples, "revision_request_count", response_code=str(code)) == 0
        assert total(samples, "http_server_request_duration_seconds_count", http_response_status_code=str(code)) == 0
    assert total(samples, "revision_request_count", response_code_class="2xx") == 0
    assert total(samples, "revision_request_count", response_code_class="5xx") == 0


def test_a_request_is_counted_with_the_labels_of_knative() -> None:
    exposition = Exposition(Clock())
    exposition.admit([FIRST, SECOND])
    exposition.observe(SECOND, code=404, seconds=0.1)
    counted = {
        labels
        for (name, labels), value in parse(exposition.page()).items()
        if name == "revision_request_count" and value == 1
    }
    assert counted == {
        frozenset(
            {
                "namespace_name": "fraud",
                "service_name": "scorer-predictor",
                "configuration_name": "scorer-predictor",
                "revision_name": "scorer-predictor-00002",
                "pod_name": "scorer-predictor-00002-deployment-local",
                "container_name": "queue-proxy",
                "response_code": "404",
                "response_code_class": "4xx",
            }.items()
        )
    }


def test_buckets_are_cumulative_and_include_their_bound() -> None:
    exposition = Exposition(Clock())
    exposition.admit([FIRST])
    for seconds in (0.004, 0.005, 0.25, 99.0, 200.0):
        exposition.observe(FIRST, code=200, seconds=seconds)
    samples = parse(exposition.page())

    def milliseconds(edge: str) -> float:
        return total(samples, "revision_request_latencies_bucket", response_code="200", le=edge)

    assert [milliseconds(edge) for edge in ("5", "200", "250", "1000", "100000", "+Inf")] == [2, 2, 3, 3, 4, 5]
    new = [
        total(samples, "http_server_request_duration_seconds_bucket", http_response_status_code="200", le=edge)
        for edge in ("0.005", "0.1", "0.25", "1", "10", "+Inf")
    ]
    assert new == [2, 2, 3, 3, 3, 5]
    assert total(samples, "revision_request_latencies_count", response_code="200") == 5
    assert abs(total(samples, "revision_request_latencies_sum", response_code="200") - 299_259) < 1e-6
    assert abs(total(samples, "http_server_request_duration_seconds_sum", namespace="fraud") - 299.259) < 1e-9


def test_bounds_are_printed_as_go_prints_them() -> None:
    exposition = Exposition(Clock())
    exposition.admit([FIRST])
    edges = set(re.findall(r'le="([^"]+)"', exposition.page()))
    assert {"5", "1000", "100000", "0.005", "2.5", "10", "+Inf"} <= edges
    assert not any(edge.endswith(".0") or "e" in edge for edge in edges)


def test_a_departed_revision_stays_for_its_grace_and_then_goes() -> None:
    clock = Clock()
    exposition = Exposition(clock)
    exposition.admit([FIRST, SECOND])
    exposition.observe(FIRST, code=200, seconds=0.01)
    exposition.admit([SECOND])
    exposition.observe(FIRST, code=200, seconds=0.01)
    clock.now += GRACE_SECONDS - 1
    kept = parse(exposition.page())
    assert total(kept, "revision_request_count", revision_name=FIRST.revision) == 2
    clock.now += 1
    page = exposition.page()
    assert FIRST.revision not in page
    assert SECOND.revision in page
    exposition.observe(FIRST, code=200, seconds=0.01)
    assert FIRST.revision not in exposition.page()


def test_a_revision_that_returns_within_its_grace_goes_on_counting() -> None:
    clock = Clock()
    exposition = Exposition(clock)
    exposition.admit([FIRST])
    exposition.observe(FIRST, code=200, seconds=0.01)
    exposition.admit([])
    clock.now += GRACE_SECONDS / 2
    exposition.admit([FIRST])
    clock.now += GRACE_SECONDS
    exposition.observe(FIRST, code=200, seconds=0.01)
    assert total(parse(exposition.page()), "revision_request_count", response_code="200") == 2


def test_each_family_is_announced_once_before_its_samples() -> None:
    exposition = Exposition(Clock())
    exposition.admit([FIRST, SECOND])
    page = exposition.page()
    order = re.findall(r"^# TYPE (\S+) (\S+)$", page, flags=re.MULTILINE)
    assert order == [
        ("revision_request_count", "counter"),
        ("revision_request_latencies", "histogram"),
        ("http_server_request_duration_seconds", "histogram"),
    ]
    current = ""
    for line in page.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            assert line.startswith(current)
