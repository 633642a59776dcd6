"""Readings held against limits: what the measurements of one step say together.

Four outcomes.  FAIL: the canary is measurably worse than its limits allow.  BLIND:
Prometheus did not answer, or has scraped nothing of late; that is our fault and
never the canary's.  SILENT: it answers, and there is too little to judge.  PASS:
every measurement could be taken and held.  A failure that was measured stands even
while another query is blind.

Everything is a pure function of samples: counters since the present weight
arrived, increments per series (a decrease is a restart, and counts from zero).  A
series counts from its first value, so a lost scrape costs what it missed and no
more; only one that appears after others of its pod was born in the window.
The thresholds here are plain ones; sequential statistics take their place in
`_held_against` without anything else having to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from .model import Measurement, Outcome, Reading, Verdict
from .plan import WITNESS, lookback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .model import Metric, Policy, Series
    from .plan import Window

STALE_AFTER = timedelta(seconds=15)  # beyond two steps; a guess that forgives one slow answer
QUANTILE = 0.99
RANK = {Outcome.FAIL: 0, Outcome.BLIND: 1, Outcome.SILENT: 2, Outcome.PASS: 3}


@dataclass(frozen=True, slots=True)
class _Arm:
    """What one revision did in the window."""

    requests: float
    value: float | None  # None: nothing to form a value of


def judge(policy: Policy | None, readings: Mapping[str, Reading], seen: Window | None, held: timedelta) -> Verdict:
    """Say what the readings of one step mean; ``held`` is taken off the time that counts as silent."""
    witness = readings.get(WITNESS)
    if witness is None:
        return Verdict(Outcome.SILENT, "nothing is measured now")
    points = [t for series in witness.series for t, _ in series.samples]
    blind = _blindness(witness, points, seen)
    if blind:
        return Verdict(Outcome.BLIND, blind)
    if seen is None or policy is None:
        return Verdict(Outcome.SILENT, "nothing to measure at this weight yet")
    measurements = tuple(_measure(metric, policy, readings) for metric in policy.metrics)
    outcome = min((m.outcome for m in measurements), key=RANK.__getitem__, default=Outcome.SILENT)
    because = "; ".join(m.because for m in measurements if m.outcome is outcome) or "the policy measures nothing"
    silent_for = max(_scraped(points, seen) - held, timedelta()) if outcome is Outcome.SILENT else timedelta()
    requests = tuple(
        sum(counted(readings.get(f"errors/{arm}", Reading()), "").values()) for arm in ("canary", "stable")
    )
    return Verdict(outcome, because, silent_for, measurements, (requests[0], requests[1]))


def _blindness(witness: Reading, points: list[float], seen: Window | None) -> str | None:
    """Say why nothing can be seen; None: Prometheus scrapes and answers."""
    if witness.blind:
        return witness.cause
    if not points:
        return witness.cause or "Prometheus answers, and has scraped nothing lately"
    if seen is not None:
        behind = seen.end.timestamp() - max(points)
        if behind > (2 * seen.step + STALE_AFTER).total_seconds():
            return f"Prometheus has scraped nothing for {behind:.0f} s"
    return None


def _scraped(points: Iterable[float], seen: Window) -> timedelta:
    """Add up the time in which Prometheus scraped; that it is still seen for a while after its last does not count."""
    at = sorted(set(points))
    step = seen.step.total_seconds()
    outages = sum(later - earlier > 1.5 * step for earlier, later in pairwise([*at, seen.end.timestamp()]))
    return seen.step * len(at) - outages * (lookback(seen.step) - seen.step)


def _measure(metric: Metric, policy: Policy, readings: Mapping[str, Reading]) -> Measurement:
    """Hold one metric against stable, against its limit, or both."""
    for name in (f"{metric.signal}/canary", f"{metric.signal}/stable", "errors/canary", "errors/stable"):
        reading = readings.get(name, Reading(cause="the query was not asked", blind=True))
        if reading.blind:
            return Measurement(metric=metric.name, outcome=Outcome.BLIND, because=f"{metric.name}: {reading.cause}")
    value, unit = SIGNALS[metric.signal]
    canary = _Arm(*value(readings, f"{metric.signal}/canary"))
    stable = _Arm(*value(readings, f"{metric.signal}/stable"))
    needed = {"canary": canary} if metric.tolerance is None else {"canary": canary, "stable": stable}
    for name, arm in needed.items():
        if arm.requests < policy.min_requests or arm.value is None:
            whose = "the canary" if name == "canary" else name
            because = f"{metric.name}: {arm.requests:.0f} of {policy.min_requests} requests needed of {whose}"
            cause = readings[f"{metric.signal}/{name}"].cause
            because += f" ({cause})" if cause else ""
            return Measurement(metric=metric.name, outcome=Outcome.SILENT, because=because, unit=unit)
    assert canary.value is not None
    return _held_against(metric, unit, canary.value, stable.value, canary.requests)


def _held_against(metric: Metric, unit: str, canary: float, stable: float | None, requests: float) -> Measurement:
    """Compare values with their limits; where stable breaks the absolute one too, an abort would cure nothing."""
    compared = None
    if metric.tolerance is not None and stable is not None:
        compared = stable * (1 + metric.tolerance) + metric.at_least
    said = [] if stable is None else [f"stable {amount(stable, unit)}"]
    said += [] if compared is None else [f"limit {amount(compared, unit)}"]
    said += [] if metric.maximum is None else [f"at most {amount(metric.maximum, unit)}"]
    because = f"{metric.name} {amount(canary, unit)} of {requests:,.0f} requests ({', '.join(said)})"
    outcome = Outcome.PASS
    if compared is not None and canary > compared:
        outcome = Outcome.FAIL
    elif metric.maximum is not None and canary > metric.maximum:
        shared = stable is not None and stable > metric.maximum
        outcome = Outcome.SILENT if shared else Outcome.FAIL
        because += "; stable breaks that too, so the canary is not to blame" if shared else ""
    return Measurement(
        metric=metric.name,
        outcome=outcome,
        because=because,
        canary=canary,
        stable=stable,
        limit=min((limit for limit in (compared, metric.maximum) if limit is not None), default=None),
        unit=unit,
    )


def amount(value: float, unit: str) -> str:
    """Write a value as people read it: a ratio in percent, seconds in milliseconds."""
    if unit == "ratio":
        return f"{value:.2%}" if value else "0%"
    return f"{value * 1000:,.0f} ms"


def increments(series: Series, *, born: bool) -> float:
    """Add up a counter's increase over its samples; a decrease is a restart and counts from zero.

    ``born``: the series came into being within the samples' window, so its first value counts too.
    """
    if not series.samples:
        return 0.0
    last = series.samples[0][1]
    total = last if born else 0.0
    for _, value in series.samples[1:]:
        total += value - last if value >= last else value
        last = value
    return total


def counted(reading: Reading, label: str) -> dict[str, float]:
    """Add up the increments of a reading by the value of a label; an empty label adds up all."""
    read = [series for series in reading.series if series.samples]
    first: dict[str, float] = {}  # pod -> its first sample; a lost scrape blanks all series of a pod together
    for series in read:
        at = series.samples[0][0]
        first[_pod(series)] = min(first.get(_pod(series), at), at)
    sums: dict[str, float] = {}
    for series in read:
        key = series.labels.get(label, "")
        born = series.samples[0][0] > first[_pod(series)]
        sums[key] = sums.get(key, 0.0) + increments(series, born=born)
    return sums


def _pod(series: Series) -> str:
    return series.labels.get("pod_name") or series.labels.get("pod") or series.labels.get("instance") or ""


def _errors(readings: Mapping[str, Reading], name: str) -> tuple[float, float | None]:
    """Share of requests that the server answered with 5xx."""
    classes = counted(readings[name], "response_code_class")
    requests = sum(classes.values())
    return requests, classes.get("5xx", 0.0) / requests if requests else None


def _latency(readings: Mapping[str, Reading], name: str) -> tuple[float, float | None]:
    """Quantile of a histogram in seconds, linear within its bucket; beyond the last edge it is that edge."""
    buckets = sorted((float(edge), count) for edge, count in counted(readings[name], "le").items() if edge)
    requests = buckets[-1][1] if buckets else 0.0
    if not requests:
        return 0.0, None
    rank, lower, below = QUANTILE * requests, 0.0, 0.0
    for edge, count in buckets:
        if count >= rank:
            if edge == float("inf"):
                return requests, lower / 1000
            inside = (rank - below) / (count - below) if count > below else 1.0
            return requests, (lower + (edge - lower) * inside) / 1000
        lower, below = edge, count
    return requests, lower / 1000


SIGNALS: dict[str, tuple[Callable[..., tuple[float, float | None]], str]] = {
    "errors": (_errors, "ratio"),
    "latency": (_latency, "seconds"),
}
