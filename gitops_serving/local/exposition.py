"""The metric names of Knative, written by hand in Prometheus' text format.

Whoever writes a dashboard or an analysis against a real KServe cluster should be able to point it at this one. Two
generations of names exist and share none of them: up to Knative 1.18 `revision_request_count` and
`revision_request_latencies` in milliseconds, from 1.19 on `http_server_request_duration_seconds`, here with the labels
that relabelling from pod labels gives it. Both are printed from the same observations. prometheus_client cannot say
the old names (it appends `_total`) and prints `le="100.0"` where Go prints `le="100"`, hence the hand.

Two promises matter to an analysis. A revision's series exist at zero from its admission, because a counter that first
appears at 7 has increased by nothing. And they outlive the revision by a grace, so that a comparison that looks back
over a window does not lose its baseline in the middle.

This module knows neither HTTP nor routing: it is told of revisions and of finished requests, and asked for a page.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GRACE_SECONDS = 600.0
# Knative's own bounds of each generation.
BOUNDS_MS = (
    *(5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000),
)
BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# What an answer usually is, and every code that the gateway itself answers with on behalf of a revision.
CODES_FROM_THE_START = (200, 500, 502, 503, 504)

_FAMILIES = (
    ("revision_request_count", "counter", "Requests answered by a revision."),
    ("revision_request_latencies", "histogram", "Time from arrival to answer in milliseconds, time held included."),
    ("http_server_request_duration_seconds", "histogram", "Time from arrival to answer, time held included."),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The names under which Knative's metrics know a revision."""

    namespace: str
    revision: str
    configuration: str


class _Histogram:
    """One histogram with its label text made once, because a page is printed every second."""

    __slots__ = ("_bounds", "_counts", "_prefixes", "_suffix", "_sum")

    def __init__(self, name: str, labels: Mapping[str, str], bounds: tuple[float, ...]) -> None:
        text = _label_text(labels)
        edges = (*(f"{bound:g}" for bound in bounds), "+Inf")
        self._bounds = bounds
        self._counts = [0] * len(edges)
        self._sum = 0.0
        self._prefixes = tuple(f'{name}_bucket{{{text},le="{edge}"}} ' for edge in edges)
        self._suffix = (f"{name}_sum{{{text}}} ", f"{name}_count{{{text}}} ")

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def lines(self) -> Iterator[str]:
        total = 0
        for prefix, total in zip(self._prefixes, accumulate(self._counts), strict=True):
            yield f"{prefix}{total}"
        yield f"{self._suffix[0]}{self._sum!r}"
        yield f"{self._suffix[1]}{total}"


class _Series:
    """Everything that is printed for one revision and one response code."""

    __slots__ = ("_count_prefix", "_ms", "_seconds")

    def __init__(self, identity: Identity, code: int) -> None:
        old = {
            "namespace_name": identity.namespace,
            # Knative names the Configuration after the Service, so one name fills both labels.
            "service_name": identity.configuration,
            "configuration_name": identity.configuration,
            "revision_name": identity.revision,
            "pod_name": _pod(identity),
            "container_name": "queue-proxy",
            "response_code": str(code),
            "response_code_class": f"{code // 100}xx",
        }
        new = {
            "namespace": identity.namespace,
            "revision_name": identity.revision,
            "pod": _pod(identity),
            "http_response_status_code": str(code),
        }
        self._count_prefix = f"revision_request_count{{{_label_text(old)}}} "
        self._ms = _Histogram("revision_request_latencies", old, BOUNDS_MS)
        self._seconds = _Histogram("http_server_request_duration_seconds", new, BOUNDS_SECONDS)

    def observe(self, seconds: float) -> None:
        self._ms.observe(seconds * 1_000)
        self._seconds.observe(seconds)

    def blocks(self) -> tuple[Iterable[str], ...]:
        """Give the lines for each of `_FAMILIES`, in their order."""
        return ((f"{self._count_prefix}{self._ms.count}",), self._ms.lines(), self._seconds.lines())


class Exposition:
    """The counters of all revisions, and the page that shows them."""

    def __init__(self, clock: Callable[[], float], *, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take a monotonic clock in seconds; `grace_seconds` is how long a departed revision stays on the page."""
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._series: dict[tuple[Identity, int], _Series] = {}
        self._admitted: set[Identity] = set()
        self._departed: dict[Identity, float] = {}

    def admit(self, identities: Iterable[Identity]) -> None:
        """Make these the revisions of the table: new ones start at zero, missing ones begin their grace."""
        current = set(identities)
        for gone in self._admitted - current:
            self._departed[gone] = self._clock()
        for identity in current:
            self._departed.pop(identity, None)
            for code in CODES_FROM_THE_START:
                self._series.setdefault((identity, code), _Series(identity, code))
        self._admitted = current

    def observe(self, identity: Identity, *, code: int, seconds: float) -> None:
        """Count one finished request; a revision whose grace is over is no longer counted."""
        if identity not in self._admitted and identity not in self._departed:
            return
        key = (identity, code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(identity, code)
        series.observe(seconds)

    def page(self) -> str:
        """Print every series, sorted, and forget those whose grace is over."""
        self._forget()
        families: tuple[list[str], ...] = tuple([] for _ in _FAMILIES)
        order = sorted(self._series, key=lambda key: (key[0].namespace, key[0].revision, key[1]))
        for key in order:
            for family, lines in zip(families, self._series[key].blocks(), strict=True):
                family.extend(lines)
        page: list[str] = []
        for (name, kind, help_text), lines in zip(_FAMILIES, families, strict=True):
            page += (f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *lines)
        return "\n".join(page) + "\n"

    def _forget(self) -> None:
        limit = self._clock() - self._grace_seconds
        over = {identity for identity, since in self._departed.items() if since <= limit}
        if not over:
            return
        self._series = {key: series for key, series in self._series.items() if key[0] not in over}
        self._departed = {identity: since for identity, since in self._departed.items() if identity not in over}


def _pod(identity: Identity) -> str:
    """Name the one virtual pod that stands for all replicas of a revision, in the shape Knative gives to pods."""
    return f"{identity.revision}-deployment-local"


def _label_text(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
