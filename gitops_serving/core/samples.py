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
    from collections.abc import Mapping

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
    if plan.origin is None or plan.terms is None:
        return None
    if before is None or before.key != plan.key:
        before = Folded(key=plan.key, until=plan.first - 1, evidence=begun(plan.terms), wrong=plan.wrong)
    if plan.last < plan.first or any(reading.blind for reading in readings.values()):
        return before
    scraped = {index for series in readings[WITNESS].series for index, _ in _indexed(plan, series)}
    # Beyond the last scrape there is only what was there before: that is left for later, unless it is long past.
    last = plan.last if plan.behind else min(plan.last, max(scraped, default=plan.first - 1))
    accounts = {key: account.copy() for key, account in before.accounts.items()}
    moments = {
        index: Moment(t=t, step=step_at(plan.steps, t), pairs={}, gauges={}, edges={}, scraped=index in scraped)
        for index in plan.instants
        if index <= last
        for t in (index * plan.step.total_seconds(),)
    }
    for signal, metrics in _signals(plan):
        account = accounts.setdefault(signal.key, Account(signal.source))
        for index, heard in _heard(plan, signal, readings).items():
            if index in moments:
                _put(account, heard, metrics, moments[index])
    odd = {name: odd for name, signal in plan.signals.items() if (odd := accounts[signal.key].odd)}
    return replace(
        before,
        until=last,
        evidence=fold(before.evidence, list(moments.values())),
        accounts=accounts,
        wrong={**odd, **plan.wrong, **_refused(plan, readings)},
    )


def _signals(plan: Plan) -> list[tuple[Signal, list[str]]]:
    """List the signals of a plan, each once, with the metrics that ask for it."""
    found: dict[str, tuple[Signal, list[str]]] = {}
    for name, signal in plan.signals.items():
        found.setdefault(signal.key, (signal, []))[1].append(name)
    return list(found.values())


def _queries(signal: Signal) -> dict[tuple[str, str], str]:
    """Name the queries about a signal, by part and revision."""
    return {(part, arm): f"{signal.key}/{part}/{arm}" for part in signal.source.parts for arm in ARMS}


def _refused(plan: Plan, readings: Mapping[str, Reading]) -> dict[str, str]:
    """Say by metric why Prometheus does not answer its queries, and never will."""
    found = {}
    for name, signal in plan.signals.items():
        asked = [readings[query] for query in _queries(signal).values() if query in readings]
        if cause := next((reading.cause for reading in asked if reading.wrong), ""):
            found[name] = cause
    return found


def _heard(plan: Plan, signal: Signal, readings: Mapping[str, Reading]) -> dict[int, Heard]:
    """Sort what was read of a signal by instants of the grid, which rise; what is no number is no sample."""
    found: dict[int, dict[tuple[str, str], list[tuple[Line, float]]]] = {}
    for key, query in _queries(signal).items():
        for series in readings[query].series if query in readings else ():
            line = Line.of(series, signal.source.scale)
            for index, value in _indexed(plan, series):
                if math.isfinite(value):
                    found.setdefault(index, {}).setdefault(key, []).append((line, value))
    return {index: found[index] for index in sorted(found)}


def _indexed(plan: Plan, series: Series) -> list[tuple[int, float]]:
    """Number the samples of a series by instants of the grid."""
    assert plan.origin is not None
    origin, step = plan.origin.timestamp(), plan.step.total_seconds()
    return [(round((t - origin) / step), value) for t, value in series.samples]


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
