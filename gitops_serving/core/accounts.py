"""One signal, instant by instant: series of raw counters to what each revision had counted.

Increments are taken per series before anything is added up, so a pod's death is not a
reset of the sum, a decrease is the restart of one pod, and a lost scrape costs nothing:
what it missed arrives with the next.  A series counts from its first value; only one
that appears after others of its pod was born meanwhile, and counts from zero.

Under changed labels it goes on from its old value.

What is wrong with an answer is said in words, and counts for nothing: an answer that is
not understood is no evidence in either direction.  That is told of each instant by
itself, so that it does not depend on how many of them are read at once.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from .blocks import Counts
from .measure import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .measure import Series, Source

    Key = frozenset[tuple[str, str]]
    Place = tuple[str, float]  # pod and bucket
    Rung = tuple[tuple[str, str], int, int]  # query, and the places of a bucket and of the next one up in its answer
    Told = Sequence[tuple["Line", float]]
    Heard = Mapping[tuple[str, str], Told]  # by part of the source, and revision

ARMS = ("canary", "stable")
PODS = ("pod_name", "pod", "k8s_pod_name", "instance")  # labels that tell pods apart, the surest first
BUCKETED = (Kind.HISTOGRAM, Kind.DRIFT)
ROUNDING = 1 + 1e-9  # of values that were computed


@dataclass(frozen=True, slots=True)
class Line:
    """What tells a series from the others of its answer, read once."""

    key: Key
    name: str  # of its metric; empty: it is a computed one
    pod: str  # empty: nobody says
    bucketed: bool
    edge: float  # of its bucket, in the signal's own unit; 0 where there is none that anybody can read
    histogram: Key  # the labels that all buckets of one histogram share

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
    histogram = frozenset(pair for pair in key if pair[0] != "le")
    return Line(key, labels.get("__name__", ""), pod, bucketed, edge if bucketed else 0.0, histogram)


@dataclass(slots=True)
class Book:
    """The running sums of one query's series, by bucket where they are buckets."""

    last: dict[Key, float] = field(default_factory=dict)  # by series: its last value
    places: dict[Key, Place] = field(default_factory=dict)  # by series: its pod and its bucket
    sums: dict[float, float] = field(default_factory=dict)

    def copy(self) -> Book:
        """Take a copy that can go on by itself."""
        return Book(dict(self.last), dict(self.places), dict(self.sums))

    def add(self, told: Told, known: frozenset[str], renamed: frozenset[str] = frozenset()) -> None:
        """Add what each series gained, now that it has this value.

        ``known`` are the pods that were seen before: a series that is new in one of them was born meanwhile, and
        counts from zero.  In those that were ``renamed`` it may go on from an old one instead.
        """
        last, sums = self.last, self.sums
        forerunners = self._forerunners(told, renamed) if renamed else {}
        for line, value in told:
            key, edge = line.key, line.edge
            before = last.get(key)
            if before is None:
                before = forerunners.get(key, 0.0) if line.pod in known else value
                self.places[key] = (line.pod, edge)
            last[key] = value
            gained = value - before if value >= before else value
            if gained > 0.0 or edge not in sums:
                sums[edge] = sums.get(edge, 0.0) + max(gained, 0.0)

    def _forerunners(self, told: Told, renamed: frozenset[str]) -> dict[Key, float]:
        """Find the old series from whose values new ones go on, the greatest first, and forget those that are gone."""
        there = {line.key for line, _ in told}
        old: dict[Place, list[float]] = {}
        for key, place in list(self.places.items()):
            if place[0] not in renamed:
                continue
            old.setdefault(place, []).append(self.last[key])
            if key not in there:
                del self.places[key], self.last[key]
        found: dict[Key, float] = {}
        for line, value in sorted(told, key=lambda each: -each[1]):
            left = old.get((line.pod, line.edge), [])
            fitting = [each for each in left if each <= value]
            if fitting and line.key not in self.last:
                found[line.key] = max(fitting)
                left.remove(found[line.key])
        return found


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
    shape: list[object] = field(default_factory=list)  # of what was heard last
    rungs: list[Rung] = field(default_factory=list)  # neighbouring buckets in what was heard last

    def copy(self) -> Account:
        """Take a copy that can go on by itself."""
        books = {key: book.copy() for key, book in self.books.items()}
        return replace(self, books=books, pods=dict(self.pods))

    def hear(self, heard: Heard) -> bool:
        """Count what is told at one instant; tells whether it was understood.

        What was not is left as if it had not been told: what its series gained meanwhile is counted once they are
        understood again, and those that had no sense for themselves are never counted.
        """
        shape: list[object] = [(key, [line for line, _ in told]) for key, told in heard.items()]
        news = shape != self.shape
        if news:
            self.odd = complaint(self.source, heard, self.edges)
            self.shape, self.rungs = shape, _rungs(heard) if self.source.kind in BUCKETED and not self.odd else []
        if self.rungs and (fallen := _fallen(heard, self.rungs)):
            self.odd, self.shape = fallen, []  # the next is looked at anew
        if self.odd:
            return False
        if self.source.kind is not Kind.GAUGE:
            renamed = self._renamed(heard) if news else {}
            for key, told in heard.items():
                known = self.pods.get(key[1], frozenset())
                self.books.setdefault(key, Book()).add(told, known, renamed.get(key[1], frozenset()))
        if news:  # else all series are known
            self._learn(heard)
        return True

    def _learn(self, heard: Heard) -> None:
        """Take note of new pods, of which all queries about a revision tell, and of the buckets."""
        for (_, arm), told in heard.items():
            self.pods[arm] = self.pods.get(arm, frozenset()).union(line.pod for line, _ in told)
        if not self.edges and self.source.kind in BUCKETED:
            self.edges = edges_of(self.source.kind, heard.get(("buckets", "stable"), ()))

    def _renamed(self, heard: Heard) -> dict[str, frozenset[str]]:
        """Find, by revision, the pods whose series may go on under other labels: there are new ones, and no old moves.

        Where a monitoring changes its labels, a pod's old series end, or stand still for as long as Prometheus still
        shows them.  Where one is born beside the others, such as that of the first errors, those others go on.
        """
        new: dict[str, set[str]] = {}
        moving: dict[str, set[str]] = {}
        for key, told in heard.items():
            last = self.books[key].last if key in self.books else {}
            for line, value in told:
                before = last.get(line.key)
                if before is None:
                    new.setdefault(key[1], set()).add(line.pod)
                elif before != value:
                    moving.setdefault(key[1], set()).add(line.pod)
        return {arm: frozenset(pods - moving.get(arm, set())) for arm, pods in new.items()}

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
    """Say what is wrong with what was told about one signal at one instant, whatever the values; empty: nothing."""
    for part in source.parts:
        canary, stable = (heard.get((part, arm), ()) for arm in ARMS)
        if words := _ambiguous(source.kind, canary) or _ambiguous(source.kind, stable):
            return words
        if not _identities(source.kind, canary).isdisjoint(_identities(source.kind, stable)):
            label = f"label {source.revision_label}" if source.revision_label else "its query"
            return f"{label} does not tell the revisions apart: both are answered with the same series"
    if (
        "good" in source.parts
        and not heard.get(("good", "stable"))
        and any(heard.get((p, "stable")) for p in source.parts)
    ):
        return "stable has requests, and nothing is told of those that were good; correct the query for them"
    return _unlike(source.kind, heard, edges) if source.kind in BUCKETED else ""


