"""What other controllers would make of the same counters: Flagger, Argo Rollouts, Kayenta, and a plain sequential test.

Their rules as read in their sources (files are named at each class), in our own words and code.  A peer takes one
sample after another and says "pass" (the rollout may move on), "inconclusive" (it may not, now) or "fail" (it is
rolled back); "fail" is final.  Their queries see what Prometheus would give them: increments over a window, with
restarts, and nothing where a window holds fewer than two scrapes.

The rollout's calendar is the world's: a check of Flagger's that fails says "inconclusive" until the next one, but does
not lengthen the step, as it would in the field, where each extra minute brings one more chance to fail.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from .reference import lindon_malek_log_e, location_shift, rank_z

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Said = Literal["pass", "fail", "inconclusive"]
Sample = dict[str, Any]
NAN = math.nan
ARMS = ("canary", "baseline")


class Peer(Protocol):
    """A judge that takes samples in the order of time."""

    def sample(self, sample: Sample) -> Said:
        """Take one more sample and say what may happen now."""
        ...


class Series:
    """One arm's counters as Prometheus holds them: requests, errors, then cumulative buckets."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, Floats]] = deque(maxlen=128)  # time, and increments summed so far
        self._last: Floats | None = None

    def add(self, t: float, arm: Mapping[str, Any] | None) -> None:
        """Take a scrape; None is a lost one.  A counter that fell has begun again at 0."""
        if arm is None:
            return
        row = np.array([arm["requests"], arm["errors"], *arm["buckets"]], dtype=float)
        if self._last is None:
            total = np.zeros_like(row)
        else:
            total = self._rows[-1][1] + (row if row[0] < self._last[0] else row - self._last)
        self._last = row
        self._rows.append((t, total))

    @property
    def total(self) -> Floats | None:
        """Everything counted since the first scrape; None: there was none."""
        return self._rows[-1][1] if self._rows else None

    def increase(self, now: float, window: float) -> Floats | None:
        """What was counted between the first and the last scrape of a window; None: fewer than two."""
        inside = [total for t, total in self._rows if now - window <= t <= now]
        return inside[-1] - inside[0] if len(inside) > 1 else None

    def instant(self, now: float, window: float) -> Floats | None:
        """What was counted between the last two scrapes, as PromQL's `irate` has it."""
        inside = [total for t, total in self._rows if now - window <= t <= now]
        return inside[-1] - inside[-2] if len(inside) > 1 else None


def success(counts: Floats | None) -> float:
    """Find the share of requests that did not fail; NaN without requests."""
    return NAN if counts is None or counts[0] <= 0 else 1 - float(counts[1] / counts[0])


def quantile(counts: Floats | None, edges: Sequence[float], q: float) -> float:
    """Find a quantile as `histogram_quantile` does: linear inside a bucket, and never above the last finite edge."""
    if counts is None or counts[-1] <= 0:
        return NAN
    buckets = counts[2:]
    rank = q * float(buckets[-1])
    at = int(np.searchsorted(buckets, rank))
    if at >= len(edges):
        return edges[-1]
    low, under = (edges[at - 1], float(buckets[at - 1])) if at else (0.0, 0.0)
    return low + (edges[at] - low) * (rank - under) / (float(buckets[at]) - under)


def due(sample: Sample, interval: float) -> bool:
    """Tell whether a check falls on this sample: every interval after the canary's first traffic."""
    return bool(sample["t"] > 0 and sample["t"] % interval == 0)


@dataclass(kw_only=True)
class Flagger:
    """Count failed checks, never forget one, and roll back at the threshold.

    ``pkg/controller/scheduler.go``, ``scheduler_metrics.go``, ``pkg/metrics/observers``: each interval one value a
    metric over the last minute, held against a fixed range.  No value is a failed check.
    """

    threshold: int
    least_success: float = 0.99
    most_p99: float = 0.5
    interval: float = 60.0
    window: float = 60.0
    failed: int = 0
    now: Said = "inconclusive"
    canary: Series = field(default_factory=Series)

    def sample(self, sample: Sample) -> Said:
        """Take one more sample and say what may happen now."""
        self.canary.add(sample["t"], sample["canary"])
        if due(sample, self.interval) and self.now != "fail":
            counts = self.canary.increase(sample["t"], self.window)
            fine = success(counts) >= self.least_success and quantile(counts, sample["le"], 0.99) <= self.most_p99
            self.failed += not fine
            self.now = "fail" if self.failed >= self.threshold else "pass" if fine else "inconclusive"
        return self.now


@dataclass(kw_only=True)
class Argo:
    """Count failed measurements of each metric, and abort when one has more than the limit.

    ``analysis/analysis.go``, ``docs/features/analysis.md``: a background analysis, which does not hold up steps.  NaN
    fulfils no condition and is a failed measurement.  The first measurement is granted an ``initialDelay`` of one
    interval: without it, it would come before the canary's first request and fail every rollout whose limit is 0.
    """

    limit: int
    interval: float = 300.0
    window: float = 300.0
    instant: bool = True  # the documentation's query asks for `irate`: the last two scrapes of the window
    least_success: float = 0.95
    most_p99: float | None = None  # None: only the success rate is measured
    failed: list[int] = field(default_factory=lambda: [0, 0])
    canary: Series = field(default_factory=Series)

    def sample(self, sample: Sample) -> Said:
        """Take one more sample and say what may happen now."""
        self.canary.add(sample["t"], sample["canary"])
        if due(sample, self.interval):
            look = self.canary.instant if self.instant else self.canary.increase
            counts = look(sample["t"], self.window)
            self.failed[0] += not success(counts) >= self.least_success
            if self.most_p99 is not None:
                self.failed[1] += not quantile(counts, sample["le"], 0.99) <= self.most_p99
        if max(self.failed) > self.limit:
            return "fail"
        return "pass" if sample["t"] > 0 else "inconclusive"


