"""Counters to blocks: what each revision did in stretches of time that are judged as one.

A counter is cumulative and forgets itself when its process restarts.  Here it becomes
increments: a lost scrape costs nothing, since its increment arrives with the next one,
and any decrease of the requests is a restart, whose increment is the new value.  A block
opens when the warm-up of its step is over, and closes at the first look at which both
revisions answered, its length has passed and each of them has served a request.  What a
step leaves unfinished is a block too, if it is at least half of one.

Time is in seconds since the rollout began; before that, stable alone has a history.
What "bad" means, and whether a block says anything, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import add, sub
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HISTORY = -1  # the step before the first


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one revision, and how many of them were bad by each of several measures."""

    requests: float
    bad: tuple[float, ...]

    def __add__(self, other: Counts) -> Counts:
        """Add counts of the same measures."""
        return Counts(self.requests + other.requests, _each(add, self.bad, other.bad))

    def since(self, before: Counts) -> Counts:
        """The increment from one value of a counter to this one; a decrease is a restart."""
        if self.requests < before.requests:
            return self
        return Counts(self.requests - before.requests, _each(sub, self.bad, before.bad))

    @property
    def sane(self) -> Counts:
        """No fewer bad requests than none, no more than all: where two counters are subtracted, one may be ahead."""
        if not self.bad or (min(self.bad) >= 0 and max(self.bad) <= self.requests):
            return self
        return Counts(self.requests, tuple(min(max(each, 0.0), self.requests) for each in self.bad))


def _each(what: Callable[[float, float], float], left: Sequence[float], right: Sequence[float]) -> tuple[float, ...]:
    """Do the same to every measure of two counts; this is done more often than anything else."""
    if len(left) != len(right):
        raise ValueError(f"counts of {len(left)} and of {len(right)} measures")
    return tuple(map(what, left, right))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What both revisions did from one instant to another, within one step."""

    step: int  # HISTORY: stable alone
    start: float
    end: float
    canary: Counts
    stable: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long a block is, and which stretches at the start of a step are none."""

    block: float = 30.0
    warm_up: float = 60.0  # of the first step
    warm_up_after_shift: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutter:
    """Where the cutting of one signal's counters into blocks has got to."""

    timings: Timings
    step: int = HISTORY
    opens: float = float("-inf")  # when a block of this step may open
    canary: Counts | None = None  # the last value of its counter
    stable: Counts | None = None
    seen: float = 0.0  # requests of stable since the first look
    start: float | None = None  # when the present block opened; None: none is open
    sums: tuple[Counts, Counts] | None = None  # of the present block so far, the canary's and stable's
    whole: Block | None = None  # the present block up to the last look at which both answered

    def take(self, t: float, step: int, canary: Counts | None, stable: Counts | None) -> tuple[Cutter, list[Block]]:
        """Look at both counters at an instant; None: the scrape was lost.  Returns the blocks that closed."""
        closed = []
        cutter = self
        if step != self.step:
            closed = _rest(self)
            warm_up = self.timings.warm_up if step == 0 else self.timings.warm_up_after_shift
            cutter = replace(self, step=step, opens=t + warm_up, start=None, sums=None, whole=None)
        cutter = _added(cutter, canary, stable)
        answered = stable is not None and (canary is not None or step == HISTORY)
        if not answered:
            return cutter, closed
        if cutter.start is None:
            opened = step == HISTORY or t >= cutter.opens
            return (_opened(cutter, t) if opened else cutter), closed
        whole = _whole(cutter, t)
        if whole is None or t - cutter.start < self.timings.block:
            return replace(cutter, whole=whole), closed
        return _opened(cutter, t), [*closed, whole]


def _added(cutter: Cutter, canary: Counts | None, stable: Counts | None) -> Cutter:
    """Add what the counters gained to the present block, and remember their values."""
    sums = cutter.sums
    if sums is not None:
        gained = [
            (now.since(before) if now is not None and before is not None else now) or _none(total)
            for now, before, total in zip((canary, stable), (cutter.canary, cutter.stable), sums, strict=True)
        ]
        sums = (sums[0] + gained[0], sums[1] + gained[1])
    seen = cutter.seen
    if stable is not None and cutter.stable is not None:
        seen += stable.since(cutter.stable).requests
    return replace(cutter, sums=sums, seen=seen, canary=canary or cutter.canary, stable=stable or cutter.stable)


def _opened(cutter: Cutter, t: float) -> Cutter:
    """Open a block at an instant at which the counters are known."""
    assert cutter.stable is not None
    nothing = _none(cutter.stable)
    return replace(cutter, start=t, sums=(nothing, nothing), whole=None)


def _whole(cutter: Cutter, t: float) -> Block | None:
    """Make a block of the present one; None: one of the two has served nothing."""
    assert cutter.start is not None
    assert cutter.sums is not None
    canary, stable = cutter.sums
    if stable.requests < 1 or (canary.requests < 1 and cutter.step != HISTORY):
        return cutter.whole
    return Block(step=cutter.step, start=cutter.start, end=t, canary=canary.sane, stable=stable.sane)


def _rest(cutter: Cutter) -> list[Block]:
    """Close what the step leaves behind, where it is long enough to be worth its place."""
    whole = cutter.whole
    enough = whole is not None and whole.end - whole.start >= cutter.timings.block / 2
    return [whole] if whole is not None and enough else []


def _none(like: Counts) -> Counts:
    return Counts(0.0, (0.0,) * len(like.bad))
