"""Thousands of seeded worlds keep the invariants, and every wrong controller breaks one.

A failing world names its seed; play it again with

    make simulate SEED=1234
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .invariants import Broken
from .variants import WRONG
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable

WORLDS = int(os.environ.get("WORLDS", "2000"))
SHARDS = min(WORLDS, 40)
FIRST = int(os.environ.get("SEED", "0"))
STEPS = 60  # of the wild part
ENOUGH = 400  # worlds in which a wrong controller must be found out


def play(seed: int) -> None:
    """Play one world; every third has KServe's baseline race in it, every fourth a status that lags."""
    World(seed, race=0.3 if seed % 3 == 0 else 0.0, lag=0.4 if seed % 4 == 0 else 0.0).run(STEPS)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_world_keeps_the_invariants_and_comes_to_rest(shard: int) -> None:
    for seed in range(FIRST + shard, FIRST + WORLDS, SHARDS):
        play(seed)


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
