"""The metrics of a policy: what each is read from, and what it is held against.

A metric names a signal of a pack, or brings a query of its own.  What a pack knows
of its signals (queries, kind, unit) is looked up elsewhere; here only the form of
its name is checked, so a margin is read in the unit that it is written in, and
remembered with it.  Of errors and latency everybody knows the unit, and a number
without one is a share or seconds.

This module refuses to know how evidence is formed, and whether a pack is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from . import fields, template
from .fields import Field, child, complain, needed, opened, optional
from .measure import Kind, Metric, Source

FIELDS = ("name", "pack", "query", "total", "kind", "unit", "compare", "limit", "delay", "enforce")
OF_QUERIES = ("kind", "unit", "total")  # a pack says these of its signals
KINDS: tuple[Literal["gauge", "histogram", "counter", "drift"], ...] = ("gauge", "histogram", "counter", "drift")
UNITS: tuple[Literal["ratio", "seconds", "none"], ...] = ("ratio", "seconds", "none")
DIRECTIONS: tuple[Literal["lowerIsBetter", "higherIsBetter"], ...] = ("lowerIsBetter", "higherIsBetter")
WELL_KNOWN = {"errors": "ratio", "latency": "seconds"}  # signals with their units, of whatever pack

MOST_TOLERANCE = 10.0  # a guess: eleven times as bad as stable; whoever allows more compares nothing
SHORTEST = timedelta(milliseconds=1)  # as a limit in seconds: no model answers faster
HAVE_PATIENCE = "raise spec.patience above that, shorten timing.block or delay, or write onSilence: hold"
WINDOW_BLOCKS = 3  # of which a window of a gauge is made
# A look comes as often as Prometheus scrapes, or thrice a block.
SHORTEST_LOOK, LONGEST_LOOK = timedelta(seconds=1), timedelta(minutes=1)
LONGEST = timedelta(hours=1)  # as a limit of latency: longer than Knative lets a request take by default

_PACK = re.compile(rf"({fields.NAME.pattern}/)?{fields.NAME.pattern}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signal:
    """What a metric's own lines say of its values, before any pack is looked up."""

    pack: str = ""  # empty: the policy's own query
    kind: Kind | None = None  # None: its pack's to say, or misspelt
    unit: str | None = None  # None: that of the margins and limits, as they are written

    @property
    def well_known(self) -> str:
        """The signal, if it is one of those of which everybody knows the unit; else empty."""
        signal = self.pack.rpartition("/")[2]
        return signal if signal in WELL_KNOWN else ""

    @property
    def may_be_gauge(self) -> bool:
        """Whether more of it may be better."""
        return self.kind in (Kind.GAUGE, None) and not self.well_known

    @property
    def most(self) -> float:
        """The largest share that can be meant: of requests, no more than all."""
        return 1.0 if self.well_known == "errors" or self.kind is Kind.COUNTER else MOST_TOLERANCE

    @property
    def longest(self) -> timedelta:
        """The longest time that can be meant."""
        return LONGEST if self.well_known == "latency" else fields.LONGEST


def read_metrics(analysis: Field | None, soonest: timedelta | None) -> tuple[Metric, ...]:
    """Read the metrics; at least one decides, since a rollout without evidence would promote anything.

    ``soonest``: when silence ends a rollout, so that no label may be later than that; None: it never does.
    """
    remedy = "add at least one metric, such as {name: errors, pack: errors, limit: {max: 1%}}"
    listed = needed(analysis, "metrics", remedy)
    entries = [entry for each in fields.items(listed, remedy) if (entry := opened(each, FIELDS)) is not None]
    # The names, where they are there: a missing one is the complaint of the metric that lacks it.
    fields.unique([child(entry, "name") for entry in entries if "name" in entry.value])
    metrics = tuple(_metric(entry, soonest) for entry in entries)
    if listed is not None and metrics and not any(_decides(metric) for metric in metrics):
        message = "no metric is enforced against a comparison or a limit, so anything would pass"
        complain(listed, message, "remove enforce: false from one of them, or add a metric that decides", "dry")
    return metrics


