"""Readings to moments: series of raw counters as what each revision had counted by an instant.

Increments are taken per series before anything is added up, so a pod's death is not a
reset of the sum, a decrease is the restart of one pod, and a lost scrape costs nothing:
what it missed arrives with the next.  A series counts from its first value; only one
that appears after others of its pod was born meanwhile, and counts from zero.

What is wrong with an answer is said in words, per metric, and makes no moment: an answer
that is not understood is no evidence in either direction.  That is told instant by
instant, so that it does not depend on how many of them are read at once.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .blocks import Counts
from .evidence import Moment, begun, fold
from .measure import Kind
from .plan import ARMS, WITNESS, step_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .evidence import Evidence
    from .measure import Reading, Series
    from .plan import Plan, Signal

    Key = frozenset[tuple[str, str]]
    Told = Sequence[tuple["Line", float]]

PODS = ("pod_name", "pod", "k8s_pod_name", "instance")  # labels that tell pods apart, the surest first
PRIMARY = {Kind.COUNTER: ("total", "good", "bad"), Kind.HISTOGRAM: ("buckets",), Kind.DRIFT: ("buckets",)}
BUCKETED = (Kind.HISTOGRAM, Kind.DRIFT)


@dataclass(frozen=True, slots=True)
class Line:
    """What tells a series from the others of its answer, read once."""

    key: Key
    name: str  # of its metric; empty: it is a computed one
    pod: str  # empty: nobody says
    edge: float  # of its bucket, in the signal's own unit; 0 where there is none that anybody can read
    bucketed: bool  # whether there is one

    @classmethod
    def of(cls, series: Series, scale: float) -> Line:
        """Read the labels of a series."""
        labels, edge = series.labels, math.nan
        with suppress(KeyError, ValueError):
            edge = float(labels["le"]) * scale
        bucketed = not math.isnan(edge)
        pod = next((labels[label] for label in PODS if label in labels), "")
        return cls(frozenset(labels.items()), labels.get("__name__", ""), pod, edge if bucketed else 0.0, bucketed)


@dataclass(frozen=True, slots=True)
class Book:
    """The running sums of one query's series, by bucket where they are buckets."""

    last: Mapping[Key, float] = field(default_factory=dict)  # by series: its last value
    sums: Mapping[float, float] = field(default_factory=dict)

    def after(self, told: Told, known: frozenset[str]) -> Book:
        """Add what each series gained, now that it has this value; ``known``: the pods that were seen before."""
        last, sums = dict(self.last), dict(self.sums)
        for line, value in told:
            before = last.get(line.key)
            if before is None:
                before = 0.0 if line.pod in known else value
            last[line.key] = value
            gained = value - before if value >= before else value
            sums[line.edge] = sums.get(line.edge, 0.0) + max(gained, 0.0)
        return Book(last, sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The evidence of one rollout, and all that is needed to go on from it; it may be thrown away at any time."""

    key: tuple[object, ...]
    until: int  # the last instant of the grid that is in it
    evidence: Evidence
    books: Mapping[str, Book] = field(default_factory=dict)  # by query
    pods: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by signal and revision: those that were seen
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by signal: of its histogram
    odd: Mapping[str, str] = field(default_factory=dict)  # by metric: what is wrong with its latest samples
    refused: Mapping[str, str] = field(default_factory=dict)  # by metric: why it cannot be asked

    @property
    def wrong(self) -> Mapping[str, str]:
        """By metric: why nothing can be read, so that somebody can correct policy, pack or scraping."""
        return {**self.odd, **self.refused}


def gather(plan: Plan, readings: Mapping[str, Reading], before: Folded | None) -> Folded | None:
    """Fold what was read into the evidence; what Prometheus could not be asked is asked again at the next look."""
    told = moments(plan, readings, before)
    if told is None:
        return None
    read, news = told
    return replace(read, evidence=fold(read.evidence, news)) if news else read


def moments(
    plan: Plan, readings: Mapping[str, Reading], before: Folded | None
) -> tuple[Folded, Sequence[Moment]] | None:
    """Turn what was read into moments, and say how far it went; the evidence is left as it was."""
    if plan.origin is None or plan.terms is None:
        return None
    if before is None or before.key != plan.key:
        before = Folded(key=plan.key, until=plan.first - 1, evidence=begun(plan.terms), refused=plan.wrong)
    if plan.last < plan.first or any(reading.blind for reading in readings.values()):
        return before, ()
    before = replace(before, refused={**plan.wrong, **_refused(plan, readings)})
    scraped = {index for series in readings[WITNESS].series for index, _ in _indexed(plan, series)}
    # Beyond the last scrape there is only what was there before; unless there are later ones, it is left for then.
    last = plan.last if plan.behind else min(plan.last, max(scraped, default=plan.first - 1))
    return (before, ()) if last < plan.first else _read(plan, readings, before, scraped, last)


def _refused(plan: Plan, readings: Mapping[str, Reading]) -> dict[str, str]:
    """Say by metric why Prometheus does not answer its queries, and never will."""
    found = {}
    for name, signal in plan.signals.items():
        asked = [readings[query] for query in _queries(signal) if query in readings]
        if cause := next((reading.cause for reading in asked if reading.wrong), ""):
            found[name] = cause
    return found


def _read(
    plan: Plan, readings: Mapping[str, Reading], before: Folded, scraped: set[int], last: int
) -> tuple[Folded, Sequence[Moment]]:
    """Go through the instants, one after the other."""
    meant: dict[str, tuple[Signal, list[str]]] = {}
    for name, signal in plan.signals.items():
        meant.setdefault(signal.key, (signal, []))[1].append(name)
    news = {
        name: _by_instant(plan, readings[name], signal.source.scale)
        for signal, _ in meant.values()
        for name in _queries(signal)
        if name in readings
    }
    so_far = Counted(dict(before.books), dict(before.pods), dict(before.edges), dict(before.odd))
    made = []
    for index in range(plan.first, last + 1):
        told = {name: at[index] for name, at in news.items() if index in at}
        made.append(_moment(plan, meant, index, (told, so_far), scraped=index in scraped))
    read = replace(before, until=last, books=so_far.books, pods=so_far.pods, edges=so_far.edges, odd=so_far.odd)
    return read, made


def _queries(signal: Signal) -> list[str]:
    return [f"{signal.key}/{part}/{arm}" for part in signal.source.parts for arm in ARMS]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted and understood so far; unlike all else here it changes, while instants are folded."""

    books: dict[str, Book]
    pods: dict[str, frozenset[str]]
    edges: dict[str, tuple[float, ...]]
    odd: dict[str, str]

    def add(self, signal: Signal, told: Mapping[str, Told]) -> None:
        """Count what was told of a signal; all its queries about a revision tell of the same pods."""
        for arm in ARMS:
            seen = self.pods.get(f"{signal.key}/{arm}", frozenset())
            names = [name for part in signal.source.parts if (name := f"{signal.key}/{part}/{arm}") in told]
            for name in names:
                self.books[name] = self.books.get(name, Book()).after(told[name], seen)
            self.pods[f"{signal.key}/{arm}"] = seen.union(line.pod for name in names for line, _ in told[name])


def _moment(
    plan: Plan,
    meant: Mapping[str, tuple[Signal, list[str]]],
    index: int,
    known: tuple[Mapping[str, Told], Counted],
    *,
    scraped: bool,
) -> Moment:
    """Put together what was known of every metric at one instant."""
    t, (told, so_far) = index * plan.step.total_seconds(), known
    pairs, gauges, edges = {}, {}, {}
    for signal, names in meant.values():
        if not any(name in told for name in _queries(signal)):
            continue
        words = _complaint(signal, told, so_far.edges.get(signal.key, ()))
        if words:
            so_far.odd.update(dict.fromkeys(names, words))
        else:
            for name in names:
                so_far.odd.pop(name, None)
        if signal.source.kind is Kind.GAUGE:
            values = [told.get(f"{signal.key}/value/{arm}") for arm in ARMS]
            if values[0] and values[1] and scraped and not words:  # without a scrape it is the value of the last one
                pair = (values[0][0][1] * signal.source.scale, values[1][0][1] * signal.source.scale)
                gauges.update(dict.fromkeys(names, pair))
            continue
        so_far.add(signal, told)
        if not words:
            if signal.source.kind in BUCKETED and signal.key not in so_far.edges:
                found = _edges(signal, told.get(f"{signal.key}/buckets/stable", ()))
                so_far.edges.update({signal.key: found} if found else {})
            counts = [_counts(signal, arm, told, so_far) for arm in ARMS]
            pairs.update(dict.fromkeys(names, (counts[0], counts[1])))
            edges.update(dict.fromkeys(names, so_far.edges.get(signal.key, ())))
    return Moment(t=t, step=step_at(plan.steps, t), pairs=pairs, gauges=gauges, edges=edges, scraped=scraped)


def _counts(signal: Signal, arm: str, told: Mapping[str, Told], so_far: Counted) -> Counts | None:
    """What one revision had counted; None: it was not scraped."""
    if not any(f"{signal.key}/{part}/{arm}" in told for part in PRIMARY[signal.source.kind]):
        return None
    if signal.source.kind is not Kind.COUNTER:
        sums, edges = so_far.books[f"{signal.key}/buckets/{arm}"].sums, so_far.edges.get(signal.key)
        if edges is None:
            return None
        requests = sums.get(math.inf, 0.0)
        return Counts(requests, tuple(requests - sums.get(each, 0.0) for each in edges))
    sums_of = {part: _sum_of(so_far.books, f"{signal.key}/{part}/{arm}") for part in PRIMARY[Kind.COUNTER]}
    total = sums_of["total"] if "total" in signal.source.parts else sums_of["good"] + sums_of["bad"]
    return Counts(total, (sums_of["bad"] if "bad" in signal.source.parts else total - sums_of["good"],))


def _sum_of(books: Mapping[str, Book], name: str) -> float:
    return math.fsum(books[name].sums.values()) if name in books else 0.0


def _by_instant(plan: Plan, reading: Reading, scale: float) -> dict[int, list[tuple[Line, float]]]:
    """Sort a reading's samples by instant of the grid; what is no number is no sample."""
    found: dict[int, list[tuple[Line, float]]] = {}
    for series in reading.series:
        line = Line.of(series, scale)
        for index, value in _indexed(plan, series):
            if math.isfinite(value):
                found.setdefault(index, []).append((line, value))
    return found


def _indexed(plan: Plan, series: Series) -> list[tuple[int, float]]:
    """Number the samples of a series by instants of the grid."""
    assert plan.origin is not None
    origin, step = plan.origin.timestamp(), plan.step.total_seconds()
    return [(round((t - origin) / step), value) for t, value in series.samples]


def _edges(signal: Signal, told: Told) -> tuple[float, ...]:
    """The finite edges of a histogram, rising; of a latency those above 0, since nothing is faster than that."""
    least = -math.inf if signal.source.kind is Kind.DRIFT else 0.0
    return tuple(sorted({line.edge for line, _ in told if least < line.edge < math.inf}))


# -- what is wrong with an answer ------------------------------------------------------------------------------------


def _complaint(signal: Signal, told: Mapping[str, Told], edges: tuple[float, ...]) -> str:
    """Say what is wrong with what was told about one signal; empty: nothing."""
    for part in signal.source.parts:
        canary, stable = (told.get(f"{signal.key}/{part}/{arm}", ()) for arm in ARMS)
        if words := _ambiguous(signal.source.kind, canary) or _ambiguous(signal.source.kind, stable):
            return words
        if canary and stable and not {line.key for line, _ in canary}.isdisjoint(line.key for line, _ in stable):
            label = f"label {signal.source.revision_label}" if signal.source.revision_label else "its query"
            return f"{label} does not tell the revisions apart: both are answered with the same series"
    if signal.source.kind not in BUCKETED:
        return ""
    for arm in reversed(ARMS):
        found = _edges(signal, told.get(f"{signal.key}/buckets/{arm}", ()))
        if edges and found and found != edges:
            return f"the histogram of {arm} has other buckets than before, and cannot be compared"
        edges = edges or found
    return ""


def _ambiguous(kind: Kind, told: Told) -> str:
    """Say where an answer may mean more than one thing; empty: it does not."""
    names = {line.name for line, _ in told if line.name}
    if len(names) > 1:
        return f"one query is answered with counters of several names: {', '.join(sorted(names))}"
    if kind is Kind.GAUGE and len(told) > 1:
        return f"{len(told)} series where one is meant; sum them up, or choose one"
    if kind in BUCKETED and told:
        if any(not line.bucketed for line, _ in told):
            return "a histogram without the label le; ask for its _bucket series"
        if not any(line.edge == math.inf for line, _ in told):
            return "a histogram without its last bucket, +Inf"
    return ""
