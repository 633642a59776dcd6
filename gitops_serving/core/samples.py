"""Readings to moments: series of raw counters as what each revision had counted by an instant.

Increments are taken per series before anything is added up, so a pod's death is not a
reset of the sum, a decrease is the restart of one pod, and a lost scrape costs nothing:
what it missed arrives with the next.  A series counts from its first value; only one
that appears after others of its pod was born meanwhile, and counts from zero.

What is wrong with an answer is said in words, per metric, and makes no moment: an answer
that is not understood is no evidence in either direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .blocks import Counts
from .evidence import Evidence, Moment, begun, fold
from .measure import Kind, Reading, Series
from .plan import ARMS, WITNESS, step_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .plan import Plan, Signal

    Key = frozenset[tuple[str, str]]

PODS = ("pod_name", "pod", "k8s_pod_name", "instance")  # labels that tell pods apart, the surest first


@dataclass(frozen=True, slots=True)
class Line:
    """What tells a series of an answer from the others; found out once, and not at every instant."""

    key: Key
    pod: str
    edge: float  # of its bucket; 0: it is none


@lru_cache(maxsize=65536)
def _line(key: Key, scale: float) -> Line:
    """Read the labels of a series; equal labels are read once, since every look answers with the same ones."""
    series = Series(dict(key), ())
    return Line(key, pod(series), edge(series, scale))


@dataclass(frozen=True, slots=True)
class Book:
    """The running sums of one query's series, by bucket where they are buckets."""

    last: Mapping[Key, float] = field(default_factory=dict)  # by series: its last value
    sums: Mapping[float, float] = field(default_factory=dict)
    pods: frozenset[str] = frozenset()  # that were seen


@dataclass(frozen=True, slots=True)
class Grid:
    """The instants of a look."""

    begin: float  # Unix seconds
    step: float  # seconds
    count: int

    def told(self, series: Series) -> Iterable[tuple[int, float]]:
        """Number the samples of a series by instant, and leave out those of other looks."""
        begin, step, count, samples = self.begin, self.step, self.count, series.samples
        if len(samples) == count and samples[0][0] == begin and samples[-1][0] == begin + step * (count - 1):
            return enumerate([value for _, value in samples])  # nothing is missing, as nearly always
        numbered = [(round((t - begin) / step), value) for t, value in samples]
        return [each for each in numbered if 0 <= each[0] < count]


class Writing:
    """A book while a look is written into it, instant by instant.

    What each series gains is found out first, series by series, since that is where most of a look's time goes.
    """

    def __init__(self, book: Book, reading: Reading, lines: Sequence[Line], grid: Grid) -> None:
        self.sums = dict(book.sums)
        self.gains: list[dict[float, float] | None] = [None] * grid.count  # by bucket; None: nothing was told then
        self._last = dict(book.last)
        appeared = _appeared(book, reading, lines, grid)
        self._pods = book.pods | appeared.keys()
        for series, line in zip(reading.series, lines, strict=True):
            self._take(series, line, grid, appeared.get(line.pod, grid.count))

    def _take(self, series: Series, line: Line, grid: Grid, appeared: int) -> None:
        """Find out what a series gained from instant to instant, and from the last look to the first."""
        gains, bucket = self.gains, line.edge
        before = self._last.get(line.key)
        for index, value in grid.told(series):
            if before is None:
                gained = value if appeared < index else 0.0
            else:
                gained = value - before if value >= before else value
            before = value
            at = gains[index]
            if at is None:
                gains[index] = {bucket: gained}
            else:
                at[bucket] = at.get(bucket, 0.0) + gained
        if before is not None:
            self._last[line.key] = before

    def turn(self, index: int) -> bool:
        """Go on to an instant; tells whether anything was told then."""
        gained = self.gains[index]
        if gained is None:
            return False
        for bucket, more in gained.items():
            self.sums[bucket] = self.sums.get(bucket, 0.0) + more
        return True

    def closed(self) -> Book:
        """Give the book as it is now."""
        return Book(self._last, self.sums, self._pods)


