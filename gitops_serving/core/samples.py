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
from typing import TYPE_CHECKING

from .blocks import Counts
from .evidence import Evidence, Moment, begun, fold
from .measure import Kind, Reading
from .plan import ARMS, WITNESS, step_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .measure import Series
    from .plan import Plan, Signal

    Key = frozenset[tuple[str, str]]

PODS = ("pod_name", "pod", "k8s_pod_name", "instance")  # labels that tell pods apart, the surest first
PRIMARY = {Kind.COUNTER: ("total", "good", "bad"), Kind.HISTOGRAM: ("buckets",), Kind.DRIFT: ("buckets",)}


@dataclass(frozen=True, slots=True)
class Book:
    """The running sums of one query's series, by bucket where they are buckets."""

    last: Mapping[Key, float] = field(default_factory=dict)  # by series: its last value
    sums: Mapping[float, float] = field(default_factory=dict)
    pods: frozenset[str] = frozenset()  # that were seen

    def after(self, news: list[tuple[Series, float]], scale: float) -> Book:
        """Add what each series gained, now that it has this value."""
        last, sums = dict(self.last), dict(self.sums)
        for series, value in news:
            key = frozenset(series.labels.items())
            before = last.get(key)
            if before is None:
                gained = value if pod(series) in self.pods else 0.0
            else:
                gained = value - before if value >= before else value
            last[key] = value
            group = edge(series, scale)
            sums[group] = sums.get(group, 0.0) + gained
        return Book(last, sums, self.pods | {pod(series) for series, _ in news})


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
    if plan.origin is None or plan.terms is None:
        return None
    if before is None or before.key != plan.key:
        before = Folded(key=plan.key, until=plan.first - 1, evidence=begun(plan.terms))
    wrong = {**plan.wrong, **_wrong(plan, readings, before)}
    before = replace(before, wrong=wrong)
    scraped = {_index(plan, t) for series in readings[WITNESS].series for t, _ in series.samples}
    last = min(plan.last, max(scraped, default=plan.first - 1))  # beyond it there is only what was there before
    if any(reading.blind for reading in readings.values()) or last < plan.first:
        return before
    return _folded(plan, readings, before, scraped, last)


def _folded(plan: Plan, readings: Mapping[str, Reading], before: Folded, scraped: set[int], last: int) -> Folded:
    """Fold the instants that were scraped, one after the other."""
    news = {name: _by_instant(plan, reading) for name, reading in readings.items() if name != WITNESS}
    books, edges = dict(before.books), dict(before.edges)
    readable = {name: signal for name, signal in plan.signals.items() if name not in before.wrong}
    for signal in readable.values():
        if signal.source.kind in (Kind.HISTOGRAM, Kind.DRIFT) and signal.key not in edges:
            found = _edges(signal, readings.get(f"{signal.key}/buckets/stable", Reading()))
            edges |= {signal.key: found} if found else {}
    moments = []
    for index in range(plan.first, last + 1):
        told = {name: at[index] for name, at in news.items() if index in at}
        for name, values in told.items():
            books[name] = books.get(name, Book()).after(values, _scale(plan, name))
        counted = Counted(told, books, edges)
        moments.append(_moment(plan, readable, index, counted, scraped=index in scraped))
    return replace(before, until=last, evidence=fold(before.evidence, moments), books=books, edges=edges)


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known at one instant: what was just told, and what was counted by then."""

    told: Mapping[str, list[tuple[Series, float]]]  # by query
    books: Mapping[str, Book]  # by query
    edges: Mapping[str, tuple[float, ...]]  # by signal


def _moment(plan: Plan, readable: Mapping[str, Signal], index: int, counted: Counted, *, scraped: bool) -> Moment:
    """Put together what was known of every metric at one instant."""
    t = index * plan.step.total_seconds()
    pairs, gauges = {}, {}
    for name, signal in readable.items():
        if signal.source.kind is Kind.GAUGE:
            values = [counted.told.get(f"{signal.key}/value/{arm}") for arm in ARMS]
            if values[0] and values[1]:
                gauges[name] = (values[0][0][1] * signal.source.scale, values[1][0][1] * signal.source.scale)
        else:
            canary, stable = (_counts(signal, arm, counted) for arm in ARMS)
            pairs[name] = (canary, stable)
    known = {name: counted.edges[signal.key] for name, signal in readable.items() if signal.key in counted.edges}
    return Moment(t=t, step=step_at(plan.steps, t), pairs=pairs, gauges=gauges, edges=known, scraped=scraped)


def _counts(signal: Signal, arm: str, counted: Counted) -> Counts | None:
    """What one revision had counted; None: it was not scraped."""
    if not any(f"{signal.key}/{part}/{arm}" in counted.told for part in PRIMARY[signal.source.kind]):
        return None
    if signal.source.kind is not Kind.COUNTER:
        sums, known = counted.books[f"{signal.key}/buckets/{arm}"].sums, counted.edges.get(signal.key)
        if known is None:
            return None
        requests = sums.get(math.inf, 0.0)
        return Counts(requests, tuple(requests - sums.get(each, 0.0) for each in known))
    sums_of = {part: _sum_of(counted.books, f"{signal.key}/{part}/{arm}") for part in ("total", "good", "bad")}
    total = sums_of["total"] if "total" in signal.source.parts else sums_of["good"] + sums_of["bad"]
    return Counts(total, (sums_of["bad"] if "bad" in signal.source.parts else total - sums_of["good"],))


def _sum_of(books: Mapping[str, Book], name: str) -> float:
    return math.fsum(books[name].sums.values()) if name in books else 0.0


def _by_instant(plan: Plan, reading: Reading) -> dict[int, list[tuple[Series, float]]]:
    """Sort a reading's samples by instant of the grid."""
    found: dict[int, list[tuple[Series, float]]] = {}
    for series in reading.series:
        for t, value in series.samples:
            found.setdefault(_index(plan, t), []).append((series, value))
    return found


