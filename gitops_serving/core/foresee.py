"""What a rollout will be able to see: how much worse a revision must be to be caught.

Said before a rollout starts, so that nobody takes a canary that sees nothing for one
that passed.  What the steps give at stable's present traffic is bet on as the tracks
will bet: on their alternatives, by their margins, with their belief of how far requests
resemble each other, and averaged over edges and metrics as theirs.  Every block is paid
its mean, so that the least effect whose evidence comes to a proof is one that about
every other rollout shows; more of them do where requests are independent of each other.

Plain breakage is left out, and so is what the evidence of the other metrics adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import stats
from .describe import amount
from .evidence import shares
from .measure import Kind
from .tracks import (
    CAP,
    CASH,
    ERROR_EFFECTS,
    ERRORS_PRIOR,
    FLOOR,
    HIGHEST,
    LATENCY_EFFECTS,
    LATENCY_PRIOR,
    LIMIT_PRIOR,
    SHARE,
    Errors,
    Latency,
    Limit,
    chosen,
    most,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .evidence import Evidence
    from .model import Policy

CLOSE = 1e-3  # relative; nobody reads more digits
SLOWEST = 100.0  # times as slow: who is slower than that needs no statistics
TIMES = 10.0  # as slow: from there on a percentage is hard to read
ALL = 0.999  # of the requests
PLENTY = 500.0  # logarithm of evidence beyond every bound, and of a number that there still is
PRIOR_BLOCKS = 4.0  # that the belief about the clumping of a limit weighs


class Stage(NamedTuple):
    """What a step gives: so many blocks, each with so many requests."""

    blocks: int
    canary: float
    stable: float


class Told(NamedTuple):
    """What can be detected, or that it cannot."""

    words: str
    seen: bool = True


@dataclass(frozen=True, slots=True)
class _Look:
    """What will be seen of one metric, and the evidence of it that is proof by itself."""

    name: str  # its signal's, as people call it
    stages: tuple[Stage, ...]
    proof: float


def foreseen(policy: Policy, evidence: Evidence) -> str:
    """Say what the policy's steps can detect at stable's present traffic, by the metrics that decide."""
    deciding = [question for question in evidence.terms.questions if question.decides]
    budget = {name: share for name, share, _ in shares(evidence)}
    untold = [f"of {each.name} nothing can be told beforehand" for each in deciding if each.kind is Kind.GAUGE]
    counted = [each for each in deciding if each.kind is not Kind.GAUGE]
    if not counted:
        return "; ".join(untold)
    rate = max(
        cutter.seen / (evidence.t - cutter.first) if cutter.seen and cutter.first is not None else 0.0
        for cutter in evidence.cutters.values()
    )
    if not rate:
        return "; ".join(["stable has no traffic to tell by what these steps could detect", *untold])
    signals = {metric.name: metric.pack.rpartition("/")[2] or metric.name for metric in policy.metrics}
    told = dict.fromkeys(
        _told(
            evidence.tracks[each.name],
            _Look(
                signals[each.name],
                tuple(given(policy, rate, each.delay)),
                evidence.terms.bound / budget[each.name],
            ),
        )
        for each in counted
    )
    seen = " or ".join(each.words for each in told if each.seen)
    unseen = [each.words for each in told if not each.seen]
    if not seen:  # then only reasons say more than that
        unseen = [words for words in unseen if ": " in words]
        canary = sum(stage.blocks * stage.canary for stage in given(policy, rate))
        seen = f"nothing: the canary would serve {canary:,.0f} requests"
    return "; ".join([f"at {_rate(rate)} these steps can detect {seen}", *unseen, *untold])


def given(policy: Policy, rate: float, delay: float = 0.0) -> list[Stage]:
    """List what each step gives at so many requests a second; ``delay``: seconds for which a signal speaks of before.

    A block waits for the canary's first request.
    """
    stages, warm_up = [], policy.timing.warm_up
    for step in policy.steps:
        canary, seconds = rate * step.weight / 100, (step.dwell - warm_up).total_seconds() - delay
        length = max(policy.timing.block.total_seconds(), 1 / canary)
        blocks = max(math.floor(seconds / length + 0.5), 0)  # half a block at the end is one too
        stages.append(Stage(blocks, canary * length, (rate - canary) * length))
        warm_up = policy.timing.warm_up_after_shift
    return stages


def _rate(rate: float) -> str:
    return f"{rate:.0f} requests/s" if rate >= 10 else f"{rate:.2g} requests/s"


def _up(number: float) -> str:
    """Write two digits of a number, and never less than it is: what is promised has to be kept."""
    digit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / digit - 1e-9) * digit:.2g}"


def _told(track: object, look: _Look) -> Told:
    """Say what one metric can detect, or that it cannot."""
    if isinstance(track, Errors):
        return _errors(track, look)
    assert isinstance(track, Latency)
    if not track.memory.requests or not track.edges:
        return Told(f"no {look.name}: of stable nothing is known yet", seen=False)
    return _slow(track, look) if track.margin.tolerance is None else _slower(track, look)


# -- errors ----------------------------------------------------------------------------------------------------------


def _errors(track: Errors, look: _Look) -> Told:
    """Say which rate of errors can be told from stable's, or from the limit."""
    margin, limit = track.margin, track.limit
    compared, usual = margin.tolerance is not None, _usual(track, 0)
    if not compared and limit is not None and usual >= limit.rate:
        return Told(f"no {look.name}: stable is above the limit itself", seen=False)
    border = (1 + (margin.tolerance or 0.0)) * track.rate + margin.at_least if compared else margin.limit or 0.0

    def proves(bad: float) -> bool:
        values = [_errors_value(track, look.stages, bad)] if compared else []
        values += [] if limit is None else [_limited(limit, look.stages, bad, usual, ERRORS_PRIOR)]
        return sum(values) / len(values) >= look.proof

    bad = _least(proves, border, ALL)
    if bad is None:
        return Told(f"no {look.name}, however many", seen=False)
    if compared:
        return Told(f"{look.name} of +{_up((bad - track.rate) * 100)} points")
    return Told(f"{look.name} above {_up(bad * 100)}%")


