"""Moments for tests: two revisions under steady load, each with its share of bad requests."""

from __future__ import annotations

from dataclasses import replace

from gitops_serving.core.blocks import HISTORY, Counts, Timings
from gitops_serving.core.evidence import Evidence, Moment, Question, Terms, begun, fold
from gitops_serving.core.measure import Kind
from gitops_serving.core.tracks import Margin

EVERY = 10  # seconds from look to look
EDGES: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5)
ERRORS = Question(name="errors", kind=Kind.COUNTER, margin=Margin(tolerance=0.2, at_least=0.0005))
LATENCY = Question(name="latency", kind=Kind.HISTOGRAM, margin=Margin(tolerance=0.1))
LIMIT = Question(name="slo", kind=Kind.COUNTER, margin=Margin(limit=0.01))
SCORE = Question(name="score", kind=Kind.GAUGE, margin=Margin(tolerance=0.05), sign=-1.0)
DRIFT = Question(name="drift", kind=Kind.DRIFT, margin=Margin())
TIMINGS = Timings(block=30, warm_up=60, warm_up_after_shift=30)
Load = tuple[float, float]  # requests a second, and the share of them that is bad


def terms(*questions: Question, min_requests: int = 20) -> Terms:
    """Ask these questions on the usual terms."""
    return Terms(questions=questions, timings=TIMINGS, bound=20.0, min_requests=min_requests)


def steady(
    question: Question,
    canary: Load = (2.0, 0.0),
    stable: Load = (18.0, 0.0),
    *,
    until: int = 600,
    since: int = 0,
    step: int = 0,
    history: int = 0,
    every: int = EVERY,
) -> list[Moment]:
    """Look at steady counters of errors, or of requests slower than each edge; ``history``: seconds of stable alone."""
    rows = 1 if question.kind is Kind.COUNTER else len(EDGES)
    edges = {} if question.kind is Kind.COUNTER else {question.name: EDGES}

    def counts(load: Load, seconds: float) -> Counts:
        rate, bad = load
        return Counts(rate * seconds, tuple(rate * seconds * bad / (1 + row) for row in range(rows)))

    before = [
        Moment(t=float(t), step=HISTORY, edges=edges, pairs={question.name: (None, counts(stable, t + history))})
        for t in range(-history, 0, EVERY)
    ]
    return before + [
        Moment(
            t=float(t),
            step=step,
            edges=edges,
            pairs={question.name: (counts(canary, t), counts(stable, t + history))},
        )
        for t in range(since, until + 1, every)
    ]


def gauges(question: Question, canary: float, stable: float, *, until: int = 600) -> list[Moment]:
    """Look at a steady gauge."""
    return [Moment(t=float(t), step=0, gauges={question.name: (canary, stable)}) for t in range(0, until + 1, 90)]


def both(one: list[Moment], other: list[Moment]) -> list[Moment]:
    """Look at two things at the same instants."""
    return [
        replace(a, pairs={**a.pairs, **b.pairs}, edges={**a.edges, **b.edges}, gauges={**a.gauges, **b.gauges})
        for a, b in zip(one, other, strict=True)
    ]


def folded(moments: list[Moment], *questions: Question, min_requests: int = 20) -> Evidence:
    """Fold moments from nothing."""
    return fold(begun(terms(*questions, min_requests=min_requests)), moments)
