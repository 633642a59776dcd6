"""Blocks to wealth: the evidence that one metric has gathered against the canary.

One kind of track for each question: are errors more frequent than stable's by more than
the margin, are answers slower at any of up to six bucket edges, is a limit broken, do
predictions drift, or is the canary simply broken; `gauges` has the one of numbers.  A
track is a value; `after` returns the next one, and what it bets on a block comes from the
blocks before.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from . import stats
from .blocks import HISTORY, Counts
from .stats import Wealth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .blocks import Block

CASH, SHARE = 0.25, 0.02
CAP = 5.0  # no block multiplies the evidence by more than this: it takes at least three bad ones
GROSS_CAP = 2.5  # likewise of a look
FLOOR = 0.1  # no block divides a bet by more than ten: an incident of both must not wipe out what was gathered
UNUSUAL = 5.0  # times as many errors of stable as expected are an incident; nothing is bet while one lasts
REMEMBERED = 0.98  # of what is known of stable, from block to block
RECENT = 60  # blocks that the dispersion is estimated from: half an hour
HIGHEST = 0.95  # of a rate that is bet on
EDGES = 6  # of a histogram that are bet on
RARELY, OFTEN = 0.0002, 0.85  # how often stable exceeds an edge that is bet on
ERROR_EFFECTS = (1.6, 3.0, 8.0)  # times the margin's border
LATENCY_EFFECTS = (1.8, 3.5, 8.0)  # times the margin, on the probit scale
ERRORS_PRIOR, LATENCY_PRIOR = 2.0, 1.5  # dispersion before there are blocks
LIMIT_PRIOR = 6.0  # likewise, where nothing of what hits both arms cancels
SLOW = 0.01  # of all answers may be slower than a limit of latency, which is one of the 99th percentile
PSEUDO = 20.0  # counts that stand for what is expected, where predictions are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What the canary is allowed, relative to stable and on top of it; None: not compared."""

    tolerance: float | None = None
    at_least: float = 0.0
    limit: float | None = None  # absolute; None: none


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of stable: sums over blocks that are forgotten slowly, and never quite."""

    requests: float = 0.0
    bad: tuple[float, ...] = ()

    def after(self, counts: Counts) -> Memory:
        """Remember one more block."""
        before = self.bad or (0.0,) * len(counts.bad)
        bad = tuple(REMEMBERED * old + new for old, new in zip(before, counts.bad, strict=True))
        return Memory(REMEMBERED * self.requests + counts.requests, bad)


@dataclass(frozen=True, slots=True)
class Spread:
    """The recent blocks, by which it is told how far requests resemble each other."""

    blocks: tuple[bytes, ...] = ()  # as arrays are read: of either arm its requests, then what was bad of them

    def after(self, block: Block) -> Spread:
        """Add a block; the oldest is forgotten."""
        row = array("d", (block.canary.requests, *block.canary.bad, block.stable.requests, *block.stable.bad))
        return Spread((*self.blocks, row.tobytes())[-RECENT:])

    def tempering(self, rows: Sequence[int], prior: float, n_c: float, n_b: float) -> stats.Floats:
        """By what log e-values of the next block, with so many requests, are to be divided; (rows,)."""
        priors = np.full(len(rows), prior)
        if not self.blocks:
            return priors
        told = np.frombuffer(b"".join(self.blocks)).reshape(len(self.blocks), 2, -1)
        canary, stable, of = told[:, 0], told[:, 1], [1 + row for row in rows]
        seen = stats.dispersion(canary[:, of], canary[:, 0], stable[:, of], stable[:, 0], priors)
        return stats.tempering(*seen, n_c, n_b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Evidence that a rate is above an absolute limit, in either revision."""

    rate: float  # that is allowed
    counted: tuple[float, float] = (0.0, 0.0)  # the canary's bad and all, of blocks in which stable kept the limit
    recent: tuple[tuple[float, float], ...] = ()  # the newest of these blocks
    kept: int = 0  # blocks in which stable kept the limit
    broken: int = 0  # and in which it did not
    value: float = 1.0  # the canary's e-value

    def after(self, bad: tuple[float, float], requests: tuple[float, float]) -> Limit:
        """Add a block; one in which stable was above the limit is nobody's fault, and no evidence."""
        if bad[1] > self.rate * requests[1]:
            return replace(self, broken=self.broken + 1)
        counted = (self.counted[0] + bad[0], self.counted[1] + requests[0])
        recent = (*self.recent, (bad[0], requests[0]))[-RECENT:]
        phi = stats.clumping(recent, LIMIT_PRIOR)
        log_e = stats.above_log_e(counted[0] / phi, counted[1] / phi, self.rate)
        value = capped(self.value, log_e, most(requests[0]))
        return replace(self, counted=counted, recent=recent, kept=self.kept + 1, value=value)

    @property
    def against(self) -> float:
        """What of the evidence is held against the canary: nothing where stable mostly breaks the limit too."""
        return min(self.value, 1.0) if self.shared else self.value

    @property
    def over(self) -> bool:
        """Whether the limit is broken, by chance or not, by whomever."""
        return self.shared or self.counted[0] > self.rate * self.counted[1]

    @property
    def shared(self) -> bool:
        """Whether stable breaks it mostly too: then going back would cure nothing."""
        return self.broken > self.kept


