"""Readings to evidence: what was read at the instants of a grid, put together and folded.

Each signal keeps an account of its own, and the metrics that ask for it share it.  What
is folded depends on the samples alone: neither on how many instants are read at once, nor
on what was kept from the looks before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .accounts import ARMS, Account, Line
from .evidence import Moment, begun, fold
from .measure import Kind
from .plan import WITNESS, step_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .accounts import Heard
    from .blocks import Counts
    from .evidence import Evidence
    from .measure import Reading, Series
    from .plan import Plan, Signal

    Pair = tuple[Counts | None, Counts | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The evidence of one rollout, and all that is needed to go on from it; it may be thrown away at any time."""

    key: tuple[object, ...]
    until: int  # the last instant of the grid that is in it
    evidence: Evidence
    accounts: Mapping[str, Account] = field(default_factory=dict)  # by signal
    wrong: Mapping[str, str] = field(default_factory=dict)  # by metric: why nothing can be read


def gather(plan: Plan, readings: Mapping[str, Reading], before: Folded | None) -> Folded | None:
    """Fold what was read into the evidence; what Prometheus could not be asked is asked again at the next look."""
    told = moments(plan, readings, before)
    if told is None:
        return None
    read, news = told
    return replace(read, evidence=fold(read.evidence, news)) if news else read


def moments(
    plan: Plan, readings: Mapping[str, Reading], before: Folded | None
) -> tuple[Folded, Sequence[Moment]] | None:
    """Turn what was read into moments, and say how far it went; the evidence is left as it was."""
    if plan.origin is None or plan.terms is None:
        return None
    if before is None or before.key != plan.key:
        before = Folded(key=plan.key, until=plan.first - 1, evidence=begun(plan.terms), wrong=plan.wrong)
    if plan.last < plan.first or plan.blinding(readings):
        return before, ()
    grid = Grid.of(plan)
    scraped = {index for series in readings[WITNESS].series for index in grid.indices(series)}
    # Beyond the last scrape there is only what was there before: that is left for later, unless it is long past.
    last = plan.last if plan.behind else min(plan.last, max(scraped, default=plan.first - 1))
    accounts = {key: account.copy() for key, account in before.accounts.items()}
    made = {
        index: Moment(t=t, step=step_at(plan.steps, t), pairs={}, gauges={}, edges={}, scraped=index in scraped)
        for index in plan.instants
        if index <= last
        for t in (index * plan.step.total_seconds(),)
    }
    for signal, metrics in _signals(plan):
        account = accounts.setdefault(signal.key, Account(signal.source))
        for index, heard in _heard(plan, signal, readings).items():
            if index in made:
                _put(account, heard, metrics, made[index])
    odd = {name: odd for name, signal in plan.signals.items() if (odd := accounts[signal.key].odd)}
    wrong = {**odd, **plan.wrong, **_refused(plan, readings)}
    return replace(before, until=last, accounts=accounts, wrong=wrong), list(made.values())


def _signals(plan: Plan) -> list[tuple[Signal, list[str]]]:
    """List the signals of a plan, each once, with the metrics that ask for it."""
    found: dict[str, tuple[Signal, list[str]]] = {}
    for name, signal in plan.signals.items():
        found.setdefault(signal.key, (signal, []))[1].append(name)
    return list(found.values())


def _refused(plan: Plan, readings: Mapping[str, Reading]) -> dict[str, str]:
    """Say by metric why Prometheus does not answer its queries: it never will, or it is a dry run's."""
    found = {}
    for name, signal in plan.signals.items():
        asked = [readings[query] for query in signal.asked.values() if query in readings]
        if cause := next((reading.cause for reading in asked if reading.wrong or reading.blind), ""):
            found[name] = cause
    return found


def _heard(plan: Plan, signal: Signal, readings: Mapping[str, Reading]) -> dict[int, Heard]:
    """Sort what was read of a signal by instants of the grid, which rise; what is no number is no sample."""
    found: dict[int, dict[tuple[str, str], list[tuple[Line, float]]]] = {}
    grid = Grid.of(plan)
    for key, query in signal.asked.items():
        at: dict[int, list[tuple[Line, float]]] = {}
        for series in readings[query].series if query in readings else ():
            line = Line.of(series, signal.source.scale)
            for index, value in zip(grid.indices(series), series.samples, strict=True):
                if not math.isfinite(value[1]):
                    continue
                if index in at:
                    at[index].append((line, value[1]))
                else:
                    at[index] = [(line, value[1])]
        for index, told in at.items():
            found.setdefault(index, {})[key] = told
    return {index: found[index] for index in sorted(found)}


@dataclass(frozen=True, slots=True)
class Grid:
    """The instants of one look, in Unix seconds."""

    origin: float
    step: float
    whole: range  # their numbers
    begin: float
    end: float

    @classmethod
    def of(cls, plan: Plan) -> Grid:
        """Find the instants of a plan."""
        assert plan.origin is not None
        origin, step = plan.origin.timestamp(), plan.step.total_seconds()
        whole = range(plan.first, plan.last + 1)
        return cls(origin, step, whole, origin + step * plan.first, origin + step * plan.last)

    def indices(self, series: Series) -> Sequence[int]:
        """Number the samples of a series by instants."""
        samples = series.samples
        if len(samples) == len(self.whole) and samples[0][0] == self.begin and samples[-1][0] == self.end:
            return self.whole  # nothing is missing, as nearly always
        return [round((t - self.origin) / self.step) for t, _ in samples]


def _put(account: Account, heard: Heard, metrics: list[str], moment: Moment) -> None:
    """Put what was heard at one instant into its moment, where it was understood."""
    if not account.hear(heard):
        return
    if account.source.kind is not Kind.GAUGE:
        moment.pairs.update(dict.fromkeys(metrics, account.pair(heard)))
        moment.edges.update(dict.fromkeys(metrics, account.edges) if account.edges else {})
        return
    canary, stable = (heard.get(("value", arm)) for arm in ARMS)
    if canary and stable and moment.scraped:  # without a scrape it is the value of the one before
        scale = account.source.scale
        moment.gauges.update(dict.fromkeys(metrics, (canary[0][1] * scale, stable[0][1] * scale)))
