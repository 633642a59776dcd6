"""Thousands of seeded worlds keep the invariants, and every wrong controller breaks one.

A failing world names its seed; play it again with

    make simulate SEED=1234

Worlds in which nothing ever fails prove nothing, so what happened in them is counted,
shown at the end of the run, and held against a least number.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .invariants import Broken
from .variants import WRONG
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable

WORLDS = int(os.environ.get("WORLDS", "2000"))
SHARDS = min(WORLDS, 20)
FIRST = int(os.environ.get("SEED", "0"))
STEPS = 50  # of the wild part
ENOUGH = 400  # worlds in which a wrong controller must be found out
LEAST = {  # in a hundred worlds: a third of what is usual
    "promote": 25,
    "ended by evidence": 15,
    "ended by silence": 3,
    "ended by time": 2,
    "failing while Git is away": 1,  # counted by the tick, and so in heaps
    "verdict blind": 70,
    "verdict fail": 30,
}


def play(seed: int, forget: float = 0.01) -> World:
    """Play one world; every third has KServe's baseline race in it, every fourth a status that lags."""
    world = World(seed, race=0.3 if seed % 3 == 0 else 0.0, lag=0.4 if seed % 4 == 0 else 0.0, forget=forget)
    world.run(STEPS)
    return world


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_world_keeps_the_invariants_and_comes_to_rest(
    shard: int, record_property: Callable[[str, object], None]
) -> None:
    seeds, told = range(FIRST + shard, FIRST + WORLDS, SHARDS), Counter[str]()
    for seed in seeds:
        told += play(seed).watch.told
    for what, number in sorted(told.items()):
        record_property(what, number)

    if len(seeds) >= 50:
        few = {what: told[what] for what, least in LEAST.items() if told[what] < least * len(seeds) / 100}
        assert not few, "too little happens in these worlds for the invariants to bite"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_forgotten_from_tick_to_tick_changes_no_decision(seed: int) -> None:
    """Evidence that is kept is a cache: without it the same samples are read again, and say the same."""
    remembered, forgotten = (play(seed, forget).repository.log for forget in (0.0, 0.5))

    assert [logged.message for logged in forgotten] == [logged.message for logged in remembered]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_controller_is_found_out(
    wrong: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)

    def found_out() -> str:
        for seed in range(ENOUGH):
            try:
                play(seed)
            except Broken as broken:
                return broken.rule
        return "nothing"

    assert found_out() in WRONG[wrong]
