"""Blocks to wealth: what each kind of track bets on, and what it never does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.blocks import HISTORY, Block, Counts
from gitops_serving.core.tracks import (
    EDGES,
    GROSS_CAP,
    Drift,
    Errors,
    Gross,
    Latency,
    Limit,
    Margin,
    Memory,
    chosen,
    most,
)

from .situations import quick

TOLERANT = Margin(tolerance=0.2, at_least=0.0005)


def block(canary: Counts, stable: Counts, step: int = 0) -> Block:
    return Block(step=step, start=0.0, end=30.0, canary=canary, stable=stable)


def errors(bad: float, stable_bad: float, *, n: float = 200.0, m: float = 1800.0, step: int = 0) -> Block:
    return block(Counts(n, (bad,)), Counts(m, (stable_bad,)), step)


def known(track: Errors, blocks: int = 20, bad: float = 2.0) -> Errors:
    """Let a track know stable from a history."""
    for _ in range(blocks):
        track = track.after(errors(0.0, bad, step=HISTORY))
    return track


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_history_teaches_what_stable_is_like_and_is_no_evidence() -> None:
    track = known(Errors(margin=TOLERANT), bad=18.0)
    assert track.rate == pytest.approx(0.01, rel=0.01)
    assert track.values == pytest.approx((1.0,))


def test_what_is_bet_on_a_block_comes_from_the_blocks_before() -> None:
    one, other = known(Errors(margin=TOLERANT)), known(Errors(margin=TOLERANT))
    worse, better = one.after(errors(40.0, 2.0)), other.after(errors(0.0, 2.0))
    assert worse.values[0] > 1 > better.values[0]
    assert worse.rate == better.rate


def test_an_incident_of_stable_is_bet_on_once_at_most_and_hardly_remembered() -> None:
    """While stable fails five times as often as usual, what the canary does says little about the canary."""
    track = known(Errors(margin=TOLERANT))
    during = track.after(errors(100.0, 900.0))
    assert during.unusual
    assert during.rate < 0.02
    assert during.after(errors(100.0, 900.0)).wealth == during.wealth


def test_no_incident_of_both_wipes_out_what_was_gathered() -> None:
    track = known(Errors(margin=TOLERANT)).after(errors(40.0, 2.0))
    before = track.values[0]
    assert track.after(errors(100.0, 900.0)).values[0] >= 0.1 * before


@pytest.mark.parametrize(("requests", "times"), [(1, 2.1), (10, 3.0), (30, 5.0), (1000, 5.0)])
def test_a_block_of_few_requests_multiplies_evidence_by_less(requests: float, times: float) -> None:
    assert most(requests) == pytest.approx(times)
    track = known(Errors(margin=TOLERANT)).after(errors(requests, 0.0, n=requests))
    assert track.values[0] <= times * (1 + 1e-9)


@quick
@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.integers(1, 4000), st.floats(0, 1)), max_size=25))
def test_evidence_is_a_positive_number_whatever_happens(blocks: list[tuple[int, float, int, float]]) -> None:
    track, limited = Errors(margin=TOLERANT), Errors(margin=Margin(limit=0.01), wealth=None, limit=Limit(rate=0.01))
    slow, gross, drift = Latency(margin=Margin(tolerance=0.1, limit=0.2)).over((0.1, 0.5)), Gross(), Drift()
    for n, bad, m, worse in blocks:
        canary, stable = Counts(n, (n * bad,)), Counts(m, (m * worse,))
        track, limited = track.after(block(canary, stable)), limited.after(block(canary, stable))
        both = block(Counts(n, (n * bad, n * bad / 2)), Counts(m, (m * worse, m * worse / 2)))
        slow, gross, drift = slow.after(both), gross.after(canary, stable), drift.after(both)
        for value in (*track.values, *limited.values, *slow.values, gross.wealth.value, *drift.values):
            assert math.isfinite(value)
            assert value > 0


# -- limits ----------------------------------------------------------------------------------------------------------


def test_only_blocks_in_which_stable_keeps_the_limit_count_against_the_canary() -> None:
    limit = Limit(rate=0.01)
    for _ in range(20):
        limit = limit.after((20.0, 0.0), (200.0, 1800.0))
    assert limit.value > 100
    assert (limit.over, limit.shared, limit.against) == (True, False, limit.value)

    shared = Limit(rate=0.01)
    for _ in range(20):
        shared = shared.after((20.0, 40.0), (200.0, 1800.0))
    assert shared.value == 1.0
    assert (shared.over, shared.shared) == (True, True)


def test_what_was_gathered_is_not_held_against_the_canary_where_stable_mostly_breaks_the_limit_too() -> None:
    limit = Limit(rate=0.01)
    for _ in range(5):
        limit = limit.after((20.0, 0.0), (200.0, 1800.0))
    for _ in range(6):
        limit = limit.after((20.0, 40.0), (200.0, 1800.0))
    assert limit.value > 1
    assert limit.against == 1.0


def test_a_canary_within_its_limit_gathers_nothing() -> None:
    limit = Limit(rate=0.01)
    for _ in range(50):
        limit = limit.after((1.0, 9.0), (200.0, 1800.0))
    assert limit.value <= 1
    assert not limit.over


# -- latency ---------------------------------------------------------------------------------------------------------

CHOSEN = {
    "edges that stable exceeds neither almost never nor almost always": ((0.99, 0.5, 0.01, 1e-4), (1, 2)),
    "of those that nothing exceeds the lowest": ((0.5, 0.001, 0.001, 0.001), (0, 1)),
    "where all are exceeded almost never the lowest": ((1e-5, 1e-5, 1e-5), (0,)),
    "where all are exceeded almost always none": ((0.99, 0.95, 0.9), ()),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_bets_are_made_on(case: str) -> None:
    exceeding, rows = CHOSEN[case]
    assert chosen(exceeding) == rows


def test_of_many_edges_some_are_chosen_evenly() -> None:
    exceeding = tuple(0.8 * 0.8**row for row in range(30))
    rows = chosen(exceeding)
    assert len(rows) == EDGES
    assert rows[0] == 0
    assert exceeding[rows[-1]] == min(each for each in exceeding if each >= 0.0002)


@pytest.mark.parametrize(("limit", "row"), [(0.05, 0), (0.25, 2), (0.2500000001, 2), (0.3, 3), (0.5, 3), (0.6, None)])
def test_a_limit_of_latency_is_held_at_the_next_edge_above_it(limit: float, row: int | None) -> None:
    track = Latency(margin=Margin(limit=limit)).over((0.05, 0.1, 0.25, 0.5))
    assert track.limit_row == row
    assert (track.limit is None) is (row is None)


def test_without_a_history_the_first_block_is_only_looked_at() -> None:
    slow = block(Counts(200.0, (180.0, 100.0)), Counts(1800.0, (180.0, 18.0)))
    track = Latency(margin=Margin(tolerance=0.1)).over((0.1, 0.5)).after(slow)
    assert (track.rows, track.values) == ((), ())
    assert track.after(slow).values[0] > 1


# -- plain breakage --------------------------------------------------------------------------------------------------


def test_breakage_is_a_quarter_more_than_stable_s_and_no_look_counts_for_much() -> None:
    broken, worse = Gross(), Gross()
    for _ in range(10):
        before = broken.wealth.value
        broken = broken.after(Counts(60.0, (60.0,)), Counts(540.0, (0.5,)))
        worse = worse.after(Counts(60.0, (12.0,)), Counts(540.0, (0.5,)))
        assert broken.wealth.value <= GROSS_CAP * before * (1 + 1e-9)
    assert broken.wealth.value > 100
    assert worse.wealth.value < 1


def test_a_look_without_requests_is_no_evidence() -> None:
    gross = Gross().after(Counts(60.0, (60.0,)), Counts(540.0, (0.5,)))
    for canary, stable in ((Counts(0.0, (0.0,)), Counts(9.0, (0.0,))), (Counts(9.0, (9.0,)), Counts(0.0, (0.0,)))):
        assert gross.after(canary, stable).wealth == gross.wealth


# -- drift -----------------------------------------------------------------------------------------------------------


def test_predictions_that_fall_elsewhere_are_noticed_and_equal_ones_are_not() -> None:
    same, other = Drift(), Drift()
    stable = Counts(1800.0, (900.0, 180.0))
    for _ in range(20):
        same = same.after(block(Counts(200.0, (100.0, 20.0)), stable))
        other = other.after(block(Counts(200.0, (180.0, 120.0)), stable))
    assert same.values[0] < 1.5
    assert other.values[0] > 100


# -- memory ----------------------------------------------------------------------------------------------------------


def test_stable_is_forgotten_slowly() -> None:
    memory = Memory()
    for _ in range(500):
        memory = memory.after(Counts(100.0, (1.0, 0.0)))
    assert memory.requests == pytest.approx(5000, rel=0.01)
    assert replace(memory).bad == pytest.approx((50.0, 0.0), rel=0.01)