def _usual(track: Errors | Latency, row: int) -> float:
    """Say how often stable was bad, as it was counted."""
    return track.memory.bad[row] / track.memory.requests if track.memory.requests else 0.0


def _errors_value(track: Errors, stages: Sequence[Stage], bad: float) -> float:
    """Foresee the evidence of the comparison, if the canary fails at this rate."""
    usual, margin = track.rate, (1 + (track.margin.tolerance or 0.0), track.margin.at_least)
    bets = [min(effect * (margin[0] * usual + margin[1]), HIGHEST) for effect in ERROR_EFFECTS]
    growths = []
    for _, canary, stable in stages:
        counts = (canary * bad, canary), (stable * usual, stable)
        logs = [stats.two_sample_log_e(*counts, (bet, usual), margin)[0] / ERRORS_PRIOR for bet in bets]
        growths.append([math.log(FLOOR + (1 - FLOOR) * math.exp(min(log, 50.0))) for log in logs])
    return _grown(stages, growths, [most(stage.canary) for stage in stages])


# -- latency ---------------------------------------------------------------------------------------------------------


def _slower(track: Latency, look: _Look) -> Told:
    """Say how much slower than stable's can be told."""
    rows, limit, at = chosen(track.exceeding), track.limit, track.limit_row
    if not rows:
        return Told(f"no {look.name}: stable's lies beyond its buckets", seen=False)

    def proves(factor: float) -> bool:
        values = [sum(_edge_value(track, look.stages, row, factor) for row in rows) / len(rows)]
        if limit is not None and at is not None:
            values.append(_limited(limit, look.stages, _slowed(track, at, factor), _usual(track, at), LATENCY_PRIOR))
        return sum(values) / len(values) >= look.proof

    factor = _least(proves, 1 + (track.margin.tolerance or 0.0), SLOWEST)
    if factor is None:
        return Told(f"of {look.name} nothing is promised up to {SLOWEST:.0f} times stable's", seen=False)
    if factor >= TIMES:
        return Told(f"{look.name} of {math.ceil(factor)} times stable's")
    return Told(f"{look.name} of +{math.ceil((factor - 1) * 100)}%")


