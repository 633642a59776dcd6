"""The formulas against known values, and the promise that every one of them has to keep."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core import stats
from gitops_serving.core.stats import Pair, Wealth

RATES = st.floats(0.001, 0.999)


# -- known values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "bet", "margin", "expected"),
    [
        (((0, 50), (10, 950)), (0.04, 0.01), (1.2, 0.0005), (-1.317673, 0.014083, 0.011319)),
        (((6, 100), (9, 900)), (0.05, 0.01), (1.2, 0.0005), (3.788949, 0.016808, 0.01359)),
        (((2, 10), (1, 90)), (0.2, 0.01), (1.0, 0.0), (2.972299, 0.029, 0.029)),
        (((40, 100), (300, 1000)), (0.45, 0.3), (1.1, 0.02), (0.029137, 0.360085, 0.309168)),
        (((5, 100), (45, 900)), (0.01, 0.05), (1.2, 0.0005), (0.0, 0.01, 0.05)),
        (((1, 1), (0, 1)), (0.6, 0.2), (1.0, 0.0), (0.693147, 0.4, 0.4)),
    ],
)
def test_a_bet_on_more_errors_is_paid_as_computed_by_hand(
    counts: tuple[Pair, Pair], bet: Pair, margin: Pair, expected: tuple[float, ...]
) -> None:
    assert stats.two_sample_log_e(*counts, bet, margin) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("errors", "expected"), [(0, 3.379735), (4, -0.394304)])
def test_a_bet_on_safety_is_paid_as_computed_by_hand(errors: int, expected: float) -> None:
    paid = stats.two_sample_log_e((errors, 200), (8, 800), (0.01, 0.01), (2.0, 0.01), safe=True)
    assert paid == pytest.approx((expected, 0.025293, 0.007646), abs=1e-6)


def test_wealth_grows_to_its_cap_and_no_further() -> None:
    wealth = Wealth.new(2, cash=0.25, share=0.02, cap=5)
    values = []
    for log_e in ([0.0, 0.0], [1.0, 2.0], [3.0, 6.0], [-2.0, -4.0]):
        wealth = wealth.after(log_e)
        values.append(wealth.value)
    assert values == pytest.approx([1.0, 4.040252, 20.201259, 0.533885], abs=1e-6)


BLOCKS = [
    ([1, 20], 50, [5, 400], 950),
    ([0, 25], 50, [9, 380], 950),
    ([3, 15], 40, [4, 420], 960),
    ([0, 22], 60, [6, 410], 940),
    ([2, 19], 50, [5, 390], 950),
]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (1, [2.0, 1.5]),
        (2, [1.693578, 1.38632]),
        (3, [2.477468, 1.541237]),
        (4, [2.393486, 1.375401]),
        (5, [1.99735, 1.210625]),
    ],
)
def test_dispersion_is_learned_from_the_blocks_before(known: int, expected: list[float]) -> None:
    e_c, n_c, e_b, n_b = (np.array([block[part] for block in BLOCKS[:known]], dtype=float) for part in range(4))
    icc, kappa = stats.dispersion(e_c, n_c, e_b, n_b, np.array([2.0, 1.5]))
    following = BLOCKS[known] if known < len(BLOCKS) else BLOCKS[0]
    assert stats.tempering(icc, kappa, following[1], following[3]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "requests", "alpha", "expected"),
    [
        (0, 50, 0.05, (0.0, 0.104642)),
        (3, 200, 0.05, (0.000825, 0.06513)),
        (20, 1000, 0.01, (0.006892, 0.043573)),
        (50, 50, 0.05, (0.895358, 1.0)),
    ],
)
def test_the_confidence_sequence_is_as_computed_by_hand(
    bad: float, requests: float, alpha: float, expected: tuple[float, float]
) -> None:
    assert stats.confidence(bad, requests, alpha) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("total", "squares", "windows", "expected"),
    [
        (5.0, 8.0, 10, [1.507445, 1.686891, -1.828191]),
        (-3.0, 8.0, 10, [-2.06577, -5.649996, -17.397456]),
        (12.0, 15.0, 12, [3.643845, 6.257369, 8.888477]),
    ],
)
def test_the_t_e_value_is_as_computed_by_hand(
    total: float, squares: float, windows: int, expected: list[float]
) -> None:
    assert stats.t_log_e(total, squares, windows, (0.4, 0.8, 1.6)) == pytest.approx(expected, abs=1e-6)


def test_the_multinomial_e_value_is_as_computed_by_hand() -> None:
    paid = stats.multinomial_log_e([5, 3, 2], [60, 30, 10], [0.4, 0.35, 0.25], [0.6, 0.3, 0.1])
    assert paid == pytest.approx(0.237615, abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.03, (1.403966, 0.003319)), (0.5, (0.982112, 0.084289)), (0.0006, (1.817273, 5.8e-05))],
)
def test_the_probit_margin_is_as_computed_by_hand(rate: float, expected: tuple[float, float]) -> None:
    assert stats.probit_margin(rate, 0.19) == pytest.approx(expected, abs=1e-6)


def test_the_local_spread_is_as_computed_by_hand() -> None:
    edges, exceeding = (0.05, 0.1, 0.25, 0.5), (0.92, 0.5, 0.0334, 0.00065)
    spread = [stats.local_sigma(edges, exceeding, row) for row in range(4)]
    assert spread == pytest.approx([0.493318, 0.497033, 0.50045, 0.501205], abs=1e-6)


# -- promises --------------------------------------------------------------------------------------------------------


def mean_of_e(requests: tuple[int, int], rates: Pair, bet: Pair, margin: Pair, *, safe: bool = False) -> float:
    """Sum the e-value over every outcome that can be."""
    n_c, n_b = requests
    chances = [
        [math.comb(n, bad) * rate**bad * (1 - rate) ** (n - bad) for bad in range(n + 1)]
        for n, rate in zip(requests, rates, strict=True)
    ]
    return math.fsum(
        chances[0][e_c]
        * chances[1][e_b]
        * math.exp(stats.two_sample_log_e((e_c, n_c), (e_b, n_b), bet, margin, safe=safe)[0])
        for e_c, e_b in product(range(n_c + 1), range(n_b + 1))
    )


@pytest.mark.parametrize("bet", [(0.5, 0.1), (0.9, 0.3), (0.3, 0.02), (0.1, 0.001), (0.95, 0.6)])
@pytest.mark.parametrize("margin", [(1.0, 0.0), (1.2, 0.0005), (1.0, 0.25), (1.1, 0.02)])
def test_the_mean_of_the_e_value_is_at_most_one_on_the_whole_null(bet: Pair, margin: Pair) -> None:
    rho, delta = margin
    for stable in (0.0, 0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 1.0):
        for part in (0.0, 0.5, 1.0):
            canary = min(part * (rho * stable + delta), 1.0)
            assert mean_of_e((7, 19), (canary, stable), bet, margin) <= 1 + 1e-9


def test_the_mean_of_the_e_value_for_safety_is_at_most_one_where_it_is_harmful() -> None:
    for stable in (0.0, 0.01, 0.1, 0.3):
        for canary in (2 * stable + 0.01, min(3 * stable + 0.1, 1.0), 1.0):
            assert mean_of_e((9, 17), (canary, stable), (0.01, 0.01), (2.0, 0.01), safe=True) <= 1 + 1e-9


COUNTS = st.tuples(st.integers(0, 60), st.integers(60, 90))


@given(COUNTS, COUNTS, st.tuples(RATES, RATES))
def test_a_bet_inside_the_null_pays_one(canary: Pair, stable: Pair, bet: Pair) -> None:
    if bet[0] <= 1.2 * bet[1] + 0.0005:
        assert stats.two_sample_log_e(canary, stable, bet, (1.2, 0.0005))[0] == 0.0


@given(
    st.tuples(st.integers(1, 10_000), st.integers(1, 1_000_000)),
    st.tuples(RATES, st.floats(1e-5, 0.9)),
    st.tuples(st.floats(0.5, 5), st.floats(0, 0.3)),
)
def test_the_nearest_point_lies_on_the_border_and_no_neighbour_is_nearer(
    requests: tuple[int, int], bet: Pair, margin: Pair
) -> None:
    (n_c, n_b), (a, b), (rho, delta) = requests, bet, margin
    if a <= rho * b + delta:
        return
    _, a0, b0 = stats.two_sample_log_e((0, n_c), (0, n_b), bet, margin)
    assert a0 == pytest.approx(rho * b0 + delta)

    def distance(t: float) -> float:
        s = rho * t + delta
        there = n_c * (a * math.log(a / s) + (1 - a) * math.log((1 - a) / (1 - s)))
        return there + n_b * (b * math.log(b / t) + (1 - b) * math.log((1 - b) / (1 - t)))

    for near in (b0 * (1 - 1e-4), b0 * (1 + 1e-4)):
        if 0 < near < 1 and 0 < rho * near + delta < 1:
            assert distance(b0) <= distance(near) + 1e-9 * (n_c + n_b)


@given(st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), max_size=30))
def test_wealth_stays_positive_and_no_block_lifts_it_above_its_cap(blocks: list[list[float]]) -> None:
    wealth = Wealth.new(3, cash=0.25, share=0.02, cap=5)
    for log_e in blocks:
        before, wealth = wealth, wealth.after(log_e)
        assert 0 < wealth.value <= 5 * before.value * (1 + 1e-12)


@given(st.permutations([[0.3, 1.0], [-0.5, 0.2], [0.7, -1.0], [0.1, 0.1]]))
def test_without_a_share_and_a_cap_the_order_of_blocks_is_nothing(blocks: list[list[float]]) -> None:
    wealth = Wealth.new(2, cash=0.25, share=0.0, cap=1e9)
    for log_e in blocks:
        wealth = wealth.after(log_e)
    assert wealth.value == pytest.approx(0.25 + 0.375 * (math.exp(0.6) + math.exp(0.3)))


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.001, 0.5))
def test_evidence_above_a_limit_is_never_more_than_against_the_limit_itself(bad: int, more: int, limit: float) -> None:
    requests = bad + more
    assert stats.above_log_e(bad, requests, limit) <= stats.mixture_log_e(bad, requests, limit) + 1e-9


@given(st.floats(0.0002, 0.85), st.floats(0.01, 1.0), st.floats(0.0001, 0.9))
def test_the_tangent_of_the_margin_allows_at_least_what_the_margin_does(p: float, shift: float, at: float) -> None:
    rho, delta = stats.probit_margin(p, shift)
    assert rho * at + delta >= stats.normal(stats.probit(at) + shift) - 1e-9
