"""Readings for tests: what Prometheus would answer to the queries of a plan, from counters that a test writes down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.core.measure import Kind, Reading, Series, Source
from gitops_serving.core.plan import WITNESS, Plan, Signal
from gitops_serving.core.samples import gather

from .moments import ERRORS, terms
from .situations import NOON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gitops_serving.core.evidence import Question
    from gitops_serving.core.samples import Folded

STEP = timedelta(seconds=10)
COUNTED = Source(kind=Kind.COUNTER, parts={"total": "t", "bad": "b"}, revision_label="revision_name")
BUCKETS = Source(kind=Kind.HISTOGRAM, parts={"buckets": "x"}, unit="seconds", scale=0.001)
GAUGE = Source(kind=Kind.GAUGE, parts={"value": "x"})


def at(index: int) -> float:
    """The instant of the grid, in Unix seconds."""
    return (NOON + STEP * index).timestamp()


def series(values: Mapping[int, float] | Sequence[float], **labels: str) -> Series:
    """One series: its values by instant of the grid, or from the first one on."""
    found = values if isinstance(values, dict) else dict(enumerate(values))
    return Series(labels, tuple((at(index), value) for index, value in found.items()))


@dataclass(slots=True)
class Prometheus:
    """All that was ever scraped: series by query, and the instants at which anything was."""

    answers: dict[str, list[Series]] = field(default_factory=dict)
    scraped: Sequence[int] = tuple(range(-60, 1000))
    refused: dict[str, str] = field(default_factory=dict)  # by query: Prometheus's words

    def read(self, plan: Plan) -> dict[str, Reading]:
        """Answer for the instants that a plan asks about."""
        asked = set(range(plan.first, plan.last + 1))
        found = {WITNESS: _within(asked, [series(dict.fromkeys(self.scraped, 1.0))])}
        for name, each in self.answers.items():
            found[name] = _within(asked & set(plan.instants), each)
        return found | {name: Reading(cause=words, wrong=True) for name, words in self.refused.items()}


def _within(asked: set[int], found: Sequence[Series]) -> Reading:
    kept = [
        replace(each, samples=tuple(pair for pair in each.samples if pair[0] in {at(index) for index in asked}))
        for each in found
    ]
    return Reading(tuple(each for each in kept if each.samples), cause="no series")


def planned(
    last: int, *, source: Source = COUNTED, question: Question = ERRORS, folded: Folded | None = None, first: int = 0
) -> Plan:
    """A plan about one signal, which one metric asks for, from where the folding has got to."""
    return Plan(
        origin=NOON,
        step=STEP,
        first=first if folded is None else folded.until + 1,
        last=last,
        steps=(0.0,),
        signals={question.name: Signal("it", source)},
        terms=terms(question),
        key=("a rollout",),
    )


def gathered(
    prometheus: Prometheus,
    lasts: Sequence[int],
    *,
    source: Source = COUNTED,
    question: Question = ERRORS,
    first: int = 0,
) -> Folded:
    """Gather what was scraped, in looks that end at these instants."""
    folded = None
    for last in lasts:
        plan = planned(last, source=source, question=question, folded=folded, first=first)
        folded = gather(plan, prometheus.read(plan), folded)
    assert folded is not None
    return folded
