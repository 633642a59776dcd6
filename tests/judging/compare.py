"""Play judges over worlds and count: false aborts, detections and their delay, silence, and who could have finished.

A judge here is what `gitops_serving.core.jsonl.Judging(policy).take` is: it takes one decoded message of the stream
after another and answers samples with at least ``verdict``.  A fresh one is made for each run by a factory, which is
named by a word (a peer), or by ``module:attribute`` (anything else; imported only when asked for).
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .peers import PEERS
from .worlds import STEP, World, samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .peers import Peer

Message = dict[str, Any]
Judge = Callable[[Message], Message | None]
Factory = Callable[[], Judge]

_CHUNK = 25  # runs that a worker process plays at a time
_Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of one rollout under one judge."""

    failed_at: float | None  # seconds since the canary's first traffic; None: never
    inconclusive: float  # share of the canary's samples with that verdict, up to the failure
    finished: bool  # "pass" at the end of every step


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What became of all runs of one world under one judge."""

    world: str
    judge: str
    harmless: bool
    runs: int
    failed: int  # false aborts of a harmless canary, detections of a bad one
    early: int  # of a bad canary, before it was bad: false aborts too, not among the failed
    median_seconds: float | None  # from the onset of the trouble to the failure, of the failed; None: none failed
    inconclusive: float  # mean share of the time
    finished: int

    @property
    def share(self) -> float:
        """Share of the runs that failed."""
        return self.failed / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """What the true share may be: Wilson's interval, 95 %."""
        return wilson(self.failed, self.runs)


def wilson(hits: int, runs: int) -> tuple[float, float]:
    """Wilson's interval for a share, 95 %."""
    if not runs:
        return 0.0, 1.0
    share, extra = hits / runs, _Z * _Z / runs
    middle = (share + extra / 2) / (1 + extra)
    half = _Z / (1 + extra) * math.sqrt(share * (1 - share) / runs + extra / (4 * runs))
    return max(0.0, middle - half), min(1.0, middle + half)


def listening(peer: Peer) -> Judge:
    """Let a peer take the messages of the stream."""

    def take(message: Message) -> Message | None:
        if message["type"] != "sample":
            return None
        return {"verdict": peer.sample(message["sample"]), "e": None, "because": ""}

    return take


def factory(name: str) -> Factory:
    """Find a judge's factory by its name."""
    if name in PEERS:
        return lambda: listening(PEERS[name]())
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"no judge is called {name!r}; say module:attribute, or one of {', '.join(PEERS)}")
    found: Factory = getattr(importlib.import_module(module), attribute)
    return found


def play(judge: Judge, messages: Iterable[Message], end: float) -> Run:
    """Play one run for one judge; the failure ends it."""
    silent = heard = 0
    passed = set()
    for message in messages:
        answer = judge(message)
        if message["type"] != "sample" or (t := message["sample"]["t"]) <= 0:
            continue
        verdict = "inconclusive" if answer is None else answer["verdict"]
        heard += 1
        silent += verdict == "inconclusive"
        if verdict == "fail":
            return Run(failed_at=t, inconclusive=silent / heard, finished=False)
        if verdict == "pass" and t % STEP == 0:
            passed.add(t)
    return Run(failed_at=None, inconclusive=silent / max(heard, 1), finished=len(passed) == round(end / STEP))


def play_chunk(world: World, seeds: Sequence[int], judges: Sequence[str]) -> list[list[Run]]:
    """Play some seeds of a world for several judges, which all see the same numbers: one list a judge."""
    factories = [factory(name) for name in judges]
    runs: list[list[Run]] = [[] for _ in judges]
    for seed in seeds:
        messages = list(samples(world, seed))
        for made, of_judge in zip(factories, runs, strict=True):
            of_judge.append(play(made(), messages, world.end))
    return runs


def summarise(world: World, judge: str, runs: Sequence[Run]) -> Cell:
    """Count what became of a world's runs."""
    onset = world.trouble.from_step * STEP
    times = [run.failed_at - onset for run in runs if run.failed_at is not None]
    found = [t for t in times if t > 0]
    return Cell(
        world=world.name,
        judge=judge,
        harmless=world.trouble.harmless,
        runs=len(runs),
        failed=len(found),
        early=len(times) - len(found),
        median_seconds=statistics.median(found) if found else None,
        inconclusive=statistics.fmean(run.inconclusive for run in runs),
        finished=sum(run.finished for run in runs),
    )


def compare(
    worlds: Sequence[World], judges: Sequence[str], *, runs: int, first_seed: int = 0, jobs: int = 1
) -> Iterator[list[Cell]]:
    """Play every world for every judge; yields the cells of one world after another."""
    seeds = range(first_seed, first_seed + runs)
    chunks = [seeds[at : at + _CHUNK] for at in range(0, runs, _CHUNK)]
    if jobs == 1:
        for world in worlds:
            yield _cells(world, judges, [play_chunk(world, chunk, judges) for chunk in chunks])
        return
    spawn = multiprocessing.get_context("spawn")  # a test runner has threads, which a fork would not take along
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        futures = [[pool.submit(play_chunk, world, chunk, judges) for chunk in chunks] for world in worlds]
        for world, of_world in zip(worlds, futures, strict=True):
            yield _cells(world, judges, [future.result() for future in of_world])


def _cells(world: World, judges: Sequence[str], chunks: Sequence[list[list[Run]]]) -> list[Cell]:
    return [summarise(world, judge, [run for chunk in chunks for run in chunk[at]]) for at, judge in enumerate(judges)]


def as_json(cells: Iterable[Cell]) -> list[Mapping[str, Any]]:
    """Write cells down as JSON can hold them."""
    return [asdict(cell) | {"interval": list(cell.interval)} for cell in cells]
