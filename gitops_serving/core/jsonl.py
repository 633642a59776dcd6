"""The judge on samples that somebody else took: one JSON object in, at most one out.

The same folding and the same verdicts as in a cluster, without one: for tests, for
people who want to try a policy on numbers of their own, and for comparing judges.
Samples carry requests, errors and a histogram, so only what a policy asks of errors and
latency can be judged; whatever else it asks is said to be missing, and holds nothing up.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from math import isclose
from typing import TYPE_CHECKING, Any

from .blocks import HISTORY, Counts
from .errors import Invalid
from .evidence import Moment, begun, fold
from .judge import assess
from .measure import Kind, Outcome, Source
from .plan import terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .evidence import Evidence
    from .measure import Metric
    from .model import Policy

KINDS = {"errors": Kind.COUNTER, "latency": Kind.HISTOGRAM}
VERDICTS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.SILENT: "inconclusive",
    Outcome.BLIND: "inconclusive",
}
MOST = 1e15  # of any counter: the next power of ten cannot be counted in floating point, nor ever was
MOST_EDGES = 1000  # a guess: far more than any histogram has


class Judging:
    """One run after the other, by one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.left_out = _readable(policy)
        self._evidence = begun(terms(self.policy))
        self._edges: tuple[float, ...] = ()
        self.doubt = ""  # what is odd about the message that was taken last, said once a run; empty: nothing
        self._doubted = False

    def take(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take one message and answer it, if it asks for an answer.  Raises Invalid where it is none of ours."""
        self.doubt = ""
        match message:
            case {"type": "start"}:
                self._evidence, self._edges, self._doubted = begun(terms(self.policy)), (), False
                return None
            case {"type": "sample", "sample": dict(sample)}:
                self._evidence = self._after(self._evidence, sample)
                return self._verdict() if message.get("answer") is True else None
        raise _wrong("it is neither a start nor a sample")

    def _after(self, evidence: Evidence, sample: Mapping[str, Any]) -> Evidence:
        """Fold one sample."""
        t = _finite(sample.get("t"), "t")
        if t <= evidence.t:
            raise _wrong(f"t is {t:g}, which is not after {evidence.t:g}")
        step = _step(sample, t)
        if step < evidence.step:
            raise _wrong(f"step is {step} after {evidence.step}, and steps never fall within a run")
        if sample.get("weight") is not None and not 0 <= _finite(sample["weight"], "weight") <= 100:
            raise _wrong(f"weight is {sample['weight']:g}, which is no percentage")
        edges = _edges(sample.get("le", ()))
        if edges and self._edges and edges != self._edges:
            raise _wrong("le is not what it was before in this run, and other buckets cannot be compared")
        self._edges = self._edges or edges
        canary, stable = (self._arm(sample, arm, edges, t) for arm in ("canary", "baseline"))
        moment = Moment(t=t, step=step)
        for metric in self.policy.metrics:
            row = 0 if metric.kind is Kind.COUNTER else 1
            moment.pairs[metric.name] = (canary and canary[row], stable and stable[row])
            if metric.kind is Kind.HISTOGRAM and edges:
                moment.edges[metric.name] = tuple(edge for edge in edges if edge > 0)
        return fold(evidence, [moment])

    def _arm(
        self, sample: Mapping[str, Any], arm: str, edges: tuple[float, ...], t: float
    ) -> tuple[Counts | None, Counts | None] | None:
        """Read one revision's counters, and take note of what is odd about them."""
        if arm not in sample and not (arm == "canary" and t < 0):  # before it began, stable may be alone
            raise _wrong(f"{arm} is missing; write null for a scrape that was lost")
        told = _arm(sample, arm, edges)
        if told is not None and told[1] is not None and not isclose(told[0].requests, told[1].requests, rel_tol=1e-6):
            self._doubt(
                f"{arm} has {told[0].requests:g} requests, and {told[1].requests:g} in the bucket +Inf; "
                "of one scrape they would be equal"
            )
        return told

    def _doubt(self, words: str) -> None:
        """Take note of something odd, once a run."""
        if not self._doubted:
            self.doubt, self._doubted = words, True

    def _verdict(self) -> dict[str, Any]:
        evidence = self._evidence.failed or self._evidence
        verdict = assess(self.policy, evidence, {})
        because = verdict.because or "nothing is on trial yet"
        return {"verdict": VERDICTS[verdict.outcome], "because": because, "e": round(verdict.e, 6)}


def _readable(policy: Policy) -> tuple[Policy, tuple[str, ...]]:
    """Keep the metrics that samples can answer; raises Invalid where none of them decides anything."""
    kept: list[Metric] = []
    for metric in policy.metrics:
        kind = KINDS.get(metric.pack.rsplit("/", 1)[-1])
        if kind is not None:
            kept.append(replace(metric, sources=(Source(kind=kind, parts={}),)))
    if not any(metric.enforced for metric in kept):
        raise Invalid(
            f"policy {policy.name} enforces nothing about errors or latency, which is all that samples tell of",
            code="metrics",
            remedy="choose a policy with a metric of pack NAME/errors or NAME/latency",
        )
    left_out = tuple(metric.name for metric in policy.metrics if metric.name not in {each.name for each in kept})
    return replace(policy, metrics=tuple(kept)), left_out


def _step(sample: Mapping[str, Any], t: float) -> int:
    """Read the step, which may be left out before the first."""
    step = sample.get("step", HISTORY if t < 0 else None)
    if isinstance(step, bool) or not isinstance(step, int) or step < HISTORY:
        raise _wrong("step is missing" if step is None else "step is no whole number from -1 on")
    if t < 0 <= step:
        raise _wrong(f"step is {step} at t {t:g}; before 0 stable is alone, and step is -1")
    if step < 0 < t:
        raise _wrong(f"step is {step} at t {t:g}; from 0 on the canary has a step, the first being 0")
    return step


def _arm(sample: Mapping[str, Any], arm: str, edges: tuple[float, ...]) -> tuple[Counts, Counts | None] | None:
    """Read one revision's counters as errors and as requests beyond each edge; None: the scrape was lost."""
    told = sample.get(arm)
    if told is None:
        return None
    if not isinstance(told, dict):
        raise _wrong(f"{arm} is neither counters nor null")
    requests, bad = (_count(told.get(key), key, arm) for key in ("requests", "errors"))
    if bad > requests:
        raise _wrong(f"{arm} has {bad:g} errors of {requests:g} requests")
    errors = Counts(requests, (bad,))
    buckets = told.get("buckets", [])
    if not isinstance(buckets, list) or (buckets and len(buckets) != len(edges) + 1):
        raise _wrong(f"{arm} needs one bucket more than there are edges in le, the last being +Inf")
    counts = [_count(each, "a bucket", arm) for each in buckets]
    if any(later < earlier for earlier, later in pairwise(counts)):
        raise _wrong(f"the buckets of {arm} fall, and each counts what is in the ones before it too")
    beyond = tuple(counts[-1] - count for edge, count in zip(edges, counts, strict=False) if edge > 0)
    return errors, Counts(counts[-1], beyond) if counts and edges else None


def _count(value: Any, what: str, arm: str) -> float:
    count = _finite(value, f"{what} of {arm}")
    if count < 0:
        raise _wrong(f"{what} of {arm} is below 0")
    if count > MOST:
        raise _wrong(f"{what} of {arm} is {count:g}, which is more than can be counted exactly")
    return count


def _edges(told: Any) -> tuple[float, ...]:
    if not isinstance(told, list | tuple) or len(told) > MOST_EDGES:
        raise _wrong("le is no list of edges")
    edges = tuple(_finite(each, "an edge") for each in told)
    if any(later <= earlier for earlier, later in pairwise(edges)):
        raise _wrong("the edges in le do not rise")
    return edges


def _finite(value: Any, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    raise _wrong(f"{what} is no number")


def _wrong(why: str) -> Invalid:
    return Invalid(
        f"this is no message of the judge's: {why}", code="message", remedy="see docs/judging.md for the form"
    )