def _slow(track: Latency, look: _Look) -> Told:
    """Say how many answers beyond the limit can be told."""
    limit, at = track.limit, track.limit_row
    if limit is None or at is None:
        return Told(f"no {look.name}: its limit lies beyond the last bucket", seen=False)
    usual = _usual(track, at)
    if usual >= limit.rate:
        return Told(f"no {look.name}: stable is above the limit itself", seen=False)
    bad = _least(lambda share: _limited(limit, look.stages, share, usual, LATENCY_PRIOR) >= look.proof, limit.rate, ALL)
    if bad is None:
        return Told(f"no {look.name}, however slow", seen=False)
    return Told(f"{look.name} above {amount(track.edges[at], 'seconds')} in {_up(bad * 100)}% of answers")


def _slowed(track: Latency, row: int, factor: float) -> float:
    """The share of answers that are slower than an edge when all take so many times as long."""
    exceeding = track.exceeding
    sigma = stats.local_sigma(track.edges, exceeding, row)
    return stats.normal(stats.probit(exceeding[row]) + math.log(factor) / sigma)


def _edge_value(track: Latency, stages: Sequence[Stage], row: int, factor: float) -> float:
    """Foresee the evidence at one edge, if all answers take so many times as long."""
    margin, exceeding = track.margin, track.exceeding
    usual, sigma = exceeding[row], stats.local_sigma(track.edges, exceeding, row)
    shift = math.log(1 + (margin.tolerance or 0.0) + margin.at_least / track.edges[row]) / sigma
    tangent, bad = stats.probit_margin(usual, shift), _slowed(track, row, factor)
    bets = [min(stats.normal(stats.probit(usual) + shift * effect), HIGHEST) for effect in LATENCY_EFFECTS]
    growths = []
    for _, canary, stable in stages:
        counts = (canary * bad, canary), (stable * usual, stable)
        growths.append([stats.two_sample_log_e(*counts, (bet, usual), tangent)[0] / LATENCY_PRIOR for bet in bets])
    return _grown(stages, growths, [CAP] * len(stages))


# -- evidence --------------------------------------------------------------------------------------------------------


def _grown(stages: Sequence[Stage], growths: Sequence[Sequence[float]], caps: Sequence[float]) -> float:
    """Let wealth grow through all blocks, by the same logarithms in all of one step; the most that it comes to.

    A block is a linear map of the parts, cash first: each is paid its bet, and a share of all is spread anew.
    """
    alternatives = len(growths[0])
    prior = np.array([CASH, *[(1 - CASH) / alternatives] * alternatives])
    parts, best = prior, 1.0
    for stage, logs, cap in zip(stages, growths, caps, strict=True):
        if stage.blocks and best < math.exp(PLENTY / 2):
            paid = np.exp(np.minimum((0.0, *logs), min(math.log(cap), PLENTY / 2 / stage.blocks)))
            block = (1 - SHARE) * np.diag(paid) + SHARE * np.outer(prior, paid)
            parts = np.linalg.matrix_power(block, stage.blocks) @ parts
            best = max(best, float(parts.sum()))
    return best


def _limited(limit: Limit, stages: Sequence[Stage], bad: float, usual: float, clumped: float) -> float:
    """Foresee the evidence that a rate is above a limit, from the blocks in which stable's is not."""
    counted = blocks = ceiling = 0.0
    for stage in stages:
        spare = (limit.rate - usual) * stage.stable / math.sqrt(max(usual * (1 - usual) * stage.stable, 1e-12))
        kept = stats.normal(spare) * stage.blocks
        counted, blocks = counted + kept * stage.canary, blocks + kept
        ceiling += kept * math.log(most(stage.canary))
    phi = (PRIOR_BLOCKS * LIMIT_PRIOR + blocks * clumped) / (PRIOR_BLOCKS + blocks)
    log_e = stats.above_log_e(counted * bad / phi, counted / phi, limit.rate)
    return math.exp(min(log_e, ceiling, PLENTY))


def _least(proves: Callable[[float], bool], low: float, high: float) -> float | None:
    """Find the least effect that is proved, by halving; None: not even the greatest."""
    if low >= high or not proves(high):
        return None
    while high - low > CLOSE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high