@dataclass(kw_only=True)
class Kayenta:
    """Compare the minutes of both arms by a rank test for each metric, anew every five minutes, over all so far.

    ``NetflixACAJudge.scala``, ``MannWhitneyClassifier.scala``, ``WeightedSumScorer.scala``: a metric fails when the
    confidence bound of the shift is beyond a quarter of its estimate and the canary's mean is the higher one; a minute
    without a value is 0; the score is the weighted share of metrics that pass.  Set here as canary configurations
    usually are: only increases count, three metrics of equal weight (error rate, p50 and p99), thresholds 75 and 95.
    """

    confidence: float = 0.98
    tolerance: float = 0.25
    marginal: float = 75.0
    passing: float = 95.0
    interval: float = 300.0
    now: Said = "inconclusive"
    arms: tuple[Series, Series] = field(default_factory=lambda: (Series(), Series()))
    minutes: list[tuple[list[float], list[float]]] = field(default_factory=list)

    def sample(self, sample: Sample) -> Said:
        """Take one more sample and say what may happen now."""
        for series, name in zip(self.arms, ARMS, strict=True):
            series.add(sample["t"], sample[name])
        if due(sample, 60):
            canary, baseline = (_minute(series.increase(sample["t"], 60), sample["le"]) for series in self.arms)
            self.minutes.append((canary, baseline))
        if due(sample, self.interval) and self.now != "fail":
            score = self._score()
            self.now = "fail" if score < self.marginal else "pass" if score >= self.passing else "inconclusive"
        return self.now

    def _score(self) -> float:
        values = np.array(self.minutes)  # minute, arm, metric
        higher = [self._higher(values[:, 0, metric], values[:, 1, metric]) for metric in range(values.shape[2])]
        return 100 * (1 - sum(higher) / len(higher))

    def _higher(self, canary: Floats, baseline: Floats) -> bool:
        if np.array_equal(canary, baseline) or rank_z(canary, baseline) <= 0 or canary.mean() < baseline.mean():
            return False
        lower, estimate = location_shift(canary, baseline, confidence=self.confidence)
        return lower > self.tolerance * abs(estimate)


def _minute(counts: Floats | None, edges: Sequence[float]) -> list[float]:
    """Describe a minute as Kayenta would get it: error rate, p50, p99; 0 where there is no value."""
    values = (1 - success(counts), quantile(counts, edges, 0.5), quantile(counts, edges, 0.99))
    return [0.0 if math.isnan(value) else value for value in values]


@dataclass(kw_only=True)
class LindonMalek:
    """Hold the canary's share of all errors against its share of the requests, at every scrape, without a margin.

    Anytime-valid for independent errors and equal rates; it does not know of clusters.  The weight changes with the
    step, so each step has its own mixture and their e-values multiply.
    """

    alpha: float = 0.05
    m: float = 10.0
    earlier: float = 0.0  # log e-value of the steps before
    step: int = -1
    counts: Floats = field(default_factory=lambda: np.zeros((2, 2)))  # of this step: (arm, requests and errors)
    failed: bool = False
    arms: tuple[Series, Series] = field(default_factory=lambda: (Series(), Series()))

    def sample(self, sample: Sample) -> Said:
        """Take one more sample and say what may happen now."""
        if sample["step"] != self.step:
            self.earlier += self._log_e()[0]
            self.step, self.counts = sample["step"], np.zeros((2, 2))
        for at, (series, name) in enumerate(zip(self.arms, ARMS, strict=True)):
            if (before := series.total) is not None:
                self.counts[at] -= before[:2]
            series.add(sample["t"], sample[name])
            if (after := series.total) is not None:
                self.counts[at] += after[:2]
        log_e, worse = self._log_e()
        self.failed |= worse and self.earlier + log_e >= -math.log(self.alpha)
        return "fail" if self.failed else "pass" if sample["t"] > 0 else "inconclusive"

    def _log_e(self) -> tuple[float, bool]:
        (n_c, k_c), (n_b, k_b) = self.counts.tolist()
        if self.step < 0 or n_c <= 0 or n_b <= 0:
            return 0.0, False
        q = n_c / (n_c + n_b)
        return lindon_malek_log_e(k_c=k_c, k_b=k_b, q=q, m=self.m), k_c > q * (k_c + k_b)


# What "tuned" means is our guess, its limit fitted to the published false rollbacks: a minute's rhythm, two minutes'
# window, latency too, and five failures forgiven.
PEERS: dict[str, Callable[[], Peer]] = {
    "flagger1": lambda: Flagger(threshold=1),
    "flagger5": lambda: Flagger(threshold=5),
    "flagger10": lambda: Flagger(threshold=10),
    "argo": lambda: Argo(limit=3),
    "argo-default": lambda: Argo(limit=0),
    "argo-tuned": lambda: Argo(limit=5, interval=60, window=120, instant=False, most_p99=0.5),
    "kayenta": Kayenta,
    "lindon-malek": LindonMalek,
}