def _identities(kind: Kind, told: Told) -> set[Key]:
    """List the series that are the same one if they are met in the other revision's answer too.

    A gauge may be computed, and then has the labels that its sum was told to keep, mostly none: its query names the
    revision, which is all that can be known.  What was read as it stands still has its metric's name.
    """
    return {line.key for line, _ in told if kind is not Kind.GAUGE or line.name}


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


def _unlike(kind: Kind, heard: Heard, edges: tuple[float, ...]) -> str:
    """Say which histograms cannot be added up or compared, since their buckets differ; empty: all can."""
    for arm in reversed(ARMS):
        told = heard.get(("buckets", arm), ())
        found = edges_of(kind, told)
        if edges and found and found != edges:
            return f"the histogram of {arm} has other buckets than before, and cannot be compared"
        edges = edges or found
        shapes = Counter(tuple(line.edge for line in lines) for lines in _histograms(told).values())
        if len(shapes) > 1 or any(len(set(shape)) < len(shape) for shape in shapes):
            return f"the histograms of {arm}'s pods have unlike buckets, and cannot be added up"
    return ""


def _histograms(told: Told) -> dict[Key, list[Line]]:
    """Sort the buckets of an answer by the histograms that they are of, and by their edges."""
    found: dict[Key, list[Line]] = {}
    for line, _ in sorted(told, key=lambda each: each[0].edge):
        found.setdefault(line.histogram, []).append(line)
    return found


def _rungs(heard: Heard) -> list[Rung]:
    """Find the neighbouring buckets of each histogram, by their places in the answer."""
    found: list[Rung] = []
    for key, told in heard.items():
        places = {line.key: place for place, (line, _) in enumerate(told)}
        for lines in _histograms(told).values():
            found += [(key, places[lower.key], places[upper.key]) for lower, upper in pairwise(lines)]
    return found


def _fallen(heard: Heard, rungs: Sequence[Rung]) -> str:
    """Say where a bucket holds more than one that contains it; empty: none does."""
    for key, lower, upper in rungs:
        told = heard[key]
        if told[lower][1] > told[upper][1] * ROUNDING:
            return f"the histogram of {key[1]} is not cumulative: a bucket holds more than the next one up"
    return ""