def hasty(metric: Metric, patience: timedelta, block: timedelta) -> str:
    """Say why a metric's silence would end every rollout; empty: its first evidence comes in time.

    It comes with the first block, or a gauge's first window, after the warm-up and the delay, and at a look.
    """
    gauge = any(source.kind is Kind.GAUGE for source in metric.sources)
    blocks = WINDOW_BLOCKS if gauge else 1
    look = min(max(timedelta(seconds=block // timedelta(seconds=3)), SHORTEST_LOOK), LONGEST_LOOK)
    needed = metric.delay + blocks * block + look
    if not _decides(metric) or patience > needed:
        return ""
    said = fields.format_duration
    parts = [f"a delay of {said(metric.delay)}"] if metric.delay else []
    parts += [f"{'three blocks' if gauge else 'a block'} of {said(block)}", f"{said(look)} until somebody looks"]
    return (
        f"silence aborts after {said(patience)}, and the first evidence of metric {metric.name} may take "
        f"{said(needed)}: {', '.join(parts[:-1])} and {parts[-1]}"
    )


def _decides(metric: Metric) -> bool:
    """Whether a metric can let a step pass: it is obeyed, and not a drift, which only warns."""
    return metric.enforced and all(source.kind is not Kind.DRIFT for source in metric.sources)


def _metric(entry: Field, soonest: timedelta | None) -> Metric:
    """Read one metric."""
    name = fields.name(needed(entry, "name", "add a name to call it by in messages"))
    signal = _signal(entry)
    delay = optional(entry, "delay")
    metric = Metric(
        name=name,
        pack=signal.pack,
        delay=fields.span(delay, timedelta()),
        enforced=fields.flag(optional(entry, "enforce"), default=signal.kind is not Kind.DRIFT),
    )
    if delay is not None and metric.enforced and soonest is not None and metric.delay >= soonest:
        given, most = fields.shown(delay.value), fields.format_duration(soonest)
        message = f"{delay.name} is {given}, and silence aborts after {most}"
        complain(delay, message, "raise spec.patience above it, or add enforce: false", "conflict")
    metric = _held_against(metric, entry, signal)
    return replace(metric, sources=_sources(entry, signal, metric.unit))


def _signal(entry: Field) -> _Signal:
    """Read what a metric measures: a signal of a pack, or a query of its own."""
    if "query" not in entry.value:
        for key in OF_QUERIES:
            if key in entry.value:
                found = child(entry, key)
                complain(found, f"{found.name} goes with a query, and a pack knows its own", "remove it", "conflict")
        named = needed(entry, "pack", "add pack: errors, pack: latency, or a query of your own")
        remedy = "write NAME/SIGNAL, or SIGNAL for whichever pack is there, such as errors"
        pack = fields.text(named, _PACK.fullmatch, remedy)
        return _Signal(pack=pack, unit=WELL_KNOWN.get(pack.rpartition("/")[2]))
    if "pack" in entry.value:
        complain(child(entry, "pack"), f"{entry.name} has both a pack and a query", "keep one of them", "conflict")
    kind = _kind(entry)
    said = optional(entry, "unit")
    if kind in (Kind.COUNTER, Kind.DRIFT):
        if said is not None:
            complain(said, f"{said.name} is for gauges and histograms", "remove it", "conflict")
        return _Signal(kind=kind, unit="ratio" if kind is Kind.COUNTER else None)
    unit = fields.choice(said, UNITS)
    return _Signal(kind=kind, unit="" if unit == "none" else unit)


def _kind(entry: Field) -> Kind | None:
    """Read the kind of a policy's own query; None: it is misspelt."""
    field = optional(entry, "kind")
    word = "gauge" if field is None else fields.choice(field, KINDS)
    if "total" in entry.value and word not in ("counter", None):
        total = child(entry, "total")
        complain(total, f"{total.name} goes with kind: counter", "write that, or remove it", "conflict")
    return None if word is None else Kind(word)


def _sources(entry: Field, signal: _Signal, unit: str) -> tuple[Source, ...]:
    """Read the policy's own query; a pack's are looked up elsewhere."""
    if "query" not in entry.value:
        return ()
    read = template.gauge if signal.kind in (Kind.GAUGE, None) else template.counter
    query = read(optional(entry, "query"))
    match signal.kind:
        case Kind.COUNTER:
            total = needed(entry, "total", "add the query that counts all events; query counts the bad ones")
            parts = {"total": template.counter(total), "bad": query}
        case Kind.HISTOGRAM | Kind.DRIFT:
            parts = {"buckets": query}
        case Kind.GAUGE:
            parts = {"value": query}
        case None:
            return ()
    return (Source(kind=signal.kind, parts=parts, unit=unit if signal.unit is None else signal.unit),)


# -- what it is held against -----------------------------------------------------------------------------------------


def _held_against(metric: Metric, entry: Field, signal: _Signal) -> Metric:
    """Read the comparison with stable and the limit, in one unit."""
    if signal.kind is Kind.DRIFT:
        _only_drifts(entry)
        return metric
    compare = opened(optional(entry, "compare"), ("tolerance", "atLeast", "direction"))
    limit = opened(optional(entry, "limit"), ("max", "min"))
    if not {"compare", "limit"} & entry.value.keys():
        remedy = "add compare: {tolerance: 20%} or limit: {max: ...}"
        complain(entry, f"{entry.name} is held against nothing", remedy, "missing")
    higher = _higher(entry, compare, limit, signal)
    tolerance = needed(compare, "tolerance", "add one, such as tolerance: 20%")
    at_least, bound = optional(compare, "atLeast"), _bound(limit, signal, higher=higher)
    margin = _amount(at_least, signal, timedelta())
    border = _amount(bound, signal, SHORTEST)
    if at_least is not None and margin is not None and margin[0] < 0:
        complain(at_least, f"{at_least.name} is {fields.shown(at_least.value)}", "choose 0 or more", "range")
    if bound is not None and margin is not None and border is not None and margin[1] != border[1]:
        message = f"{bound.name} is {_in(border[1])}, and compare.atLeast is {_in(margin[1])}"
        complain(bound, message, "write both in the same unit", "unit")
    return replace(
        metric,
        tolerance=None if tolerance is None else fields.share(tolerance, 1.0 if higher else MOST_TOLERANCE),
        at_least=margin[0] if margin else 0.0,
        maximum=border[0] if border and not higher else None,
        minimum=border[0] if border and higher else None,
        unit=border[1] if border else margin[1] if margin else "",
        higher_is_better=higher,
    )


def _only_drifts(entry: Field) -> None:
    """Complain about what a drift is not held against."""
    for key in ("compare", "limit"):
        if key in entry.value:
            found = child(entry, key)
            complain(
                found, f"{found.name} says nothing of a drift, which only warns of a change", "remove it", "conflict"
            )


def _higher(entry: Field, compare: Field | None, limit: Field | None, signal: _Signal) -> bool:
    """Whether more is better: the comparison says so, or without one a limit that is a least value."""
    said = optional(compare, "direction")
    if said is not None and not signal.may_be_gauge:
        complain(said, f"{said.name} is for gauges", "remove it; of anything else less is better", "conflict")
        return False
    if "compare" not in entry.value:
        return signal.may_be_gauge and limit is not None and "min" in limit.value
    return fields.choice(said, DIRECTIONS) == "higherIsBetter"


def _bound(limit: Field | None, signal: _Signal, *, higher: bool) -> Field | None:
    """Find the end of a limit that the direction asks for; the other one says nothing that could be broken."""
    if limit is None:
        return None
    right, wrong = ("min", "max") if higher else ("max", "min")
    if wrong not in limit.value:
        meant = "add the lowest value that may pass" if higher else "add the highest value that may pass"
        return needed(limit, right, meant)
    found = child(limit, wrong)
    if higher:
        complain(found, f"{found.name} is for what should be low, and here more is better", "write min", "conflict")
    else:
        remedy = "add direction: higherIsBetter to compare, or write max" if signal.may_be_gauge else "write max"
        complain(found, f"{found.name} is for gauges of which more is better", remedy, "conflict")
    return optional(limit, right)


def _amount(field: Field | None, signal: _Signal, least: timedelta) -> tuple[float, str] | None:
    """Read an absolute value with its unit; None: there is none, or it is wrong."""
    if field is None:
        return None
    unit = _as_written(field.value) if signal.unit is None else signal.unit
    match unit:
        case "ratio":
            return fields.share(field, signal.most), unit
        case "seconds":
            return fields.seconds(field, least, signal.longest), unit
    found = fields.number(field.value)
    if found is None:
        remedy = "write a bare number" if signal.unit == "" else "write it like 1%, 250ms or 0.25"
        complain(field, f"{field.name} is {fields.shown(field.value)}, not a number", remedy, "type")
        return None
    return found, unit


def _as_written(value: object) -> str:
    """Tell a unit from how a value is written."""
    if not isinstance(value, str):
        return ""
    return "ratio" if value.endswith("%") else "seconds" if fields.is_time(value) else ""


def _in(unit: str) -> str:
    return {"ratio": "a share", "seconds": "a time"}.get(unit, "a bare number")
