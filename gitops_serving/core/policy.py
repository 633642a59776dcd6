"""A policy file: the steps of a rollout, and what a revision is held against on them.

The file is read into values that cannot be wrong: whoever holds a ``Policy`` has rising
weights, at least one step and one metric, and limits in the unit of their signal.  This
module knows what may be written and what is meant where nothing is.  It refuses to know
how evidence is formed, and which service follows which policy: that is the environment's.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Literal

from . import fields
from .fields import Field, complain, needed, opened, optional
from .model import Metric, Policy, Step, Timing

KIND = "RolloutPolicy"
Pack = Literal["knative/errors", "knative/latency"]
PACKS: tuple[Pack, ...] = ("knative/errors", "knative/latency")

# Of the format, and refused until they do something: a field that is read and not obeyed is a trap.
LATER_IN_SPEC = ("onSilence", "maxDuration", "onTimeout", "approval")
LATER_IN_ANALYSIS = ("falseAbort",)
LATER_IN_METRIC = ("query", "kind", "delay", "enforce")
LATER_IN_COMPARE = ("direction",)

READY_WITHIN = timedelta(minutes=10)
PATIENCE = timedelta(minutes=30)
MIN_REQUESTS = 20
MOST_REQUESTS = 1_000_000  # a guess: beyond it a typing mistake is likelier than a wish
LONGEST_BLOCK = timedelta(minutes=10)  # a guess: longer blocks leave a step hardly a sample
MOST_TOLERANCE = 10.0  # a guess: eleven times as bad as stable; whoever allows more compares nothing
SHORTEST = timedelta(milliseconds=1)  # as a limit of latency: no model answers faster
LONGEST = timedelta(hours=1)  # likewise: longer than Knative lets a request take by default


def read_policy(source: bytes, path: str) -> Policy:
    """Read a policy file; raise one Invalid with every complaint about it, each with its line."""
    root = fields.opening(source, path, KIND)
    opened(root, ("apiVersion", "kind", "metadata", "spec"))
    spec = opened(
        needed(root, "spec", "add a spec with steps and analysis"),
        ("steps", "readyWithin", "patience", "analysis"),
        LATER_IN_SPEC,
    )
    analysis = opened(
        needed(spec, "analysis", "add analysis with at least one metric"),
        ("minRequests", "timing", "metrics"),
        LATER_IN_ANALYSIS,
    )
    policy = Policy(
        name=fields.name(needed(fields.metadata(root), "name", "add a name for environments to refer to")),
        digest=hashlib.sha256(source).hexdigest()[:8],
        steps=_steps(spec),
        ready_within=fields.span(optional(spec, "readyWithin"), READY_WITHIN),
        patience=fields.span(optional(spec, "patience"), PATIENCE),
        min_requests=fields.whole(optional(analysis, "minRequests"), 1, MOST_REQUESTS, MIN_REQUESTS),
        timing=_timing(analysis),
        metrics=_metrics(analysis),
    )
    fields.finish(root)
    return policy


def _steps(spec: Field | None) -> tuple[Step, ...]:
    """Read the steps and check that their weights rise."""
    remedy = "add at least one step, such as {setWeight: 10, dwell: 5m}"
    steps: list[Step] = []
    for entry in fields.items(needed(spec, "steps", remedy), remedy):
        step = opened(entry, ("setWeight", "dwell"))
        weight = needed(step, "setWeight", "add one from 1 to 99")
        dwell = needed(step, "dwell", "add how long to stay at this weight, such as 5m")
        steps.append(Step(fields.whole(weight, 1, 99, 0), fields.span(dwell, timedelta())))
        before = steps[-2].weight if len(steps) > 1 else 0
        if weight is not None and 0 < steps[-1].weight <= before:
            message = f"step weights must rise ({steps[-1].weight} after {before})"
            complain(weight, message, "sort the steps or remove one", "order")
    return tuple(steps)


def _timing(analysis: Field | None) -> Timing:
    """Read which part of a step's samples is evidence."""
    timing, default = opened(optional(analysis, "timing"), ("block", "warmUp", "warmUpAfterShift")), Timing()
    return Timing(
        block=fields.span(optional(timing, "block"), default.block, LONGEST_BLOCK),
        warm_up=fields.span(optional(timing, "warmUp"), default.warm_up),
        warm_up_after_shift=fields.span(optional(timing, "warmUpAfterShift"), default.warm_up_after_shift),
    )


def _metrics(analysis: Field | None) -> tuple[Metric, ...]:
    """Read the metrics; at least one, since a rollout without evidence would promote anything."""
    remedy = "add at least one metric, such as {name: errors, pack: knative/errors, limit: {max: 1%}}"
    entries = [
        opened(entry, ("name", "pack", "compare", "limit"), LATER_IN_METRIC)
        for entry in fields.items(needed(analysis, "metrics", remedy), remedy)
    ]
    # The names, where they are there: a missing one is the complaint of the metric that lacks it.
    fields.unique([fields.child(entry, "name") for entry in entries if entry is not None and "name" in entry.value])
    return tuple(_metric(entry) for entry in entries if entry is not None)


def _metric(entry: Field) -> Metric:
    """Read one metric with its limits in the unit of its signal: a ratio or seconds."""
    name = fields.name(needed(entry, "name", "add a name to call it by in messages"))
    pack = fields.choice(needed(entry, "pack", f"write pack: {fields.listed(PACKS)}"), PACKS)
    compare = opened(optional(entry, "compare"), ("tolerance", "atLeast"), LATER_IN_COMPARE)
    limit = opened(optional(entry, "limit"), ("max",))
    if not {"compare", "limit"} & entry.value.keys():
        remedy = "add compare: {tolerance: 20%} or limit: {max: ...}"
        complain(entry, f"{entry.name} is held against nothing", remedy, "missing")
    tolerance = needed(compare, "tolerance", "add one, such as tolerance: 20%")
    at_least, maximum = optional(compare, "atLeast"), needed(limit, "max", "add the highest value that may pass")
    origin, signal = (pack or PACKS[0]).split("/")
    return Metric(
        name=name,
        signal=signal,
        pack=origin,
        tolerance=None if tolerance is None else fields.share(tolerance, MOST_TOLERANCE),
        at_least=_amount(at_least, pack, timedelta()) or 0.0,
        maximum=_amount(maximum, pack, SHORTEST),
    )


def _amount(field: Field | None, pack: Pack | None, least: timedelta) -> float | None:
    """Read an absolute value of a signal; where the pack is not known, neither is its unit."""
    match pack:
        case "knative/errors" if field is not None:
            return fields.share(field, 1.0)
        case "knative/latency" if field is not None:
            return fields.seconds(field, least, LONGEST)
        case _:
            return None
