"""Windows to wealth: the evidence of a gauge, a number of each revision at the same instants.

Differences of pairs are put to a one-sided t e-value.  Each is clipped first, at some
times the usual size of those before it: one window in which a service was asked nothing,
or its monitoring was wrong, may hold any number at all, and its square would outweigh
whatever comes after it.  What it is clipped at does not depend on itself, and is the same
upwards and downwards, so differences that lie evenly around something that is not above 0
do so still, and their means do not rise.  Of normal ones no more than one in a hundred is
touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median_low

from . import stats
from .tracks import Margin, capped

EFFECTS = (0.4, 0.8, 1.6)  # standard deviations
FEWEST = 4  # windows that say anything
RECENT = 20  # windows whose differences are the usual ones
FARTHEST = 4.0  # times the usual size of a difference; of normal ones that is 2.7 deviations
HUGE = 1e100  # more than anything that is measured, and its square is a number still


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences that ought not to be above 0, and the evidence that they are."""

    recent: tuple[float, ...] = ()  # the newest, as they were
    total: float = 0.0  # of all, each of them clipped
    squares: float = 0.0
    windows: int = 0
    value: float = 1.0  # the e-value

    def after(self, difference: float) -> Differences:
        """Look at one more."""
        recent, windows = (*self.recent, difference)[-RECENT:], self.windows + 1
        if windows <= FEWEST:  # nothing has been said yet: the first are clipped together, by their sizes alone
            clipped = [_clipped(each, recent) for each in recent]
            total, squares = math.fsum(clipped), math.fsum(each * each for each in clipped)
        else:
            last = _clipped(difference, self.recent)
            total, squares = self.total + last, self.squares + last * last
        value = self.value
        if windows >= FEWEST:
            logs = stats.t_log_e(total, squares, windows, EFFECTS)
            best = max(logs)  # kept apart: after some days all of them are too small for a number
            value = capped(value, best + math.log(sum(math.exp(each - best) for each in logs) / len(logs)))
        return Differences(recent, total, squares, windows, value)


def _clipped(difference: float, others: tuple[float, ...]) -> float:
    """Draw a difference towards 0, where it is out of all proportion to others; beside none at all it is nothing."""
    sizes = [abs(each) for each in others if each]
    most = FARTHEST * median_low(sizes) if sizes else 0.0
    return min(max(difference, -most), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A number of each revision at the same instants, compared in pairs, limited, or both."""

    margin: Margin
    sign: float = 1.0  # -1 where higher is better
    compared: Differences = Differences()  # of the canary from what the margin allows
    canary_over: Differences = Differences()  # likewise from the limit
    stable_over: Differences = Differences()
    total: tuple[float, float] = (0.0, 0.0)  # of all values so far, for means

    @property
    def windows(self) -> int:
        """How many pairs were seen."""
        return max(self.compared.windows, self.canary_over.windows)

    @property
    def values(self) -> tuple[float, ...]:
        """The e-values; their mean is the metric's."""
        compared = () if self.margin.tolerance is None else (self.compared.value,)
        limited = min(self.canary_over.value, 1.0) if self.shared else self.canary_over.value
        return (*compared, *([] if self.margin.limit is None else [limited]))

    @property
    def over(self) -> bool:
        """Whether the canary was above the limit so far, by chance or not."""
        return self.canary_over.total > 0

    @property
    def shared(self) -> bool:
        """Whether stable was above the limit too: then going back would cure nothing."""
        return self.stable_over.total > 0

    def after(self, canary: float, stable: float) -> Gauge:
        """Look at one more pair."""
        canary, stable = (min(max(each, -HUGE), HUGE) for each in (canary, stable))
        track = replace(self, total=(self.total[0] + canary, self.total[1] + stable))
        if self.margin.tolerance is not None:
            allowed = self.margin.tolerance * abs(stable) + self.margin.at_least
            track = replace(track, compared=self.compared.after(self.sign * (canary - stable) - allowed))
        if (limit := self.margin.limit) is not None:
            over, beside = (self.sign * (each - limit) for each in (canary, stable))
            track = replace(track, canary_over=self.canary_over.after(over), stable_over=self.stable_over.after(beside))
        return track
