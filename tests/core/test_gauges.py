"""Windows to wealth: what a gauge gathers, and that one number out of all proportion settles nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.gauges import FEWEST, Differences, Gauge
from gitops_serving.core.tracks import CAP, Margin

from .situations import quick


def watched(gauge: Gauge, pairs: list[tuple[float, float]]) -> Gauge:
    for canary, stable in pairs:
        gauge = gauge.after(canary, stable)
    return gauge


NOISE = [0.01, -0.02, 0.015, -0.005, 0.0, 0.02, -0.01, 0.005] * 4


def test_a_gauge_needs_some_windows_to_say_anything() -> None:
    worse = [(1.0 + noise, 0.5) for noise in NOISE]
    gauge = Gauge(margin=Margin(tolerance=0.1))
    assert watched(gauge, worse[: FEWEST - 1]).values == (1.0,)
    assert watched(gauge, worse[:FEWEST]).values[0] > 1
    assert watched(gauge, worse).values[0] > 1000


def test_no_window_multiplies_a_gauge_s_evidence_by_more_than_the_cap() -> None:
    gauge = Gauge(margin=Margin(tolerance=0.0, limit=0.6))
    before: tuple[float, ...] = (1.0, 1.0)
    for noise in NOISE:
        gauge = gauge.after(1.0 + noise, 0.5)
        assert all(now <= CAP * max(1.0, then) * (1 + 1e-9) for now, then in zip(gauge.values, before, strict=True))
        before = gauge.values


def test_more_is_better_where_it_is_said_to_be() -> None:
    gauge = Gauge(margin=Margin(tolerance=0.05), sign=-1.0)
    assert watched(gauge, [(0.9 + noise, 0.8) for noise in NOISE]).values[0] < 1
    assert watched(gauge, [(0.7 + noise, 0.8) for noise in NOISE]).values[0] > 1000
    least = Gauge(margin=Margin(limit=0.75), sign=-1.0)
    assert watched(least, [(0.7 + noise, 0.8) for noise in NOISE]).values[0] > 1000
    assert not watched(least, [(0.8 + noise, 0.8) for noise in NOISE]).over


def test_a_gauge_s_limit_is_not_held_against_the_canary_where_stable_breaks_it_too() -> None:
    gauge = watched(Gauge(margin=Margin(limit=0.6)), [(1.0 + noise, 0.9) for noise in NOISE])
    assert (gauge.shared, gauge.over) == (True, True)
    assert gauge.values == (1.0,)


def test_gauges_that_never_differ_are_no_evidence() -> None:
    assert watched(Gauge(margin=Margin(tolerance=0.0)), [(1.0, 1.0)] * 20).values == (1.0,)


# -- out of all proportion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("glitch", [1e6, -1e6, 1e300, -1e300])
@pytest.mark.parametrize("at", [0, 1, 3, 4, 10])
def test_one_window_out_of_all_proportion_neither_settles_nor_spoils_anything(glitch: float, at: int) -> None:
    """Its square outweighed whatever came after it: the gauge could never again say that the canary was worse."""

    def with_glitch(level: float) -> Gauge:
        pairs = [(level + noise, 0.5) for noise in NOISE]
        pairs[at] = (glitch, 0.5)
        return watched(Gauge(margin=Margin(tolerance=0.1)), pairs)

    assert with_glitch(1.0).values[0] > 20
    assert with_glitch(0.5).values[0] < 2


def test_a_glitch_above_a_limit_does_not_hold_a_rollout_for_good() -> None:
    pairs = [(0.5 + noise, 0.5) for noise in NOISE]
    pairs[2] = (1e6, 0.5)
    assert not watched(Gauge(margin=Margin(limit=0.6)), pairs).over


def test_a_gauge_that_was_better_for_days_is_no_evidence_and_no_error() -> None:
    found = Differences(recent=(-1.0, -1.0), total=-5000.0, squares=5000.0, windows=5000)
    assert found.after(-1.0).value == pytest.approx(0.0)


@quick
@given(st.lists(st.floats(allow_nan=False), max_size=30), st.lists(st.floats(allow_nan=False), max_size=30))
def test_evidence_is_a_positive_number_whatever_is_measured(canary: list[float], stable: list[float]) -> None:
    gauge = Gauge(margin=Margin(tolerance=0.1, limit=0.6))
    for pair in zip(canary, stable, strict=False):
        gauge = gauge.after(*pair)
        assert all(math.isfinite(value) and value >= 0 for value in gauge.values)


@pytest.mark.parametrize("noise", ["normal", "heavy", "of its own size each time"])
def test_differences_around_nothing_are_seldom_taken_for_a_regression(noise: str) -> None:
    """Clipping must not make evidence of noise: 5 % are allowed, over all windows together."""
    drawn = np.random.default_rng(7)
    alarms, rollouts = 0, 300
    for _ in range(rollouts):
        windows = drawn.standard_t(3, 40) if noise == "heavy" else drawn.standard_normal(40)
        if noise == "of its own size each time":
            windows *= np.exp(2 * drawn.standard_normal(40))
        found, most = Differences(), 1.0
        for each in windows.tolist():
            found = found.after(each)
            most = max(most, found.value)
        alarms += most >= 20
    assert alarms / rollouts <= 0.04
