"""A rollout as Prometheus would answer about it, made from nothing but a clock: the same numbers on every machine.

Two metrics, a histogram of fourteen edges, three pods a revision, a little noise in both
revisions and no difference between them: what a controller looks at most of its life.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gitops_serving import shipped
from gitops_serving.core import pack
from gitops_serving.core.measure import Reading, Series
from gitops_serving.core.plan import WITNESS, Scene, Survey, survey_queries
from gitops_serving.core.policy import read_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.core.measure import Query
    from gitops_serving.core.model import Policy
    from gitops_serving.core.plan import Plan

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SERVICE = "fraud/scorer"
PODS = 3
RATE = 40.0  # requests a second of stable; the canary has a quarter
EDGES = (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 250.0, 500.0, 1000.0, 5000.0, 10000.0)  # milliseconds
MEDIAN, SIGMA, BAD = 45.0, 0.6, 0.004
POLICY = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: bench}
spec:
  steps: [{setWeight: 20, dwell: 24h}]
  maxDuration: 25h
  analysis:
    metrics:
      - {name: errors, pack: knative/errors, compare: {tolerance: 20%, atLeast: 0.05%}}
      - {name: latency, pack: knative/latency, compare: {tolerance: 10%}}
"""


def policy() -> Policy:
    """Read the policy, with its metrics' sources."""
    path = "policies/metrics/knative.yaml"
    return pack.resolve(read_policy(POLICY, "bench.yaml"), {"knative": pack.read_pack(shipped.packs()[path], path)})


def scene(of: Policy) -> Scene:
    """Say who is measured: every series is there, and scraped every ten seconds."""
    found = frozenset(query.name for query in survey_queries(of, SERVICE, START, START))
    survey = Survey(found, 10 * SECOND)
    return Scene(service=SERVICE, policy=of, survey=survey, stable="scorer-00001", canary="scorer-00002")


def answered(plan: Plan) -> dict[str, Reading]:
    """Answer what a plan asks."""
    return {query.name: _answer(query) for query in plan.queries}


def _answer(query: Query) -> Reading:
    count = round((query.end - query.start) / query.step) + 1
    times = [(query.start + query.step * i).timestamp() for i in range(count)]
    if query.name == WITNESS:
        return Reading((Series({}, tuple((t, 2.0) for t in times)),))
    _, signal, part, arm = query.name.split("/")
    series = []
    for pod in range(PODS):
        name = {"pod_name": f"{arm}-{pod}"}
        if signal == "latency":
            edges = (*EDGES, math.inf)
            series += [_series({**name, "le": _le(e)}, arm, pod, times, _beyond(e), rest=True) for e in edges]
        elif part == "bad":
            series.append(_series({**name, "response_code_class": "5xx"}, arm, pod, times, BAD))
        else:
            series.append(_series({**name, "response_code_class": "2xx"}, arm, pod, times, BAD, rest=True))
            series.append(_series({**name, "response_code_class": "5xx"}, arm, pod, times, BAD))
    return Reading(tuple(series))


def _series(
    labels: Mapping[str, str], arm: str, pod: int, times: list[float], share: float, *, rest: bool = False
) -> Series:
    """Count a share of a pod's requests, or the rest of them; a canary starts with the rollout."""
    rate = RATE / PODS * (0.25 if arm == "canary" else 1.0)
    begin = START.timestamp() - (3600.0 if arm == "stable" else 0.0)
    samples = []
    for t in times:
        if t > begin:
            part, others = _counted(rate, t - begin, pod, share)
            samples.append((t, others if rest else part))
    return Series(labels, tuple(samples))


def _counted(rate: float, seconds: float, pod: int, share: float) -> tuple[float, float]:
    """Two counters, of a share and of the rest; requests swing a little around their rate, and none is taken back."""
    served = int(rate * (seconds + 3 * math.sin(seconds / 17 + pod)))
    part = int(served * share)
    return float(part), float(served - part)


@lru_cache(maxsize=64)
def _beyond(edge: float) -> float:
    """The share of answers slower than an edge: latencies are log-normal."""
    return 0.5 * math.erfc(math.log(edge / MEDIAN) / SIGMA / math.sqrt(2)) if math.isfinite(edge) else 0.0


def _le(edge: float) -> str:
    return f"{edge:g}" if math.isfinite(edge) else "+Inf"


def sample(seconds: float, *, answer: bool) -> dict[str, Any]:
    """Write an instant as ``judge --jsonl`` reads it."""

    def arm(rate: float) -> dict[str, Any]:
        counts = [_counted(rate, seconds + 3600, 0, _beyond(edge))[1] for edge in (*EDGES, math.inf)]
        return {"requests": counts[-1], "errors": _counted(rate, seconds + 3600, 0, BAD)[0], "buckets": counts}

    edges = [edge / 1000 for edge in EDGES]
    told = {"t": seconds, "step": 0, "weight": 20, "le": edges, "canary": arm(RATE / 4), "baseline": arm(RATE)}
    return {"type": "sample", "answer": answer, "sample": told}
