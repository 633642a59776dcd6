"""A policy file: the steps of a rollout, and what a revision is held against on them.

The file is read into values that cannot be wrong: whoever holds a ``Policy`` has rising
weights, at least one step and one metric that decides, and room enough for the steps in
what a rollout may take.  This module knows what may be written and what is meant where
nothing is; the metrics have a module of their own.  It refuses to know how evidence is
formed, and which service follows which policy: that is the environment's.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Literal

from . import fields
from .fields import Field, child, complain, format_duration, needed, opened, optional
from .model import Exhausted, Policy, Step, Timing
from .policy_metrics import HAVE_PATIENCE, hasty, read_metrics

KIND = "RolloutPolicy"
IN_SPEC = ("steps", "readyWithin", "patience", "onSilence", "maxDuration", "onTimeout", "analysis")
LATER_IN_SPEC = ("approval",)  # of the format, and refused until it is obeyed: else it would be a trap
NO_APPROVAL = {"before": "none"}  # what is done anyway, and may be said
EXHAUSTED: tuple[Literal["abort", "hold"], ...] = ("abort", "hold")

READY_WITHIN = timedelta(minutes=10)
PATIENCE = timedelta(minutes=30)
MAX_DURATION = timedelta(hours=6)
FALSE_ABORT = 0.05
LEAST_FALSE_ABORT, MOST_FALSE_ABORT = 0.001, 0.5  # below, a day of evidence would not do; above, a coin would
MIN_REQUESTS = 20
MOST_REQUESTS = 1_000_000  # a guess: beyond it a typing mistake is likelier than a wish
LONGEST_BLOCK = timedelta(minutes=10)  # a guess: longer blocks leave a step hardly a sample


def read_policy(source: bytes, path: str) -> Policy:
    """Read a policy file; raise one Invalid with every complaint about it, each with its line."""
    root = fields.opening(source, path, KIND)
    opened(root, ("apiVersion", "kind", "metadata", "spec"))
    spec = _spec(needed(root, "spec", "add a spec with steps and analysis"))
    analysis = opened(
        needed(spec, "analysis", "add analysis with at least one metric"),
        ("falseAbort", "minRequests", "timing", "metrics"),
    )
    patience, on_silence = fields.span(optional(spec, "patience"), PATIENCE), _exhausted(spec, "onSilence")
    false_abort = optional(analysis, "falseAbort")
    policy = Policy(
        name=fields.name(needed(fields.metadata(root), "name", "add a name for environments to refer to")),
        path=path,
        digest=hashlib.sha256(source).hexdigest()[:8],
        steps=_steps(spec),
        ready_within=fields.span(optional(spec, "readyWithin"), READY_WITHIN),
        patience=patience,
        on_silence=on_silence,
        max_duration=fields.span(optional(spec, "maxDuration"), MAX_DURATION),
        on_timeout=_exhausted(spec, "onTimeout"),
        false_abort=fields.share(false_abort, MOST_FALSE_ABORT, LEAST_FALSE_ABORT) if false_abort else FALSE_ABORT,
        min_requests=fields.whole(optional(analysis, "minRequests"), 1, MOST_REQUESTS, MIN_REQUESTS),
        timing=_timing(analysis),
        metrics=read_metrics(analysis, patience if on_silence is Exhausted.ABORT else None),
    )
    fields.finish(root)
    _check_duration(spec, policy)
    _check_patience(spec, policy)
    fields.finish(root)
    return policy


def _spec(field: Field | None) -> Field | None:
    """Open the spec; that nobody has to approve of anything may stand in it."""
    unasked = field is not None and isinstance(field.value, dict) and field.value.get("approval") == NO_APPROVAL
    return opened(field, (*IN_SPEC, *LATER_IN_SPEC) if unasked else IN_SPEC, LATER_IN_SPEC)


def _exhausted(spec: Field | None, key: str) -> Exhausted:
    """Read what happens when patience or time is over; there is no word for a promotion."""
    word = fields.choice(optional(spec, key), EXHAUSTED)
    return Exhausted(word) if word else Exhausted.ABORT


def _check_duration(spec: Field | None, policy: Policy) -> None:
    """Check that a rollout can come to its end in time, once every field by itself is right."""
    assert spec is not None
    slowest = max((metric.delay for metric in policy.metrics if metric.enforced), default=timedelta())
    least = sum((max(step.dwell, slowest) for step in policy.steps), timedelta())
    if least >= policy.max_duration:
        where = optional(spec, "maxDuration") or child(spec, "steps")
        message = f"the steps take {format_duration(least)}, and maxDuration is {format_duration(policy.max_duration)}"
        complain(where, message, "raise maxDuration, or dwell less", "conflict")


def _check_patience(spec: Field | None, policy: Policy) -> None:
    """Check that silence cannot end a rollout before there could be any evidence."""
    assert spec is not None
    if policy.on_silence is not Exhausted.ABORT:
        return
    found = (hasty(metric, policy.patience, policy.timing.block) for metric in policy.metrics)
    message = next((words for words in found if words), "")
    if message:
        complain(optional(spec, "patience") or child(spec, "analysis"), message, HAVE_PATIENCE, "conflict")


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