def most(requests: float) -> float:
    """By how much a block with so many canary requests may multiply evidence: one cluster can fill a small block."""
    return min(2 + requests / 10, CAP)


def capped(before: float, log_e: float, cap: float = CAP) -> float:
    """A smaller e-value is one as well."""
    return min(math.exp(min(log_e, 500.0)), cap * max(1.0, before))


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Counts of bad requests, compared with stable's, held against a limit, or both."""

    margin: Margin
    memory: Memory = Memory()
    unusual: bool = False  # whether stable's last block was an incident
    spread: Spread = Spread()
    wealth: Wealth | None = field(
        default_factory=lambda: Wealth.new(len(ERROR_EFFECTS), cash=CASH, share=SHARE, cap=CAP)
    )
    limit: Limit | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """The e-values; their mean is the metric's."""
        compared = () if self.wealth is None else (self.wealth.value,)
        return (*compared, *([] if self.limit is None else [self.limit.against]))

    def after(self, block: Block) -> Errors:
        """Bet on a block."""
        track = self if block.step == HISTORY else self._bet(block)
        usual = UNUSUAL * self.rate * block.stable.requests + UNUSUAL
        bad = min(block.stable.bad[0], usual)  # an incident says little about the usual rate
        return replace(
            track,
            unusual=block.stable.bad[0] > usual,
            memory=self.memory.after(Counts(block.stable.requests, (bad,))),
        )

    def _bet(self, block: Block) -> Errors:
        n_c, n_b = block.canary.requests, block.stable.requests
        e_c, e_b = block.canary.bad[0], block.stable.bad[0]
        phi = float(self.spread.tempering([0], ERRORS_PRIOR, n_c, n_b)[0])
        wealth = self.wealth
        if wealth is not None and self.margin.tolerance is not None and not self.unusual:
            rho, delta, b = 1 + self.margin.tolerance, self.margin.at_least, self.rate
            bets = [min(effect * (rho * b + delta), HIGHEST) for effect in ERROR_EFFECTS]
            log_e = [stats.two_sample_log_e((e_c, n_c), (e_b, n_b), (a, b), (rho, delta))[0] / phi for a in bets]
            wealth = wealth.after(
                [math.log(FLOOR + (1 - FLOOR) * math.exp(min(each, 50.0))) for each in log_e],
                cap=most(n_c),
            )
        return replace(
            self,
            wealth=wealth,
            limit=self.limit and self.limit.after((e_c, e_b), (n_c, n_b)),
            spread=self.spread.after(block),
        )

    @property
    def rate(self) -> float:
        """How often stable is expected to be bad."""
        bad = self.memory.bad[0] if self.memory.bad else 0.0
        return (bad + 0.25) / (self.memory.requests + 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Requests slower than each edge of a histogram: compared at up to six edges, limited at one."""

    margin: Margin
    edges: tuple[float, ...] = ()  # in the margin's unit, finite, rising; empty: not known yet
    rows: tuple[int, ...] = ()  # the edges that are bet on; empty: not chosen yet
    memory: Memory = Memory()
    spread: Spread = Spread()
    wealth: tuple[Wealth, ...] = ()
    limit: Limit | None = None
    limit_row: int | None = None

    def over(self, edges: tuple[float, ...]) -> Latency:
        """Take note of the edges, and of the lowest at or above the limit: what is beyond it broke the limit."""
        limit, row = self.margin.limit, None
        if limit is not None:
            row = next((row for row, edge in enumerate(edges) if edge >= limit * (1 - 1e-9)), None)
        return replace(self, edges=edges, limit_row=row, limit=None if row is None else Limit(rate=SLOW))

    @property
    def values(self) -> tuple[float, ...]:
        """The e-values; their mean is the metric's."""
        compared = (sum(each.value for each in self.wealth) / len(self.wealth),) if self.wealth else ()
        return (*compared, *([] if self.limit is None else [self.limit.against]))

    def after(self, block: Block) -> Latency:
        """Bet on a block; the first one without a history before it is only looked at."""
        return replace(self if block.step == HISTORY else self._bet(block), memory=self.memory.after(block.stable))

    def _bet(self, block: Block) -> Latency:
        rows, wealth = self.rows, self.wealth
        if not rows and self.margin.tolerance is not None and self.memory.requests > 0:
            rows = chosen(self.exceeding)
            wealth = tuple(Wealth.new(len(LATENCY_EFFECTS), cash=CASH, share=SHARE, cap=CAP) for _ in rows)
        n_c, n_b = block.canary.requests, block.stable.requests
        if rows:
            exceeding, phi = self.exceeding, self.spread.tempering(rows, LATENCY_PRIOR, n_c, n_b)
            wealth = tuple(
                each.after([log_e / by for log_e in self._log_e(block, row, exceeding)])
                for each, row, by in zip(wealth, rows, phi.tolist(), strict=True)
            )
        limit = self.limit
        if limit is not None and self.limit_row is not None:
            bad = (block.canary.bad[self.limit_row], block.stable.bad[self.limit_row])
            limit = limit.after(bad, (n_c, n_b))
        return replace(self, rows=rows, wealth=wealth, limit=limit, spread=self.spread.after(block))

    def _log_e(self, block: Block, row: int, exceeding: tuple[float, ...]) -> list[float]:
        """Log e-values of a block at one edge, one an alternative, before tempering."""
        assert self.margin.tolerance is not None
        canary, stable, p = block.canary, block.stable, exceeding[row]
        sigma = stats.local_sigma(self.edges, exceeding, row)
        shift = math.log(1 + self.margin.tolerance + self.margin.at_least / self.edges[row]) / sigma
        rho, delta = stats.probit_margin(p, shift)
        bets = [min(stats.normal(stats.probit(p) + shift * effect), HIGHEST) for effect in LATENCY_EFFECTS]
        counts = ((canary.bad[row], canary.requests), (stable.bad[row], stable.requests))
        return [stats.two_sample_log_e(*counts, (a, p), (rho, delta))[0] for a in bets]

    @property
    def exceeding(self) -> tuple[float, ...]:
        """The share of stable's answers that are expected to be slower than each edge."""
        requests = self.memory.requests + 1
        return tuple((bad + 0.5) / requests for bad in self.memory.bad or (0.0,) * len(self.edges))


def chosen(exceeding: Sequence[float]) -> tuple[int, ...]:
    """Choose the edges to bet on: exceeded neither almost never nor almost always, or else the lowest of the former."""
    floor = min(exceeding)
    usable = [
        row
        for row, share in enumerate(exceeding)
        if RARELY <= share <= OFTEN and not (share == floor and row > 0 and exceeding[row - 1] == floor)
    ]
    if not usable and floor < RARELY:  # stable is never slow at all: then whatever is, is news
        usable = [next(row for row, share in enumerate(exceeding) if share == floor)]
    if len(usable) <= EDGES:
        return tuple(usable)
    return tuple(usable[round(i * (len(usable) - 1) / (EDGES - 1))] for i in range(EDGES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gross:
    """Plain breakage, seen in single looks and from the first: a quarter more of all requests fail than stable's."""

    wealth: Wealth = field(default_factory=lambda: Wealth.new(2, cash=CASH, share=SHARE, cap=GROSS_CAP))
    memory: Memory = Memory()

    def after(self, canary: Counts, stable: Counts) -> Gross:
        """Bet on what happened between two looks."""
        canary, stable = canary.sane, stable.sane
        bad = self.memory.bad[0] if self.memory.bad else 0.0
        b = (bad + 0.25) / (self.memory.requests + 50)
        wealth = self.wealth
        if canary.requests and stable.requests:
            counts = ((canary.bad[0], canary.requests), (stable.bad[0], stable.requests))
            phi = max(2.0, 4.0 - canary.requests / 4)
            wealth = wealth.after([stats.two_sample_log_e(*counts, (a, b), (1.0, 0.25))[0] / phi for a in (0.5, 0.95)])
        return replace(self, wealth=wealth, memory=self.memory.after(Counts(stable.requests, stable.bad[:1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How predictions are spread over the buckets of a histogram: another model may well predict otherwise."""

    canary: tuple[float, ...] = ()  # counts by bucket, of the blocks so far
    stable: tuple[float, ...] = ()
    wealth: Wealth = field(default_factory=lambda: Wealth.new(1, cash=CASH, share=SHARE, cap=CAP))

    @property
    def values(self) -> tuple[float, ...]:
        """The e-value."""
        return (self.wealth.value,)

    def after(self, block: Block) -> Drift:
        """Bet on a block; the first one is only looked at."""
        c_c, c_b = _by_bucket(block.canary), _by_bucket(block.stable)
        wealth = self.wealth
        if block.step != HISTORY and self.stable:
            canary = self.canary or (0.0,) * len(c_c)
            pooled = _shares([one + other for one, other in zip(canary, self.stable, strict=True)], None)
            a, b = _shares(canary, pooled), _shares(self.stable, pooled)
            wealth = wealth.after([stats.multinomial_log_e(c_c, c_b, a, b) / LATENCY_PRIOR])
        return replace(self, canary=_sum(self.canary, c_c), stable=_sum(self.stable, c_b), wealth=wealth)


def _by_bucket(counts: Counts) -> tuple[float, ...]:
    """Requests in each bucket, from those beyond each edge."""
    beyond = (counts.requests, *counts.bad, 0.0)
    return tuple(max(outer - inner, 0.0) for outer, inner in pairwise(beyond))


def _sum(before: tuple[float, ...], more: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(before, more, strict=True)) if before else more


def _shares(counts: Sequence[float], towards: Sequence[float] | None) -> tuple[float, ...]:
    """Turn counts into shares, none of them 0, drawn towards others by some pseudo-counts."""
    weight = PSEUDO if towards else 1.0
    towards = towards or (1 / len(counts),) * len(counts)
    total = sum(counts) + weight
    return tuple((count + weight * share) / total for count, share in zip(counts, towards, strict=True))
