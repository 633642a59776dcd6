"""The formulas of sequential evidence: counts of two revisions in, e-values out.

An *e-value* is a number that is never negative and whose mean is at most 1 while the
canary is no worse than its margin allows.  A product of e-values of successive blocks
is an *e-process*: the chance that it ever reaches ``1 / alpha`` is at most ``alpha``
(Ville's inequality), however often anybody looks.  That is the whole guarantee, and
everything here serves to keep it: what a bet is made of comes from earlier blocks only.

In a block the canary (C) served ``n_c`` requests, ``e_c`` of them bad, and stable, the
baseline (B), ``n_b`` and ``e_b``.  "Bad" is an error, or an answer slower than a bucket's
edge; nothing here knows which.  Counts need not be whole, logarithms are natural, rates are
shares of 1.

References: Turner, Ly, Grünwald (2024), "Generic e-variables for exact sequential
k-sample tests"; Howard, Ramdas, McAuliffe, Sekhon (2021), "Time-uniform, nonparametric,
nonasymptotic confidence sequences"; Herbster, Warmuth (1998), "Tracking the best
expert"; Pérez-Ortiz, Lardy, de Heide, Grünwald (2024), "E-statistics, group invariance
and anytime-valid testing".  The proof for any convex margin and the dispersion estimate
are our own; ``docs/judging.md`` has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Pair = tuple[float, float]

NORMAL = NormalDist()
_TINY = 1e-12
_STEPS = 100  # towards the nearest point; three or four are usual, and halving alone would take fifty
_CLOSE = 1e-6  # relative, of the last step: what is still missing then is about its square
_CHI_POINTS = 200  # of the sum that stands for the integral in the t e-value


def two_sample_log_e(
    canary: Pair, stable: Pair, bet: Pair, margin: Pair, *, safe: bool = False
) -> tuple[float, float, float]:
    """Bet on two rates against the null that the canary's is at most ``rho`` times stable's, plus ``delta``.

    ``canary`` and ``stable`` are bad requests and all requests, ``bet`` the rates (a, b) of canary and stable that are
    bet on, ``margin`` is (rho, delta).  The bet is paid by the likelihood ratio against the point (a0, b0) of the
    null's border that is nearest to (a, b) in Kullback-Leibler divergence, weighted by the requests of each side; its
    mean is at most 1 on the whole null.  Where (a, b) lies in the null the bet pays 1.  With ``safe`` the null is the
    other side, a rate of at least that, and a large value is evidence of safety.  Returns (log E, a0, b0).
    """
    (a, b), (rho, delta) = bet, margin
    border = rho * b + delta
    if a >= border if safe else a <= border:
        return 0.0, a, b
    b0 = _nearest((canary[1], stable[1]), bet, margin)
    a0 = min(max(rho * b0 + delta, _TINY), 1 - _TINY)
    return _log_ratio(canary, a, a0) + _log_ratio(stable, b, b0), a0, b0


def _nearest(requests: Pair, bet: Pair, margin: Pair) -> float:
    """Find stable's rate at the nearest point of the border: Newton's steps, halving where one leaves the bracket.

    It lies between stable's rate and that at which the border has the canary's; the slope there rises throughout.
    What is solved is that slope times both rates' variances: it has the same zero, and is a cubic and not a pole.
    """
    (n_c, n_b), (a, b), (rho, delta) = requests, bet, margin
    crossing = min(max((a - delta) / rho, _TINY), 1 - _TINY)
    least = max(min(b, crossing), (_TINY - delta) / rho)
    most = min(max(b, crossing), (1 - _TINY - delta) / rho)
    t = (n_c * crossing + n_b * b) / (n_c + n_b)
    if not least < t < most:
        t = (least + most) / 2
    gain = n_c * rho
    for _ in range(_STEPS):
        s = rho * t + delta
        over_a, over_b, in_c, in_b = s - a, t - b, s * (1 - s), t * (1 - t)
        slope = gain * over_a * in_b + n_b * over_b * in_c
        bend = gain * (rho * in_b + over_a * (1 - 2 * t)) + n_b * (in_c + over_b * rho * (1 - 2 * s))
        if slope < 0:
            least = t
        else:
            most = t
        following = t - slope / bend if bend else most
        if abs(following - t) <= _CLOSE * t:
            return following
        if not least < following < most:
            following = (least + most) / 2
        t = following
    return t


def _log_ratio(counts: Pair, rate: float, null: float) -> float:
    """Log-likelihood ratio of two rates, given counts; what did not happen contributes nothing."""
    bad, good = counts[0], counts[1] - counts[0]
    told = bad * math.log(rate / null) if bad > 0 else 0.0
    return told + good * math.log((1 - rate) / (1 - null)) if good > 0 else told


@dataclass(frozen=True, slots=True)
class Wealth:
    """Money spread over cash and K alternatives; its sum is the e-value of the process so far.

    After every block a part ``share`` is spread anew by the prior, so that a regression that begins late is found
    almost as fast as one that begins early; and no block multiplies the sum by more than ``cap``, so that no single
    bad moment ends a rollout.  Neither raises the mean.
    """

    parts: tuple[float, ...]  # cash first; the prior is what a new one holds
    prior: tuple[float, ...]
    share: float
    cap: float

    @classmethod
    def new(cls, alternatives: int, *, cash: float, share: float, cap: float) -> Wealth:
        """Start with 1."""
        prior = (cash, *[(1 - cash) / alternatives] * alternatives)
        return cls(prior, prior, share, cap)

    @property
    def value(self) -> float:
        """The e-value."""
        return math.fsum(self.parts)

    def after(self, log_e: Sequence[float], *, cap: float | None = None) -> Wealth:
        """Pay the bets of a block: one logarithm an alternative; ``cap`` for this block alone."""
        before = self.value
        grown = [self.parts[0]]
        grown += [part * math.exp(min(log, 50.0)) for part, log in zip(self.parts[1:], log_e, strict=True)]
        total = math.fsum(grown)
        scale = min(1.0, (self.cap if cap is None else cap) * before / total)
        spread = self.share * total * scale
        kept = (1 - self.share) * scale
        parts = tuple([part * kept + spread * prior for part, prior in zip(grown, self.prior, strict=True)])
        return Wealth(parts, self.prior, self.share, self.cap)


def dispersion(
    e_c: Floats, n_c: Floats, e_b: Floats, n_b: Floats, prior: Floats, *, strength: float = 4.0
) -> tuple[Floats, Floats]:
    """Estimate from past blocks how far requests of one arm resemble each other, and blocks the ones before.

    Errors come in clusters and pods have moods.  What hits both arms cancels in the difference of their rates, so
    it is the spread of that difference that is read, against the arms' *own* cumulative rates: with the pooled rate
    a true regression would look like dispersion and hide itself.

    ``e_c``, ``e_b``: (blocks, rows); ``n_c``, ``n_b``: (blocks,); ``prior``: (rows,), the factor that is believed
    before there are blocks, with the weight of ``strength`` of them.  Returns (icc, kappa), each (rows,): the
    correlation within a block, and the factor by which correlated blocks say less.
    """
    blocks, n_c, n_b = len(n_c), n_c[:, None], n_b[:, None]
    all_c, all_b, bad_c, bad_b = float(_total(n_c)[0]), float(_total(n_b)[0]), _total(e_c), _total(e_b)
    pooled = (bad_c + bad_b + 0.5) / (all_c + all_b + 1)
    p_c, p_b = (bad_c + 2 * pooled) / (all_c + 2), (bad_b + 2 * pooled) / (all_b + 2)
    per_c, per_b = 1 / n_c, 1 / n_b
    shared = np.maximum((e_c + e_b) / (n_c * p_c + n_b * p_b), 1)  # an incident of both arms
    variance = np.maximum(shared * (per_c * (p_c * (1 - p_c)) + per_b * (p_b * (1 - p_b))), _TINY)
    weight, difference = 1 / variance, e_c * per_c - e_b * per_b
    z = (difference - _total(difference * weight) / _total(weight)) * np.sqrt(weight)
    squares = _total(z * z)
    reach = float(_total(np.maximum(2 / (per_c + per_b) - 1, 0))[0]) * (blocks - 1 + strength) / blocks
    icc = np.maximum((squares + (strength * (prior - 1) - (blocks - 1))) / max(reach, _TINY), 0)
    if blocks <= 3:
        return icc, np.ones_like(icc)
    usual, near = 0.5 / math.sqrt(blocks), squares + strength
    first, second = (np.maximum(_total(z[lag:] * z[:-lag]) / near - usual, 0) for lag in (1, 2))
    return icc, 1 + first * (4 / 3) + second * (2 / 3)


_total = np.add.reduce  # over blocks; ``sum(0)`` without its detours, which are most of the time here


def tempering(icc: Floats, kappa: Floats, n_c: float, n_b: float) -> Floats:
    """By what a block's log e-values are divided, so that correlated requests are not counted as independent ones."""
    others = max(2 / (1 / n_c + 1 / n_b) - 1, 0)  # requests of its arm that a request may resemble
    return (1 + icc * others) * kappa


