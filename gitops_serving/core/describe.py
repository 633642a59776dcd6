"""Evidence in words: what was measured of each metric, beside stable and against its limit.

The same line serves commit, command line and page.  It says what both revisions did,
how many requests that rests on, what was allowed, and how much the evidence is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .evidence import lacking, shares, value
from .gauges import FEWEST, Gauge
from .measure import Kind, Measurement, Outcome
from .tracks import SLOW, Drift, Errors, Latency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .blocks import Counts
    from .evidence import Evidence
    from .measure import Metric
    from .model import Policy

NO_WINDOW = ": no window of it is over yet"
UNITS = {Kind.COUNTER: "ratio", Kind.HISTOGRAM: "seconds"}


def described(
    policy: Policy, evidence: Evidence, wrong: Mapping[str, str], *, failing: bool
) -> tuple[Measurement, ...]:
    """Say of every metric, in the policy's order, what it measured; a failing rollout names its culprits."""
    lacks = lacking(evidence)
    guilty = culprits(evidence) if failing else ()
    found = [
        _misread(metric, wrong[metric.name])
        if metric.name in wrong
        else _measured(policy, metric, evidence, lacks.get(metric.name, ""), guilty=metric.name in guilty)
        for metric in policy.metrics
    ]
    return (*found, *([_broken(evidence)] if "breakage" in guilty else []))


def culprits(evidence: Evidence) -> tuple[str, ...]:
    """Name what carries the proof: the largest contribution, and whatever would be proof alone."""
    parts = sorted(shares(evidence), key=lambda each: -each[1] * each[2])
    return tuple(name for name, _, e in parts[:1] + [part for part in parts[1:] if part[2] >= evidence.terms.bound])


def _misread(metric: Metric, cause: str) -> Measurement:
    return Measurement(
        metric=metric.name,
        outcome=Outcome.SILENT,
        because=f"{metric.name}: {cause}",
        unit=metric.unit,
        enforced=metric.enforced,
    )


def _measured(policy: Policy, metric: Metric, evidence: Evidence, lack: str, *, guilty: bool) -> Measurement:
    """Describe one metric that can be read."""
    e = value(evidence, metric.name)
    outcome = Outcome.FAIL if guilty else Outcome.SILENT if lack else Outcome.PASS
    track, tally = evidence.tracks[metric.name], evidence.tallies[metric.name]
    canary = stable = limit = None
    if isinstance(track, Gauge):
        words, canary, stable = _gauge(metric, track) if tally.blocks else (NO_WINDOW, None, None)
    elif isinstance(track, Drift):
        words = f"predictions are spread {'otherwise than' if lack == 'drift' else 'as'} stable's"
        words = NO_WINDOW if lack == "windows" else words
    elif tally.canary is None or tally.stable is None:
        words = f": {_needed(policy, evidence, metric)}"
    elif lack == "edges":
        words = ": nearly all of stable's answers lie beyond its buckets, so that none tells faster from slower"
    elif isinstance(track, Errors):
        canary, stable = rate(tally.canary), rate(tally.stable)
        limit = _allowed(metric, stable)
        words = _counted(tally.canary, tally.stable, limit)
    else:
        canary, stable = (quantile(counts, track.edges) for counts in (tally.canary, tally.stable))
        limit = _allowed(metric, stable)
        words = _timed(track, tally.canary, tally.stable, (canary, stable, limit), guilty=guilty)
    because = f"{metric.name}{words if words.startswith(':') else ' ' + words}{_bounded(metric, track)}"
    if canary is not None or isinstance(track, Drift):
        because += f"; evidence {short(e)}" + (", which smells" if lack == "smells" and not guilty else "")
    if lack == "stale":
        because += f"; nothing new has come in for {evidence.t - tally.last:.0f} s"
    if lack in {"requests", "few"} and canary is not None and not guilty:
        because += f"; {_needed(policy, evidence, metric)}"
    return Measurement(
        metric=metric.name,
        outcome=outcome,
        because=f"(dry run) {because}" if not metric.enforced else because,
        canary=canary,
        stable=stable,
        limit=min((each for each in (limit, metric.maximum) if each is not None), default=None),
        unit=UNITS.get(metric.kind, metric.unit),
        requests=None
        if tally.canary is None or tally.stable is None
        else (tally.canary.requests, tally.stable.requests),
        e=e,
        enforced=metric.enforced,
    )


def _needed(policy: Policy, evidence: Evidence, metric: Metric) -> str:
    """Say how much there is of what must have been seen: of requests at this weight, or of a gauge's windows."""
    track = evidence.tracks[metric.name]
    if isinstance(track, Gauge):
        return f"{track.windows} of {FEWEST} windows needed before it says anything"
    served = evidence.tallies[metric.name].requests[0]
    if served >= policy.min_requests:
        return "one more block needed, to bet on by this one"
    return f"{served:,.0f} of {policy.min_requests:,} requests needed of the canary at this weight"


