"""What a rollout will be able to see: how much worse a revision must be to be caught.

Said before a rollout starts, so that nobody takes a canary that sees nothing for one
that passed.  About ``phi * (ln bound + 2.6) / KL(bad || border)`` canary requests show a
rate that is bad, where the border is the highest rate that the margin allows; the
requests are what the steps give at stable's present traffic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import stats
from .tracks import ERRORS_PRIOR, LATENCY_PRIOR, Errors, Latency, chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evidence import Evidence
    from .model import Policy

START_UP = 2.6  # nats that the bets cost until they pay; read off simulated rollouts
CLOSE = 1e-3  # relative; nobody reads more digits
SLOWEST = 20.0  # times as slow: who is slower than that needs no statistics


def requests_needed(bad: float, border: float, phi: float, bound: float) -> float:
    """How many canary requests show a rate that is bad, where the border is the highest that is allowed."""
    if not border < bad < 1:
        return math.inf
    divergence = bad * math.log(bad / border) + (1 - bad) * math.log((1 - bad) / (1 - border))
    return phi * (math.log(bound) + START_UP) / divergence


def foreseen(policy: Policy, evidence: Evidence) -> str:
    """Say what the policy's steps can detect at stable's present traffic; empty: there is none to tell by."""
    traffic = [
        cutter.seen / (evidence.t - cutter.first)
        for cutter in evidence.cutters.values()
        if cutter.seen and cutter.first is not None
    ]
    if not traffic:
        return "stable has no traffic to tell by what these steps could detect"
    rate = max(traffic)
    warm_up = policy.timing.warm_up_after_shift.total_seconds()
    seconds = sum(step.weight / 100 * max(step.dwell.total_seconds() - warm_up, 0.0) for step in policy.steps)
    canary = rate * seconds
    parts = [part for metric in policy.metrics if (part := _part(evidence, metric.name, canary))]
    detected = " or ".join(dict.fromkeys(parts))
    if not detected:
        return f"at {_rate(rate)} these steps can detect nothing: the canary would serve {canary:,.0f} requests"
    return f"at {_rate(rate)} these steps can detect {detected}"


def _rate(rate: float) -> str:
    return f"{rate:.0f} requests/s" if rate >= 10 else f"{rate:.2g} requests/s"


def _part(evidence: Evidence, name: str, canary: float) -> str:
    """Say what one metric can detect; empty: nothing."""
    track, bound = evidence.tracks[name], evidence.terms.bound
    if isinstance(track, Errors) and track.margin.tolerance is not None:
        border = (1 + track.margin.tolerance) * track.rate + track.margin.at_least
        bad = _least(lambda rate: requests_needed(rate, border, ERRORS_PRIOR, bound), border, 0.999, canary)
        return "" if bad is None else f"errors of +{(bad - track.rate) * 100:.2g} points"
    if isinstance(track, Latency) and track.margin.tolerance is not None and track.memory.requests:
        slower = _least(lambda factor: _slower_needs(track, factor, bound), 1 + track.margin.tolerance, SLOWEST, canary)
        return "" if slower is None else f"latency of +{(slower - 1) * 100:.0f}%"
    return ""


def _slower_needs(track: Latency, factor: float, bound: float) -> float:
    """How many canary requests show that all answers take so many times as long, at the edge that shows it best."""
    exceeding, needed = track.exceeding, math.inf
    assert track.margin.tolerance is not None
    for row in chosen(exceeding):
        z, sigma = stats.probit(exceeding[row]), stats.local_sigma(track.edges, exceeding, row)
        allowed = math.log(1 + track.margin.tolerance + track.margin.at_least / track.edges[row])
        border, bad = stats.normal(z + allowed / sigma), stats.normal(z + math.log(factor) / sigma)
        needed = min(needed, requests_needed(bad, border, LATENCY_PRIOR, bound))
    return needed


def _least(needs: Callable[[float], float], low: float, high: float, requests: float) -> float | None:
    """Find the least effect that so many requests show, by halving; None: not even the greatest."""
    if needs(high) > requests:
        return None
    while high - low > CLOSE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if needs(middle) > requests else (low, middle)
    return high