def clumping(blocks: Sequence[Pair], prior: float, *, strength: float = 4.0) -> float:
    """How much more the bad requests of one arm's blocks vary than independent ones would: mean squared deviation.

    ``blocks`` are bad and all requests of each; ``prior`` is believed before there are any, with the weight of
    ``strength`` of them.  Never below 1.
    """
    requests = math.fsum(n for _, n in blocks)
    rate = (math.fsum(bad for bad, _ in blocks) + 0.5) / (requests + 1)
    squares = math.fsum((bad - n * rate) ** 2 / (n * rate * (1 - rate)) for bad, n in blocks if n)
    return max((strength * prior + squares) / (strength + len(blocks)), 1.0)


def probit_margin(p: float, shift: float) -> tuple[float, float]:
    """Turn a shift on the probit scale into the tangent (rho, delta) of the largest tolerated rate, at rate ``p``.

    The curve is concave, so its tangent lies above it and the null only grows.
    """
    z = probit(p)
    rho = math.exp(-shift * z - shift**2 / 2)
    return rho, normal(z + shift) - rho * p


def probit(p: float) -> float:
    """The quantile of the standard normal distribution."""
    return NORMAL.inv_cdf(min(max(p, _TINY), 1 - _TINY))


def normal(z: float) -> float:
    """The distribution function of the standard normal distribution."""
    return NORMAL.cdf(z)