def _appeared(book: Book, reading: Reading, lines: Sequence[Line], grid: Grid) -> dict[str, int]:
    """By pod: the instant at which it was first seen; before all instants, where an earlier look saw it."""
    found = dict.fromkeys(book.pods, -1)
    for series, line in zip(reading.series, lines, strict=True):
        if found.get(line.pod) == -1:
            continue
        for first, _ in grid.told(series):
            found[line.pod] = min(first, found.get(line.pod, first))
            break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The evidence of one rollout, and all that is needed to go on from it; it may be thrown away at any time."""

    key: tuple[object, ...]
    until: int  # the last instant of the grid that is in it
    evidence: Evidence
    books: Mapping[str, Book] = field(default_factory=dict)  # by query
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by signal: of its histogram
    wrong: Mapping[str, str] = field(default_factory=dict)  # by metric: why nothing can be read


def pod(series: Series) -> str:
    """Name the pod that a series comes from."""
    return next((series.labels[label] for label in PODS if label in series.labels), "")


def edge(series: Series, scale: float) -> float:
    """The bucket's edge in the signal's own unit; 0 where there are no buckets, NaN where nobody can read it."""
    if "le" not in series.labels:
        return 0.0
    try:
        return float(series.labels["le"]) * scale
    except ValueError:
        return math.nan


def gather(plan: Plan, readings: Mapping[str, Reading], before: Folded | None) -> Folded | None:
    """Fold what was read into the evidence; what Prometheus could not be asked is asked again at the next look."""
    told = moments(plan, readings, before)
    if told is None:
        return None
    read, news = told
    return replace(read, evidence=fold(read.evidence, news))


def moments(
    plan: Plan, readings: Mapping[str, Reading], before: Folded | None
) -> tuple[Folded, Sequence[Moment]] | None:
    """Turn what was read into moments, and say how far it went; the evidence is left as it was."""
    if plan.origin is None or plan.terms is None:
        return None
    if before is None or before.key != plan.key:
        before = Folded(key=plan.key, until=plan.first - 1, evidence=begun(plan.terms))
    scales = _scales(plan)
    lines = {
        name: [_line(frozenset(each.labels.items()), scale) for each in readings[name].series]
        for name, scale in scales.items()
        if name in readings
    }
    wrong = {**plan.wrong, **_wrong(plan, readings, lines, before)}
    before = replace(before, wrong=wrong)
    seconds, origin = plan.step.total_seconds(), plan.origin.timestamp()
    scraped = {round((t - origin) / seconds) for series in readings[WITNESS].series for t, _ in series.samples}
    last = min(plan.last, max(scraped, default=plan.first - 1))  # beyond it there is only what was there before
    if any(reading.blind for reading in readings.values()) or last < plan.first:
        return before, ()
    grid = Grid(origin + plan.first * seconds, seconds, last - plan.first + 1)
    readable = {name: signal for name, signal in plan.signals.items() if name not in wrong}
    gauges = [f"{each.key}/value/{arm}" for each in readable.values() if each.source.kind is Kind.GAUGE for arm in ARMS]
    counted = Counted(
        books={n: Writing(before.books.get(n, Book()), readings[n], lines[n], grid) for n in lines if n not in gauges},
        gauges={name: _values(readings.get(name, Reading()), grid) for name in gauges},
        edges={**_edges_of(readable, lines, before.edges), **before.edges},
    )
    made = [
        _moment(plan, readable, index, counted.at(index - plan.first), scraped=index in scraped)
        for index in range(plan.first, last + 1)
    ]
    books = {**before.books, **{name: book.closed() for name, book in counted.books.items()}}
    return replace(before, until=last, books=books, edges=counted.edges), made


def _values(reading: Reading, grid: Grid) -> list[float | None]:
    """Sort the values of a gauge by instant."""
    found: list[float | None] = [None] * grid.count
    for series in reading.series:
        for index, value in grid.told(series):
            found[index] = value
    return found


def _edges_of(
    readable: Mapping[str, Signal], lines: Mapping[str, Sequence[Line]], known: Mapping[str, object]
) -> dict[str, tuple[float, ...]]:
    """The edges of each histogram that are not known yet, as stable has them now."""
    found = {
        signal.key: _edges(lines.get(f"{signal.key}/buckets/stable", ()))
        for signal in readable.values()
        if signal.source.kind in (Kind.HISTOGRAM, Kind.DRIFT) and signal.key not in known
    }
    return {key: edges for key, edges in found.items() if edges}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a look was told, turned from instant to instant."""

    books: Mapping[str, Writing]  # by query
    gauges: Mapping[str, Sequence[float | None]]  # by query
    edges: Mapping[str, tuple[float, ...]]  # by signal

    def at(self, index: int) -> Instant:
        """Go on to the next instant."""
        told = {name for name, book in self.books.items() if book.turn(index)}
        gauges = {name: value for name, values in self.gauges.items() if (value := values[index]) is not None}
        return Instant(told, self.books, gauges, self.edges)


@dataclass(frozen=True, slots=True)
class Instant:
    """What is known at one instant: who was just told of, and what was counted by then."""

    told: set[str]  # the queries that had an answer for it
    books: Mapping[str, Writing]  # by query
    gauges: Mapping[str, float]  # by query
    edges: Mapping[str, tuple[float, ...]]  # by signal


