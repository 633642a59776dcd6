"""A decision in words: the one text that commit, command line and page share.

It knows nothing of colours, columns or terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .due import arrived
from .model import (
    UNREADABLE,
    Abort,
    Adopt,
    Decision,
    Drop,
    Promote,
    Refuse,
    Repair,
    Settle,
    Shift,
    Wait,
)

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
    """Write one line per measurement, for the body of a commit."""
    return tuple(f"{m.outcome.value}: {m.because}" for m in seen.verdict.measurements)


def step_of(seen: Situation, weight: int) -> str:
    """Name a step by its rank in the policy, as in 2/3; empty: the weight is on none."""
    if seen.policy is None or not 1 <= weight < 100:
        return ""
    rank = sum(1 for step in seen.policy.steps if step.weight <= weight)
    return f"{max(rank, 1)}/{len(seen.policy.steps)}"


def next_change(seen: Situation) -> datetime | None:
    """The earliest instant at which time alone can change the decision; None: it waits for something else."""
    canary, policy = seen.rollout.canary, seen.policy
    if canary is None or policy is None or seen.rollout.held or seen.gate or canary.weight == 100:
        return None
    begun = max(canary.since, seen.live.since or canary.since)
    if arrived(seen.rollout, seen.live):
        return begun + policy.step_at(canary.weight).dwell
    return begun + policy.ready_within + seen.rollout.held_for
