"""Statistics that only the comparison needs: Kayenta's rank test, and e-values that the product does not use.

From the papers and sources that the functions name, in our own code.  Logarithms are natural.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_HALVINGS = 40


def slo_log_e(*, e: float, n: float, p0: float, a: float) -> float:
    """Bet on rate ``a`` against the one rate ``p0``: the plain likelihood ratio of a count."""
    return e * math.log(a / p0) + (n - e) * math.log((1 - a) / (1 - p0))


def conditional_log_e(*, e_c: float, n_c: float, e_b: float, n_b: float, theta: float, rho: float) -> float:
    """Bet that the canary's rate is ``theta`` times the baseline's, against ``rho`` times, given the sum of errors.

    Of the errors the canary's share is then binomial; rates are taken to be small.
    """
    bet = theta * n_c / (theta * n_c + n_b)
    null = rho * n_c / (rho * n_c + n_b)
    return slo_log_e(e=e_c, n=e_c + e_b, p0=null, a=bet)


def lindon_malek_log_e(*, k_c: float, k_b: float, q: float, m: float) -> float:
    """Hold the split of a count against the expected share ``q``, by a Beta mixture of ``m`` pseudo-counts around it.

    The two-arm case of Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022).
    """
    mixed = _log_beta(m * q + k_c, m * (1 - q) + k_b) - _log_beta(m * q, m * (1 - q))
    return mixed - k_c * math.log(q) - k_b * math.log(1 - q)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def location_shift(x: Floats, y: Floats, *, confidence: float) -> tuple[float, float]:
    """By how much ``x`` lies above ``y``: the lower confidence bound and the Hodges-Lehmann estimate.

    Kayenta's way (``MannWhitney.scala``, after R's rank-sum test): the normal approximation with corrections for ties
    and continuity, inverted numerically.  A bound that the data cannot reach is the least shift they could have.
    """
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    return _root(x, y, quantile, continuity=0.5), _root(x, y, 0.0, continuity=0.0)


def rank_z(x: Floats, y: Floats, *, continuity: float = 0.5) -> float:
    """Standardise the rank sum of ``x`` among both; 0 where everything is tied."""
    difference = x[:, None] - y[None]
    distance = float((difference > 0).sum() + (difference == 0).sum() / 2) - len(x) * len(y) / 2
    _, ties = np.unique(np.concatenate([x, y]), return_counts=True)
    both = len(x) + len(y)
    tied = float((ties.astype(float) ** 3 - ties).sum()) / (both * (both - 1))
    variance = len(x) * len(y) / 12 * (both + 1 - tied)
    if variance <= 0:
        return 0.0
    return (distance - math.copysign(continuity, distance) * (distance != 0)) / math.sqrt(variance)


def _root(x: Floats, y: Floats, z: float, *, continuity: float) -> float:
    """The shift at which the standardised rank sum crosses ``z``; it falls as the shift rises."""
    low, high = float(x.min() - y.max()), float(x.max() - y.min())
    if rank_z(x - low, y, continuity=continuity) <= z:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rank_z(x - middle, y, continuity=continuity) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2
