"""A decision in words: the one text that commit, command line and page share.

It knows nothing of colours, columns or terminals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .decide import overdue
from .describe import short
from .due import arrived
from .measure import Outcome
from .model import UNREADABLE, Abort, Adopt, Decision, Drop, Exhausted, Promote, Refuse, Repair, Settle, Shift, Wait

if TYPE_CHECKING:
    from datetime import datetime

    from .model import Rollout, Situation

ACTIONS: dict[type[Decision], str] = {
    Wait: "wait",
    Adopt: "adopt",
    Shift: "shift",
    Promote: "promote",
    Abort: "abort",
    Drop: "drop",
    Refuse: "refuse",
    Repair: "repair",
    Settle: "settle",
}


def phase(rollout: Rollout) -> str:
    """Name where a service stands; derived, never stored."""
    if rollout.stable is None:
        return "New"
    if rollout.canary is not None:
        if rollout.wanted not in (rollout.canary.revision, UNREADABLE):
            return "Pending"
        return "Taking over" if rollout.canary.weight == 100 else "Stepping"
    if rollout.settling:
        return "Settling"
    return "Stable" if rollout.wanted in (rollout.stable.revision, UNREADABLE) else "Pending"


def explain(decision: Decision, seen: Situation) -> str:
    """Say in one sentence what is done, and why."""
    because = decision.because[:1].upper() + decision.because[1:]
    match decision:
        case Shift(weight=100):
            return f"{because}; all traffic goes to it."
        case Abort(rejects=rejects):
            kept = " This revision is refused until somebody asks for a retry." if rejects else ""
            return f"{because}; traffic returns to {_stable(seen)}.{kept}"
        case Drop():
            return f"{because}; {_stable(seen)} is restored, and the newer push waits."
        case Refuse():
            return f"{because}. The stable manifest is restored."
        case _:
            return f"{because}."


def _stable(seen: Situation) -> str:
    stable = seen.rollout.stable
    return f"stable {stable.revision}" if stable else "stable"


def evidence(seen: Situation) -> tuple[str, ...]:
    """Say what was measured, one line a metric, and what it comes to; before a rollout, what it will be able to see."""
    verdict = seen.verdict
    lines = [f"{m.outcome.value}: {m.because}" for m in verdict.measurements]
    if verdict.measurements:
        lines.append(f"evidence altogether {short(verdict.e)}; {short(verdict.bound)} ends a rollout")
    return (*lines, *([verdict.foresight] if verdict.foresight else []))


def step_of(seen: Situation, weight: int) -> str:
    """Name a step by its rank in the policy, as in 2/3; empty: the weight is on none."""
    if seen.policy is None or not 1 <= weight < 100:
        return ""
    rank = sum(1 for step in seen.policy.steps if step.weight <= weight)
    return f"{max(rank, 1)}/{len(seen.policy.steps)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The instants, none of them past, at which time alone can change the decision; None: not in this way."""

    dwelt: datetime | None = None  # the dwell is over: up, if the verdict is pass then
    unready: datetime | None = None  # a canary that is still not ready is aborted
    silent: datetime | None = None  # one of which there still is no evidence, at the earliest
    overtime: datetime | None = None  # one that still is below 100 percent

    @property
    def first(self) -> datetime | None:
        """The earliest of them."""
        known = (self.dwelt, self.unready, self.silent, self.overtime)
        return min((at for at in known if at is not None), default=None)


def ahead(seen: Situation) -> Ahead:
    """List what is to be expected of time: nothing, where people have the word, a gate is closed or a push waits."""
    rollout, live, verdict, policy = seen.rollout, seen.live, seen.verdict, seen.policy
    canary = rollout.canary
    if canary is None or policy is None or rollout.held or seen.gate or not rollout.admitted:
        return Ahead()
    begun = max(canary.since, live.since or canary.since)
    below, here, left = canary.weight < 100, arrived(rollout, live), policy.patience - verdict.silent_for
    sighted = live.known and verdict.outcome is not Outcome.BLIND
    mute = verdict.outcome is Outcome.SILENT and policy.on_silence is Exhausted.ABORT
    times: dict[str, datetime] = {}
    if below and here and not overdue(seen):
        times["dwelt"] = begun + policy.step_at(canary.weight).dwell
    if live.known and not here and live.created == canary.label and not live.ready:
        times["unready"] = begun + rollout.held_for + policy.ready_within
    if below and here and mute:
        times["silent"] = seen.now + left
    if below and sighted and policy.on_timeout is Exhausted.ABORT:
        times["overtime"] = canary.started + rollout.held_in_all + verdict.drifting + policy.max_duration
    return Ahead(**{name: at for name, at in times.items() if at >= seen.now})


def next_change(seen: Situation) -> datetime | None:
    """The earliest instant at which time alone can change the decision; None: it waits for something else."""
    return ahead(seen).first
