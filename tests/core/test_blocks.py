"""Counters to blocks: what is lost, what restarts, and where a block begins and ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.blocks import HISTORY, Block, Counts, Cutter, Timings

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMINGS = Timings(block=30, warm_up=60, warm_up_after_shift=30)
Look = tuple[float, int, Counts | None, Counts | None]


def counts(requests: float, bad: float = 0.0) -> Counts:
    return Counts(requests, (bad,))


def cut(looks: Sequence[Look]) -> list[Block]:
    cutter, closed = Cutter(timings=TIMINGS), []
    for t, step, canary, stable in looks:
        cutter, blocks = cutter.take(t, step, canary, stable)
        closed += blocks
    return closed


def steady(until: int, *, step: int = 0, since: int = 0) -> list[Look]:
    """Ten requests of stable and one of the canary in every look, ten seconds apart."""
    return [(float(t), step, counts(t / 10), counts(float(t))) for t in range(since, until + 1, 10)]


def test_what_happens_in_the_warm_up_is_in_no_block() -> None:
    blocks = cut(steady(120))
    assert [(b.start, b.end) for b in blocks] == [(60.0, 90.0), (90.0, 120.0)]
    assert blocks[0].canary.requests == 3
    assert blocks[0].stable.requests == 30


def test_a_lost_scrape_gives_the_same_totals_as_none_lost() -> None:
    looks = steady(180)
    lossy = [(t, step, None if t in {80, 110} else c, None if t == 130 else s) for t, step, c, s in looks]
    whole, patchy = cut(looks), cut(lossy)
    assert sum(b.canary.requests for b in whole) == sum(b.canary.requests for b in patchy)
    assert sum(b.stable.requests for b in whole) == sum(b.stable.requests for b in patchy)


def test_a_block_does_not_close_while_one_of_the_two_is_not_seen() -> None:
    looks = [(t, step, None if t == 90 else c, s) for t, step, c, s in steady(120)]
    assert [(b.start, b.end) for b in cut(looks)] == [(60.0, 100.0)]


def test_a_block_waits_for_a_request_of_the_canary() -> None:
    looks = [(t, step, counts(0 if t < 110 else 1), s) for t, step, _, s in steady(120)]
    assert [(b.start, b.end) for b in cut(looks)] == [(60.0, 110.0)]


def test_a_decrease_is_a_restart_and_its_increment_is_the_new_value() -> None:
    looks = [(t, step, counts(t / 10 if t < 80 else (t - 70) / 10), s) for t, step, _, s in steady(90)]
    (block,) = cut(looks)
    assert block.canary.requests == 3  # one before the restart, and two after it


def test_a_new_step_warms_up_anew_and_keeps_what_is_half_a_block() -> None:
    looks = [*steady(110), *steady(210, step=1, since=120)]
    blocks = cut(looks)
    assert [(b.step, b.start, b.end) for b in blocks] == [
        (0, 60.0, 90.0),
        (0, 90.0, 110.0),
        (1, 150.0, 180.0),
        (1, 180.0, 210.0),
    ]


def test_stable_alone_has_a_history() -> None:
    looks: list[Look] = [(float(t), HISTORY, None, counts(t + 100.0)) for t in range(-60, 1, 10)]
    blocks = cut(looks)
    assert [(b.step, b.stable.requests, b.canary.requests) for b in blocks] == [(HISTORY, 30, 0), (HISTORY, 30, 0)]


def test_a_counter_of_errors_that_jumps_back_takes_nothing_away() -> None:
    looks = [(t, step, counts(t / 10, bad=3.0 if t < 80 else 0.0), s) for t, step, _, s in steady(90)]
    (block,) = cut(looks)
    assert block.canary.bad == (0.0,)


LOOKS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 40), st.integers(0, 400), st.booleans(), st.booleans()), max_size=60
)


@given(LOOKS)
def test_no_block_holds_less_than_nothing_or_more_errors_than_requests(looks: list[tuple[int, ...]]) -> None:
    cutter, t, canary, stable = Cutter(timings=TIMINGS), 0.0, 0.0, 0.0
    for seconds, more, most, lost, restarted in looks:
        t += seconds
        canary, stable = canary + more, (0.0 if restarted else stable + most)
        seen = None if lost else counts(canary, canary * 0.7)
        cutter, blocks = cutter.take(t, int(t // 300), seen, counts(stable, stable * 0.1))
        for block in blocks:
            for arm in (block.canary, block.stable):
                assert 0 <= arm.bad[0] <= arm.requests
            assert block.end > block.start


@given(LOOKS, st.integers(0, 59))
def test_equal_counters_add_nothing(looks: list[tuple[int, ...]], at: int) -> None:
    """E is unchanged by a sample with equal counters, since no request is in it."""
    cutter, t, total = Cutter(timings=TIMINGS), 0.0, 0.0
    for number, (seconds, more, *_) in enumerate(looks):
        t += seconds
        total += more
        cutter, _ = cutter.take(t, 0, counts(total), counts(total * 9))
        if number == at:
            again, blocks = cutter.take(t + 0.5, 0, counts(total), counts(total * 9))
            assert not blocks or blocks[0].end == t + 0.5
            assert replace(again, whole=None, start=None, sums=None) == replace(
                cutter, whole=None, start=None, sums=None
            )
            assert again.sums == cutter.sums or blocks
