"""Prometheus in memory: the port ``Metrics`` over counters that a test keeps.

Samples are scraped when the test says so, and only then: an outage of the
monitoring is a stretch of time in which nothing was scraped, and a blind Prometheus
is one that does not answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from gitops_serving.core.measure import Reading, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from gitops_serving.core.measure import Query

LOOKBACK_SECONDS = 300.0  # how long Prometheus answers with the last sample
SCRAPES = re.compile(r"max\(count_over_time\(up\[(?P<seconds>\d+)s\]\)\)")
REVISION = re.compile(r'revision_name="([^"]+)"')
Counters = dict[str, float]  # label value -> counter


class FakeMetrics:
    """Counters per metric and revision, scraped on demand; read by the queries of the shipped pack ``knative``.

    ``refuses``: what Prometheus has against an expression, if anything.  ``blind``: why Prometheus does not answer.
    ``counters[metric][revision]`` holds a counter for each value of the metric's own label: ``response_code_class``
    for counts, ``le`` for buckets.
    """

    def __init__(self) -> None:
        self.blind: str | None = None
        self.refuses: Callable[[str], str | None] = lambda _: None
        self.counters: dict[str, dict[str, Counters]] = {"revision_request_count": {}, "revision_request_latencies": {}}
        self.reads = 0
        self._scrapes: list[float] = []
        self._history: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}

    def serve(self, revision: str, requests: float, bad: float, milliseconds: float = 40.0) -> None:
        """Count requests of a revision, some of them answered with 5xx."""
        counts = self.counters["revision_request_count"].setdefault(revision, {"2xx": 0.0, "5xx": 0.0})
        counts["2xx"] += requests - bad
        counts["5xx"] += bad
        edges = self.counters["revision_request_latencies"].setdefault(
            revision, dict.fromkeys(("10", "50", "500", "+Inf"), 0.0)
        )
        for edge in edges:
            edges[edge] += requests if float(edge) >= milliseconds else 0.0

    def scrape(self, now: datetime) -> None:
        """Take a sample of every counter."""
        at = now.timestamp()
        self._scrapes.append(at)
        for metric, revisions in self.counters.items():
            for revision, counters in revisions.items():
                for value, counter in counters.items():
                    times, values = self._history.setdefault((metric, revision, value), ([], []))
                    times.append(at)
                    values.append(counter)

    def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
        """Answer from the samples that were scraped."""
        self.reads += 1
        if self.blind is not None:
            return {query.name: Reading(cause=self.blind, blind=True) for query in queries}
        return {query.name: self._answer(query) for query in queries}

    def _answer(self, query: Query) -> Reading:
        if (words := self.refuses(query.expression)) is not None:
            return Reading(cause=words, wrong=True)
        points = _points(query)
        if (counted := SCRAPES.fullmatch(query.expression)) is not None:
            found = self._scraped(points, float(counted["seconds"]))
            return Reading((Series({}, found),)) if found else Reading(cause="no series")
        metric = "revision_request_latencies" if "latencies_bucket" in query.expression else "revision_request_count"
        if query.expression.startswith("count("):
            there = metric in query.expression and any(self.counters[metric].values())
            return Reading((Series({}, ((points[-1], 1.0),)),)) if there else Reading(cause="no series")
        match = REVISION.search(query.expression)
        revision = match.group(1) if match else ""
        series = []
        for value in self.counters[metric].get(revision, {}):
            if 'response_code_class="5xx"' in query.expression and value != "5xx":
                continue
            times, values = self._history.get((metric, revision, value), ([], []))
            found = self._sampled(points, times, values, LOOKBACK_SECONDS)
            if found:
                labels = {"le" if "latencies" in metric else "response_code_class": value}
                series.append(Series({**labels, "revision_name": revision}, found))
        return Reading(tuple(series)) if series else Reading(cause="no series")

    def _scraped(self, points: list[float], span: float) -> tuple[tuple[float, float], ...]:
        """Count the scrapes in the time before each point, where there were any."""
        counts = ((p, bisect_right(self._scrapes, p) - bisect_right(self._scrapes, p - span)) for p in points)
        return tuple((point, float(count)) for point, count in counts if count)

    @staticmethod
    def _sampled(
        points: list[float], times: list[float], values: list[float], span: float
    ) -> tuple[tuple[float, float], ...]:
        """Take the last sample at or before each point, unless it is too old."""
        found = []
        for point in points:
            index = bisect_right(times, point) - 1
            if index >= 0 and point - times[index] < span:
                found.append((point, values[index]))
        return tuple(found)


def _points(query: Query) -> list[float]:
    """The instants that a range query evaluates."""
    start, end, step = query.start.timestamp(), query.end.timestamp(), query.step.total_seconds()
    return [start + step * i for i in range(int((end - start) / step + 1e-9) + 1)]
