"""``python -m tests.bench``: what judging costs, in CPU time, and a red light where a look costs more than it may.

A controller looks at every rollout at every tick, and nearly always only the newest
block is new.  That look has a budget; whatever else is shown is shown beside it, as a
multiple of it within the same run, since machines differ and ratios hardly do.  A busy
neighbour makes every instruction dearer, so the quietest of three rounds counts.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from time import process_time
from typing import TYPE_CHECKING

from gitops_serving.core.jsonl import Judging
from gitops_serving.core.judge import judge
from gitops_serving.core.plan import written
from gitops_serving.core.samples import gather

from .traffic import SECOND, START, answered, policy, sample, scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops_serving.core.samples import Folded

BUDGET_MS = 2.0  # per rollout and tick, when nothing but the newest block is new
HOUR = 3600
BLOCK = 30  # seconds
ROUNDS, LOOKS, STARTS = 3, 120, 5
POLICY = policy()
SCENE = scene(POLICY)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one thing costs, as often as it was tried; milliseconds of CPU."""

    what: str
    tries: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of all tries."""
        return statistics.median(self.tries)


def look(seconds: int, folded: Folded | None) -> tuple[Folded, float, bool]:
    """Look once; returns what was folded, the CPU time without Prometheus's part, and whether there is more to read."""
    now = START + seconds * SECOND
    began = process_time()
    plan = written(SCENE, START, (0.0,), now=now, folded=folded)
    spent = process_time() - began
    readings = answered(plan)
    began = process_time()
    folded = gather(plan, readings, folded)
    judge(POLICY, plan, readings, folded, now=now)
    spent += process_time() - began
    assert folded is not None
    return folded, spent * 1000, plan.behind > 0


def cold(seconds: int) -> tuple[Folded, float]:
    """Look at a rollout of this age for the first time, in as many looks as it takes."""
    folded, spent, more = look(seconds, None)
    while more:
        folded, further, more = look(seconds, folded)
        spent += further
    return folded, spent


def newest_block() -> Cost:
    """Look again and again at a rollout that is an hour old, a block later each time; the quietest round counts."""
    return min((_round(cold(HOUR)[0]) for _ in range(ROUNDS)), key=lambda cost: cost.median)


def _round(folded: Folded) -> Cost:
    tries = []
    for number in range(1, LOOKS + 1):
        folded, spent, _ = look(HOUR + number * BLOCK, folded)
        tries.append(spent)
    return Cost("a look, the newest block is new", tuple(tries))


def per_sample() -> Cost:
    """Judge an hour of samples on standard input, every one of them answered."""
    judging, tries = Judging(POLICY), []
    judging.take({"type": "start"})
    for seconds in range(0, HOUR, BLOCK // 3):
        message = sample(float(seconds), answer=True)
        tries.append(_timed(lambda message=message: judging.take(message)))  # type: ignore[misc]
    return Cost("judge --jsonl, a sample", tuple(tries))


def _timed(what: Callable[[], object]) -> float:
    began = process_time()
    what()
    return (process_time() - began) * 1000


def table(costs: list[Cost]) -> str:
    """Write the costs below each other, each as a multiple of the first."""
    lines = [f"{'':<34}{'CPU ms':>9}{'90% below':>11}{'times a look':>14}"]
    for cost in costs:
        most = sorted(cost.tries)[int(len(cost.tries) * 0.9)]
        lines.append(f"{cost.what:<34}{cost.median:>9.2f}{most:>11.2f}{cost.median / costs[0].median:>14.1f}")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and say whether a look keeps within its budget."""
    first = newest_block()
    hours = {hours: tuple(cold(hours * HOUR)[1] for _ in range(STARTS)) for hours in (1, 6)}
    costs = [first, *(Cost(f"a first look after {number} h", tries) for number, tries in hours.items()), per_sample()]
    sys.stdout.write(f"{table(costs)}\n")
    if first.median > BUDGET_MS:
        sys.stderr.write(f"a look costs {first.median:.2f} ms of CPU, and may cost {BUDGET_MS:g}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
