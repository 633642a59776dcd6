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

    def later(self, delay: float) -> Timings:
        """The same for a signal that speaks of what was so many seconds before, at every step."""
        return replace(self, warm_up=self.warm_up + delay, warm_up_after_shift=self.warm_up_after_shift + delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutter:
    """Where the cutting of one signal's counters into blocks has got to."""

    timings: Timings
    step: int = HISTORY
    opens: float = float("-inf")  # when a block of this step may open
    canary: Counts | None = None  # the last value of its counter
    stable: Counts | None = None
    first: float | None = None  # when stable was first seen
    seen: float = 0.0  # requests of stable since then
    start: float | None = None  # when the present block opened; None: none is open
    sums: tuple[Counts, Counts] | None = None  # of the present block so far, the canary's and stable's
    whole: tuple[float, Counts, Counts] | None = None  # the last look at which both had answered, and the sums by then

    def take(self, t: float, step: int, canary: Counts | None, stable: Counts | None) -> tuple[Cutter, list[Block]]:
        """Look at both counters at an instant; None: the scrape was lost.  Returns the blocks that closed."""
        cutter, closed = (self, []) if step == self.step else (self._stepped(t, step), _rest(self))
        sums, seen = _gained(cutter, canary, stable)
        start, whole = cutter.start, cutter.whole
        if stable is not None and (canary is not None or step == HISTORY):
            if start is None or sums is None:
                opens = step == HISTORY or t >= cutter.opens
            else:
                served = sums[1].requests >= 1 and (step == HISTORY or sums[0].requests >= 1)
                whole = (t, *sums) if served else whole
                opens = whole is not None and t - start >= self.timings.block
                closed = [*closed, *_block(step, start, whole)] if opens else closed
            if opens:
                nothing = _none(stable)
                start, sums, whole = t, (nothing, nothing), None
        after = Cutter(
            timings=cutter.timings,
            step=step,
            opens=cutter.opens,
            canary=canary or cutter.canary,
            stable=stable or cutter.stable,
            first=t if cutter.first is None and stable is not None else cutter.first,
            seen=seen,
            start=start,
            sums=sums,
            whole=whole,
        )
        return after, closed

    def _stepped(self, t: float, step: int) -> Cutter:
        """Begin a step, and leave what was counted in the one before."""
        warm_up = self.timings.warm_up if step == 0 else self.timings.warm_up_after_shift
        return replace(self, step=step, opens=t + warm_up, start=None, sums=None, whole=None)


def _gained(cutter: Cutter, canary: Counts | None, stable: Counts | None) -> tuple[tuple[Counts, Counts] | None, float]:
    """Add what the counters gained to the present block, and to what stable was asked in all."""
    of_canary, of_stable = _since(canary, cutter.canary), _since(stable, cutter.stable)
    seen = cutter.seen
    if of_stable is not None and cutter.stable is not None:
        seen += of_stable.requests
    sums = cutter.sums
    if sums is not None and of_canary is not None:
        sums = (sums[0] + of_canary, sums[1])
    if sums is not None and of_stable is not None:
        sums = (sums[0], sums[1] + of_stable)
    return sums, seen


def _since(now: Counts | None, before: Counts | None) -> Counts | None:
    """What a counter gained; None: it was not seen."""
    return now if now is None or before is None else now.since(before)


def _block(step: int, start: float | None, whole: tuple[float, Counts, Counts] | None) -> list[Block]:
    """Make a block of what was summed up; none, where one of the two has served nothing."""
    if start is None or whole is None:
        return []
    end, canary, stable = whole
    return [Block(step=step, start=start, end=end, canary=canary.sane, stable=stable.sane)]


def _rest(cutter: Cutter) -> list[Block]:
    """Close what the step leaves behind, where it is long enough to be worth its place."""
    found = _block(cutter.step, cutter.start, cutter.whole)
    return [block for block in found if block.end - block.start >= cutter.timings.block / 2]


def _none(like: Counts) -> Counts:
    return Counts(0.0, (0.0,) * len(like.bad))
