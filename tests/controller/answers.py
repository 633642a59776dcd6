"""A Prometheus that answers as a test scripts it: series as functions of time, and instants at which it scraped."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.controller.weigh import Memory, weigh
from gitops_serving.core.measure import Kind, Metric, Reading, Series, Source
from gitops_serving.core.model import Timing
from tests.core.situations import HEALTHY, NOON, THREE_STEPS, with_live, with_rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from gitops_serving.controller.weigh import Weighed
    from gitops_serving.core.measure import Query
    from gitops_serving.core.model import Policy
    from gitops_serving.ports import Metrics

    Value = Callable[[float], float | None]  # of the seconds since the rollout began; None: there is none
    Answer = list[tuple[dict[str, str], Value]]

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
STARTED = NOON
CANARY, STABLE = "scorer-predictor-00002", "scorer-predictor-00001"
SCRAPES = re.compile(r"(?:max|min)\(count_over_time\(up\[(\d+)s")
REVISION = '{revision="{{ revision }}"}'


def own(kind: Kind, *parts: str) -> tuple[Source, ...]:
    """A query of the policy's own, which needs no detection."""
    return (Source(kind=kind, parts={part: part + REVISION for part in parts}),)


ERRORS = Metric(name="errors", sources=own(Kind.COUNTER, "total", "bad"), tolerance=0.2, at_least=0.0005)
SLO = Metric(name="slo", sources=own(Kind.COUNTER, "total", "bad"), maximum=0.01, unit="ratio")
LATENCY = Metric(name="latency", sources=own(Kind.HISTOGRAM, "buckets"), tolerance=0.1, unit="seconds")
SCORE = Metric(name="score", sources=own(Kind.GAUGE, "value"), tolerance=0.05, higher_is_better=True)
DRIFT = Metric(name="drift", sources=own(Kind.DRIFT, "buckets"))


def policy(*metrics: Metric) -> Policy:
    """A policy of these metrics."""
    timing = Timing(block=30 * SECOND, warm_up=60 * SECOND, warm_up_after_shift=30 * SECOND)
    return replace(THREE_STEPS, metrics=metrics, timing=timing, patience=10 * MINUTE, path="policies/own.yaml")


def rising(rate: float, since: float = -600.0) -> Value:
    """A counter that rises so much in a second."""
    return lambda t: rate * (t - since)


def counted(bad: float, rate: float) -> dict[str, Answer]:
    """All requests and the bad ones."""
    return {"total": [({}, rising(rate))], "bad": [({}, rising(rate * bad))]}


def bucketed(slow: float, rate: float) -> dict[str, Answer]:
    """Requests by bucket, of which this share is slower than a tenth of a second."""
    shares = {"0.1": 1 - slow, "0.5": 1 - slow / 4, "+Inf": 1.0}
    return {"buckets": [({"le": le}, rising(rate * share)) for le, share in shares.items()]}


@dataclass(slots=True)
class Answers:
    """The port Metrics, scripted: what each part of a source is answered for the canary and for stable."""

    canary: Mapping[str, Answer] = field(default_factory=lambda: counted(0.001, 2.0))
    stable: Mapping[str, Answer] = field(default_factory=lambda: counted(0.001, 18.0))
    scraped: Callable[[float], bool] = lambda _: True
    refuses: Mapping[str, str] = field(default_factory=dict)  # by part: Prometheus's words
    blind: str = ""
    told_apart: bool = True  # whether the revisions' labels differ
    asked: list[Query] = field(default_factory=list)

    def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
        """Answer every query by its name."""
        self.asked += queries
        return {query.name: self._answer(query) for query in queries}

    def _answer(self, query: Query) -> Reading:
        if self.blind:
            return Reading(cause=self.blind, blind=True)
        part = query.expression.partition("{")[0]
        if part in self.refuses:
            return Reading(cause=self.refuses[part], wrong=True)
        if counted := SCRAPES.match(query.expression):
            scrapes = max(int(counted[1]) / 15, 1.0)  # it scrapes four times a minute
            return self._sampled(query, [({}, lambda t: scrapes if self.scraped(t) else None)])
        revision = "canary" if CANARY in query.expression else "stable"
        told = self.canary if revision == "canary" else self.stable
        named = {"revision": revision} if self.told_apart else {}
        answer = [({**named, **labels}, value) for labels, value in told.get(part, ())]
        begun = revision == "stable" or not self.told_apart
        return self._sampled(query, [(labels, _since(value, begun=begun)) for labels, value in answer])

    @staticmethod
    def _sampled(query: Query, answer: Answer) -> Reading:
        start, step = query.start.timestamp(), query.step.total_seconds()
        points = [start + step * n for n in range(round((query.end.timestamp() - start) / step) + 1)]
        found = []
        for labels, value in answer:
            pairs = ((point, value(point - STARTED.timestamp())) for point in points)
            samples = tuple((point, each) for point, each in pairs if each is not None)
            found += [Series(labels, samples)] if samples else []
        return Reading(tuple(found), "" if found else "no series")


def _since(value: Value, *, begun: bool) -> Value:
    """The canary has no past."""
    return lambda t: value(t) if begun or t >= 0 else None


def weighed(
    metrics: Metrics,
    seconds: float = 600,
    *metrics_of_policy: Metric,
    memory: Memory | None = None,
    skew: timedelta = timedelta(),
    held: timedelta = timedelta(),
    started: datetime = STARTED,
) -> Weighed:
    """Weigh a canary that began so many seconds ago; ``skew``: how far our clock is ahead of Prometheus's."""
    rules = policy(*(metrics_of_policy or (ERRORS,)))
    now = started + timedelta(seconds=seconds) + skew
    seen = with_live(
        replace(HEALTHY, policy=rules, now=max(now, started)),
        names={"v2.2": CANARY, "v1.1": STABLE},
        shares={CANARY: 25, STABLE: 75},
        rolled=STABLE,
        since=started,
    )
    canary = seen.rollout.canary
    assert canary is not None
    seen = with_rollout(seen, canary=replace(canary, started=started, since=started), held_for=held)
    kept = Memory() if memory is None else memory
    return weigh(metrics, kept, rollout=seen.rollout, policy=rules, live=seen.live, now=now)


def over(metrics: Answers, until: int, *metrics_of_policy: Metric, every: int = 15) -> list[tuple[datetime, Weighed]]:
    """Weigh again and again, with a memory."""
    memory = Memory()
    return [
        (STARTED + t * SECOND, weighed(metrics, t, *metrics_of_policy, memory=memory))
        for t in range(every, until + 1, every)
    ]