def _moment(plan: Plan, readable: Mapping[str, Signal], index: int, counted: Instant, *, scraped: bool) -> Moment:
    """Put together what was known of every metric at one instant."""
    t = index * plan.step.total_seconds()
    pairs, gauges = {}, {}
    for name, signal in readable.items():
        if signal.source.kind is Kind.GAUGE:
            values = [counted.gauges.get(f"{signal.key}/value/{arm}") for arm in ARMS]
            if values[0] is not None and values[1] is not None:
                gauges[name] = (values[0] * signal.source.scale, values[1] * signal.source.scale)
        else:
            canary, stable = (_counts(signal, arm, counted) for arm in ARMS)
            pairs[name] = (canary, stable)
    known = {name: counted.edges[signal.key] for name, signal in readable.items() if signal.key in counted.edges}
    return Moment(t=t, step=step_at(plan.steps, t), pairs=pairs, gauges=gauges, edges=known, scraped=scraped)


def _counts(signal: Signal, arm: str, counted: Instant) -> Counts | None:
    """What one revision had counted; None: it was not scraped."""
    names = {part: f"{signal.key}/{part}/{arm}" for part in signal.source.parts}
    if counted.told.isdisjoint(names.values()):
        return None
    sums = {part: counted.books[name].sums for part, name in names.items() if name in counted.books}
    if signal.source.kind is not Kind.COUNTER:
        found, known = sums["buckets"], counted.edges.get(signal.key)
        if known is None:
            return None
        requests = found.get(math.inf, 0.0)
        return Counts(requests, tuple([requests - found.get(each, 0.0) for each in known]))
    total, good, bad = (math.fsum(sums[part].values()) if part in sums else 0.0 for part in ("total", "good", "bad"))
    requests = total if "total" in names else good + bad
    return Counts(requests, (bad if "bad" in names else requests - good,))


def _scales(plan: Plan) -> dict[str, float]:
    """By query: what its signal's own unit is in ours."""
    return {
        f"{signal.key}/{part}/{arm}": signal.source.scale
        for signal in plan.signals.values()
        for part in signal.source.parts
        for arm in ARMS
    }


def _edges(lines: Sequence[Line]) -> tuple[float, ...]:
    """The finite edges of a histogram, rising."""
    return tuple(sorted({line.edge for line in lines if math.isfinite(line.edge)}))


def _wrong(
    plan: Plan, readings: Mapping[str, Reading], lines: Mapping[str, Sequence[Line]], before: Folded
) -> dict[str, str]:
    """Say by metric what is wrong with its answers, so that somebody can correct policy, pack or scraping."""
    complaints = {signal.key: _complaint(signal, readings, lines, before) for signal in plan.signals.values()}
    return {name: complaints[signal.key] for name, signal in plan.signals.items() if complaints[signal.key]}


def _complaint(
    signal: Signal, readings: Mapping[str, Reading], lines: Mapping[str, Sequence[Line]], before: Folded
) -> str:
    """Say what is wrong with the answers about one signal; empty: nothing."""
    for part in signal.source.parts:
        names = [f"{signal.key}/{part}/{arm}" for arm in ARMS]
        for name in names:
            reading = readings.get(name, Reading())
            if reading.wrong:
                return reading.cause
            if words := _ambiguous(signal, reading, lines.get(name, ())):
                return words
        canary, stable = ({line.key for line in lines.get(name, ())} for name in names)
        if canary & stable:
            label = f"label {signal.source.revision_label}" if signal.source.revision_label else "its query"
            return f"{label} does not tell the revisions apart: both are answered with the same series"
    return _rebucketed(signal, lines, before)


def _ambiguous(signal: Signal, reading: Reading, lines: Sequence[Line]) -> str:
    """Say where an answer may mean more than one thing; empty: it does not."""
    names = {series.labels["__name__"] for series in reading.series if "__name__" in series.labels}
    if len(names) > 1:
        return f"one query is answered with counters of several names: {', '.join(sorted(names))}"
    if signal.source.kind is Kind.GAUGE:
        return f"{len(lines)} series where one is meant; sum them up, or choose one" * (len(lines) > 1)
    if signal.source.kind in (Kind.HISTOGRAM, Kind.DRIFT) and lines:
        if any("le" not in series.labels for series in reading.series) or any(math.isnan(line.edge) for line in lines):
            return "a histogram without the label le; ask for its _bucket series"
        if not any(math.isinf(line.edge) for line in lines):
            return "a histogram without its last bucket, +Inf"
    return ""


def _rebucketed(signal: Signal, lines: Mapping[str, Sequence[Line]], before: Folded) -> str:
    """Say where the buckets of a histogram are not those that they were, or not stable's; empty: they are."""
    if signal.source.kind not in (Kind.HISTOGRAM, Kind.DRIFT):
        return ""
    known = before.edges.get(signal.key, ())
    for arm in reversed(ARMS):
        found = _edges(lines.get(f"{signal.key}/buckets/{arm}", ()))
        if known and found and found != known:
            return f"the histogram of {arm} has other buckets than before, and cannot be compared"
        known = known or found
    return ""