def _allowed(metric: Metric, stable: float) -> float | None:
    """The highest value that would not count against the canary, by comparison; None: it is not compared."""
    return None if metric.tolerance is None else stable * (1 + metric.tolerance) + metric.at_least


def _counted(canary: Counts, stable: Counts, limit: float | None) -> str:
    words = f"{amount(rate(canary), 'ratio')} of {canary.requests:,.0f} requests, "
    words += f"stable {amount(rate(stable), 'ratio')} of {stable.requests:,.0f}"
    return words + ("" if limit is None else f" (up to {amount(limit, 'ratio')} is allowed)")


def _timed(
    track: Latency, canary: Counts, stable: Counts, values: tuple[float, float, float | None], *, guilty: bool
) -> str:
    at, beside, limit = values
    words = f"p99 {amount(at, 'seconds')} of {canary.requests:,.0f} requests, "
    words += f"stable {amount(beside, 'seconds')} of {stable.requests:,.0f}"
    words += "" if limit is None else f" (up to {amount(limit, 'seconds')} is allowed)"
    if guilty and track.rows:
        row, _ = max(zip(track.rows, track.wealth, strict=True), key=lambda each: each[1].value)
        slower = f"; slower than {amount(track.edges[row], 'seconds')}: {amount(rate(canary, row), 'ratio')}"
        words += f"{slower}, stable {amount(rate(stable, row), 'ratio')}"
    return words


def _gauge(metric: Metric, track: Gauge) -> tuple[str, float | None, float | None]:
    if not track.windows:
        return NO_WINDOW, None, None
    canary, stable = (total / track.windows for total in track.total)
    words = f"{amount(canary, metric.unit)}, stable {amount(stable, metric.unit)}, over {track.windows} windows"
    if metric.tolerance is not None:
        margin = f"{metric.tolerance:.3g}" if not metric.tolerance else f"{metric.tolerance:.0%}"
        extra = f" and {amount(metric.at_least, metric.unit)}" if metric.at_least else ""
        words += f" ({margin}{extra} worse is allowed)"
    return words, canary, stable


def _bounded(metric: Metric, track: object) -> str:
    """Say how it stands with an absolute limit; empty: there is none."""
    maximum = metric.minimum if metric.higher_is_better else metric.maximum
    if maximum is None:
        return ""
    words = f"; at {'least' if metric.higher_is_better else 'most'} {amount(maximum, metric.unit)}"
    limit = track if isinstance(track, Gauge) else getattr(track, "limit", None)
    if isinstance(track, Latency) and track.edges and track.limit is None:
        return f"{words}, which lies beyond its last bucket: nothing can be said of it"
    if limit is None or not limit.over:
        return words
    return (
        f"{words}; stable breaks that too, so the canary is not to blame" if limit.shared else f"{words}: it is above"
    )


def _broken(evidence: Evidence) -> Measurement:
    """Describe plain breakage."""
    canary, stable = evidence.looked
    gross = evidence.gross
    assert gross is not None
    words = "requests fail, at least a quarter more of them than of stable's"
    if canary is not None and stable is not None:
        words = f"{amount(rate(canary), 'ratio')} of {canary.requests:,.0f} requests failed, at least a quarter more "
        words += f"than stable's {amount(rate(stable), 'ratio')}"
    e = gross.wealth.value
    return Measurement(
        metric="breakage", outcome=Outcome.FAIL, because=f"breakage: {words}; evidence {short(e)}", unit="ratio", e=e
    )


def proof(evidence: Evidence, measurements: Sequence[Measurement]) -> str:
    """Say what the failure rests on."""
    guilty = "; ".join(m.because for m in measurements if m.outcome is Outcome.FAIL)
    return f"{guilty}; all together {short(evidence.total)}, and {short(evidence.terms.bound)} is proof"


def rate(counts: Counts, row: int = 0) -> float:
    """The share of requests that were bad."""
    return counts.bad[row] / counts.requests if counts.requests else 0.0


def quantile(counts: Counts, edges: Sequence[float], share: float = SLOW) -> float:
    """The value that this share of requests exceeds, linear within its bucket; beyond the last edge it is that edge."""
    wanted, before, lower = share * counts.requests, counts.requests, 0.0
    for above, edge in zip(counts.bad, edges, strict=True):
        if above <= wanted:
            inside = (before - wanted) / (before - above) if before > above else 1.0
            return lower + (edge - lower) * inside
        before, lower = above, edge
    return lower


def short(e: float) -> str:
    """Write an e-value as briefly as it deserves."""
    return f"{e:,.0f}" if e >= 10 else f"{e:.2g}"


def amount(number: float, unit: str) -> str:
    """Write a value as people read it: a ratio in percent, seconds in milliseconds."""
    if unit == "ratio":
        return f"{number:.2%}" if number else "0%"
    return f"{number * 1000:,.0f} ms" if unit == "seconds" else f"{number:.4g}"
