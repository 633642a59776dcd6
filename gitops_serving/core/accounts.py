"""One signal, instant by instant: series of raw counters to what each revision had counted.

Increments are taken per series before anything is added up, so a pod's death is not a
reset of the sum, a decrease is the restart of one pod, and a lost scrape costs nothing:
what it missed arrives with the next.  A series counts from its first value; only one
that appears after others of its pod was born meanwhile, and counts from zero.

What is wrong with an answer is said in words, and counts for nothing: an answer that is
not understood is no evidence in either direction.  That is told of each instant by
itself, so that it does not depend on how many of them are read at once.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from .blocks import Counts
from .measure import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .measure import Series, Source

    Key = frozenset[tuple[str, str]]
    Told = Sequence[tuple["Line", float]]
    Heard = Mapping[tuple[str, str], Told]  # by part of the source, and revision

ARMS = ("canary", "stable")
PODS = ("pod_name", "pod", "k8s_pod_name", "instance")  # labels that tell pods apart, the surest first
BUCKETED = (Kind.HISTOGRAM, Kind.DRIFT)


@dataclass(frozen=True, slots=True)
class Line:
    """What tells a series from the others of its answer, read once."""

    key: Key
    name: str  # of its metric; empty: it is a computed one
    pod: str  # empty: nobody says
    bucketed: bool
    edge: float  # of its bucket, in the signal's own unit; 0 where there is none that anybody can read

    @classmethod
    def of(cls, series: Series, scale: float) -> Line:
        """Read the labels of a series."""
        return _line(frozenset(series.labels.items()), scale)


@lru_cache(maxsize=65536)
def _line(key: Key, scale: float) -> Line:
    """Read labels; equal ones once, since every look is answered with the same series."""
    labels, edge = dict(key), math.nan
    with suppress(KeyError, ValueError):
        edge = float(labels["le"]) * scale
    bucketed = not math.isnan(edge)
    pod = next((labels[label] for label in PODS if label in labels), "")
    return Line(key, labels.get("__name__", ""), pod, bucketed, edge if bucketed else 0.0)


@dataclass(slots=True)
class Book:
    """The running sums of one query's series, by bucket where they are buckets."""

    last: dict[Key, float] = field(default_factory=dict)  # by series: its last value
    sums: dict[float, float] = field(default_factory=dict)

    def add(self, told: Told, known: frozenset[str]) -> None:
        """Add what each series gained, now that it has this value; ``known``: the pods that were seen before."""
        last, sums = self.last, self.sums
        for line, value in told:
            key, edge = line.key, line.edge
            before = last.get(key)
            if before is None:
                before = 0.0 if line.pod in known else value
            last[key] = value
            gained = value - before if value >= before else value
            if gained > 0.0 or edge not in sums:
                sums[edge] = sums.get(edge, 0.0) + max(gained, 0.0)


@dataclass(slots=True)
class Account:
    """What was counted and understood of one signal so far.

    It changes with every instant that it hears of; whoever needs it as it was takes a copy before.
    """

    source: Source
    books: dict[tuple[str, str], Book] = field(default_factory=dict)  # by part and revision
    pods: dict[str, frozenset[str]] = field(default_factory=dict)  # by revision: those that were seen
    edges: tuple[float, ...] = ()  # of its histogram; empty: not known yet
    odd: str = ""  # what is wrong with the latest that was heard; empty: nothing
    shape: list[object] = field(default_factory=list)  # of what was heard last, by which it was found odd or not

    def copy(self) -> Account:
        """Take a copy that can go on by itself."""
        books = {key: Book(dict(book.last), dict(book.sums)) for key, book in self.books.items()}
        return Account(self.source, books, dict(self.pods), self.edges, self.odd, self.shape)

    def hear(self, heard: Heard) -> bool:
        """Count what is told at one instant; tells whether it was understood."""
        shape: list[object] = [(key, [line for line, _ in told]) for key, told in heard.items()]
        news = shape != self.shape
        if news:
            self.odd, self.shape = complaint(self.source, heard, self.edges), shape
        if self.source.kind is not Kind.GAUGE:
            for (part, arm), told in heard.items():
                self.books.setdefault((part, arm), Book()).add(told, self.pods.get(arm, frozenset()))
        if news:  # else all series are known
            self._learn(heard)
        return not self.odd

    def _learn(self, heard: Heard) -> None:
        """Take note of new pods, of which all queries about a revision tell, and of the buckets."""
        for (_, arm), told in heard.items():
            self.pods[arm] = self.pods.get(arm, frozenset()).union(line.pod for line, _ in told)
        if not self.odd and not self.edges and self.source.kind in BUCKETED:
            self.edges = edges_of(self.source.kind, heard.get(("buckets", "stable"), ()))

    def pair(self, heard: Heard) -> tuple[Counts | None, Counts | None]:
        """Say what both revisions had counted when this was heard; None: one was not."""
        there = {arm for _, arm in heard}
        canary, stable = (self._counts(arm) if arm in there else None for arm in ARMS)
        return canary, stable

    def _counts(self, arm: str) -> Counts | None:
        if self.source.kind is not Kind.COUNTER:
            sums = self.books["buckets", arm].sums
            requests = sums.get(math.inf, 0.0)
            return (
                Counts(requests, tuple(requests - sums.get(edge, 0.0) for edge in self.edges)) if self.edges else None
            )
        sums_of = {part: self._sum(part, arm) for part in self.source.parts}
        total = sums_of["total"] if "total" in sums_of else sums_of["good"] + sums_of["bad"]
        return Counts(total, (sums_of["bad"] if "bad" in sums_of else total - sums_of["good"],))

    def _sum(self, part: str, arm: str) -> float:
        book = self.books.get((part, arm))
        return 0.0 if book is None else math.fsum(book.sums.values())


def edges_of(kind: Kind, told: Told) -> tuple[float, ...]:
    """List the finite edges of a histogram, rising; of a latency those above 0, since nothing is faster than that."""
    least = -math.inf if kind is Kind.DRIFT else 0.0
    return tuple(sorted({line.edge for line, _ in told if least < line.edge < math.inf}))


# -- what is wrong with an answer ------------------------------------------------------------------------------------


def complaint(source: Source, heard: Heard, edges: tuple[float, ...]) -> str:
    """Say what is wrong with what was told about one signal at one instant; empty: nothing."""
    for part in source.parts:
        canary, stable = (heard.get((part, arm), ()) for arm in ARMS)
        if words := _ambiguous(source.kind, canary) or _ambiguous(source.kind, stable):
            return words
        if not {line.key for line, _ in canary}.isdisjoint(line.key for line, _ in stable):
            label = f"label {source.revision_label}" if source.revision_label else "its query"
            return f"{label} does not tell the revisions apart: both are answered with the same series"
    if source.kind not in BUCKETED:
        return ""
    for arm in reversed(ARMS):
        found = edges_of(source.kind, heard.get(("buckets", arm), ()))
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
        if not all(line.bucketed for line, _ in told):
            return "a histogram without the label le; ask for its _bucket series"
        if not any(line.edge == math.inf for line, _ in told):
            return "a histogram without its last bucket, +Inf"
    return ""