def _index(plan: Plan, t: float) -> int:
    assert plan.origin is not None
    return round((t - plan.origin.timestamp()) / plan.step.total_seconds())


def _scale(plan: Plan, name: str) -> float:
    key = name.rsplit("/", 2)[0]
    return next(signal.source.scale for signal in plan.signals.values() if signal.key == key)


def _edges(signal: Signal, reading: Reading) -> tuple[float, ...]:
    """The finite edges of a histogram, rising."""
    return tuple(sorted({e for s in reading.series if math.isfinite(e := edge(s, signal.source.scale))}))


def _wrong(plan: Plan, readings: Mapping[str, Reading], before: Folded) -> dict[str, str]:
    """Say by metric what is wrong with its answers, so that somebody can correct policy, pack or scraping."""
    found = {name: _complaint(signal, readings, before) for name, signal in plan.signals.items()}
    return {name: complaint for name, complaint in found.items() if complaint}


def _complaint(signal: Signal, readings: Mapping[str, Reading], before: Folded) -> str:
    """Say what is wrong with the answers about one signal; empty: nothing."""
    for part in signal.source.parts:
        arms = [readings.get(f"{signal.key}/{part}/{arm}", Reading()) for arm in ARMS]
        for reading in arms:
            if reading.wrong:
                return reading.cause
            if words := _ambiguous(signal, reading):
                return words
        canary, stable = ({frozenset(series.labels.items()) for series in reading.series} for reading in arms)
        if canary & stable:
            label = f"label {signal.source.revision_label}" if signal.source.revision_label else "its query"
            return f"{label} does not tell the revisions apart: both are answered with the same series"
    return _rebucketed(signal, readings, before)


def _ambiguous(signal: Signal, reading: Reading) -> str:
    """Say where an answer may mean more than one thing; empty: it does not."""
    names = {series.labels["__name__"] for series in reading.series if "__name__" in series.labels}
    if len(names) > 1:
        return f"one query is answered with counters of several names: {', '.join(sorted(names))}"
    if signal.source.kind is Kind.GAUGE:
        return f"{len(reading.series)} series where one is meant; sum them up, or choose one" * (
            len(reading.series) > 1
        )
    if signal.source.kind in (Kind.HISTOGRAM, Kind.DRIFT) and reading.series:
        if any("le" not in series.labels or math.isnan(edge(series, 1.0)) for series in reading.series):
            return "a histogram without the label le; ask for its _bucket series"
        if not any(math.isinf(edge(series, 1.0)) for series in reading.series):
            return "a histogram without its last bucket, +Inf"
    return ""


def _rebucketed(signal: Signal, readings: Mapping[str, Reading], before: Folded) -> str:
    """Say where the buckets of a histogram are not those that they were, or not stable's; empty: they are."""
    if signal.source.kind not in (Kind.HISTOGRAM, Kind.DRIFT):
        return ""
    known = before.edges.get(signal.key, ())
    for arm in reversed(ARMS):
        found = _edges(signal, readings.get(f"{signal.key}/buckets/{arm}", Reading()))
        if known and found and found != known:
            return f"the histogram of {arm} has other buckets than before, and cannot be compared"
        known = known or found
    return ""