def local_sigma(edges: Sequence[float], exceeding: Sequence[float], row: int) -> float:
    """How wide the logarithm of a latency is spread around one bucket edge.

    ``edges`` rise, in any unit; ``exceeding`` is the share of answers slower than each.  Locally log-latency is taken
    for normal, and this is its slope between the neighbours of the edge, within [0.15, 3].
    """
    below, above = max(row - 1, 0), min(row + 1, len(edges) - 1)
    rise = probit(exceeding[below]) - probit(exceeding[above])
    return min(max(math.log(edges[above] / edges[below]) / max(rise, _TINY), 0.15), 3.0)


def mixture_log_e(bad: float, requests: float, rate: float) -> float:
    """E-value of a count against one rate: the Beta(1/2, 1/2) mixture over all others."""
    good = requests - bad
    rate = min(max(rate, _TINY), 1 - _TINY)
    mixed = _log_beta(bad + 0.5, good + 0.5) - _log_beta(0.5, 0.5)
    return mixed - bad * math.log(rate) - good * math.log(1 - rate)


def above_log_e(bad: float, requests: float, limit: float) -> float:
    """E-value of a count against every rate up to ``limit``: the least of all of theirs."""
    return mixture_log_e(bad, requests, min(limit, bad / requests) if requests else limit)


def confidence(bad: float, requests: float, alpha: float) -> tuple[float, float]:
    """The rates that a count does not contradict: a confidence sequence, valid at all times together."""
    if not requests:
        return 0.0, 1.0
    seen, bound = bad / requests, -math.log(alpha)

    def outside(rate: float) -> bool:
        return mixture_log_e(bad, requests, rate) >= bound

    low, high = (0.0, seen), (seen, 1.0)
    for _ in range(60):
        middle = sum(low) / 2
        low = (middle, low[1]) if outside(middle) else (low[0], middle)
        middle = sum(high) / 2
        high = (high[0], middle) if outside(middle) else (middle, high[1])
    return (low[1] if bad > 0 else 0.0), (high[0] if bad < requests else 1.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def t_log_e(total: float, squares: float, windows: int, effects: Sequence[float]) -> list[float]:
    """One-sided t e-values of differences with sum ``total`` and sum of squares ``squares``, for effects in deviations.

    A likelihood ratio of the scale-free statistic: exact for normal differences of any unknown spread.
    """
    if squares <= 0:
        return [0.0 for _ in effects]
    ratio = total / math.sqrt(squares)
    return [_chi_mean(effect * ratio, windows) - windows * effect**2 / 2 for effect in effects]


def _chi_mean(x: float, degrees: int) -> float:
    """The logarithm of E[exp(L x)] for L chi-distributed, by a sum around the mode."""
    mode = (x + math.sqrt(x * x + 4 * (degrees - 1))) / 2
    width = 1 / math.sqrt(1 + (degrees - 1) / mode**2)
    points = np.linspace(max(mode - 9 * width, mode * 1e-6), mode + 9 * width, _CHI_POINTS)
    logs = (degrees - 1) * np.log(points) - points**2 / 2 + points * x
    peak = float(logs.max())
    integral = float(np.exp(logs - peak).sum() * (points[1] - points[0]))
    return peak + math.log(integral) - (degrees / 2 - 1) * math.log(2) - math.lgamma(degrees / 2)


def multinomial_log_e(c_c: Sequence[float], c_b: Sequence[float], a: Sequence[float], b: Sequence[float]) -> float:
    """Bet on two distributions over buckets, (a, b), against the null that both arms share one."""
    n_c, n_b = math.fsum(c_c), math.fsum(c_b)
    total = 0.0
    for in_c, in_b, p_c, p_b in zip(c_c, c_b, a, b, strict=True):
        shared = (n_c * p_c + n_b * p_b) / (n_c + n_b)
        total += (in_c * math.log(p_c / shared) if in_c else 0.0) + (in_b * math.log(p_b / shared) if in_b else 0.0)
    return total
