"""The one place where a rollout is steered.

`decide` is total and pure: for every situation it names exactly one next move,
and it neither reads a clock nor raises.  Read it from top to bottom: each line
may rely on all lines above it having said no.

A failing verdict outranks a hold, because a hold stops progress and not safety.
Going up waits until what was appended last has arrived in the cluster; going
back, starting over and a person's abort do not wait for it.  A revision becomes
stable only when the cluster says that all traffic is on it.

Patience and time may run out: then the policy says whether to abort or to hold, and
it has no word for promoting.  Neither ends anything while we cannot see.
"""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING

from .due import arrived, hindered, restored
from .fields import format_duration
from .measure import Outcome
from .model import (
    Abort,
    Adopt,
    Decision,
    Drop,
    Exhausted,
    Promote,
    Refuse,
    Repair,
    Request,
    Settle,
    Shift,
    Situation,
    Wait,
)

if TYPE_CHECKING:
    from .model import Canary, Live, Policy, Rollout

UNGUARDED = timedelta(minutes=30)  # how long a canary may stand without a valid policy; a guess
UNHEARD = timedelta(minutes=1)  # by when status speaks of what was applied, if anything turns at all; a guess
NOT_THERE = "there is no object yet; the next tick of the controller creates it, or its log says why not"


def decide(seen: Situation) -> Decision:
    """Name the next move of one rollout."""
    rollout, live = seen.rollout, seen.live
    stable, canary = rollout.stable, rollout.canary
    if stable is None:
        heard = live.unheard is None or seen.now - live.unheard > UNHEARD
        same = heard and live.settled and live.latest == live.baseline == rollout.wanted
        return Adopt() if same else Wait(_unadopted(seen))
    if canary is not None and canary.weight == 100 and live.known and live.baseline == canary.revision:
        return Promote()
    if rollout.wanted == stable.revision:
        return _restore(seen)
    if canary is not None and canary.revision == rollout.wanted:
        return _trial(seen, canary)
    if rollout.wanted in rollout.rejected:
        return Refuse("this revision was rejected before; ask for a retry to try it again")
    return _admit(seen)


def _unadopted(seen: Situation) -> str:
    """Say why a service is not taken over yet."""
    live = seen.live
    if stopped := hindered(live):
        return stopped
    if live.content is None:
        return NOT_THERE
    if live.baseline is None:
        return live.failure or "the first revision is starting"
    if live.content != seen.rollout.wanted:
        return "out of sync: the cluster runs something else than Git holds; push what it runs, or delete it there"
    return "the cluster is not at rest yet"


def _restoring(live: Live) -> str:
    """Say that stable is coming back, and what it waits for."""
    frozen = f"; {live.broken} is broken and freezes the route until then" if live.broken else ""
    return hindered(live) or live.failure or f"the stable revision is coming back{frozen}"


def _restore(seen: Situation) -> Decision:
    """Git wants the stable revision: bring everything back to it, then leave no trace."""
    rollout, live = seen.rollout, seen.live
    if rollout.canary is not None:
        return Abort("the stable revision was pushed back")
    if not rollout.admitted:
        return Repair("owned fields were edited")
    if not rollout.settling:
        return Wait(hindered(live) or "nothing to roll out")
    return Settle() if restored(rollout, live) else Wait(_restoring(live))


def _admit(seen: Situation) -> Decision:
    """Git wants a revision that is not on trial: put it on trial, once that is safe."""
    rollout, live, policy = seen.rollout, seen.live, seen.policy
    stable, canary = rollout.stable, rollout.canary
    assert stable is not None
    seated = live.known and live.baseline == stable.revision
    ready = seated and (canary is not None or live.latest == stable.revision)
    if rollout.settling and canary is None:
        return Settle() if restored(rollout, live) else Wait(f"{_restoring(live)}; then the new one")
    stopped = seen.gate or ("held" if rollout.held else None)
    if canary is None and rollout.asked is Request.PROMOTE:
        return Shift(100, "a person asked for it")
    if canary is None and rollout.direct and ready and not stopped:
        return Shift(100, rollout.direct)
    if stopped is None and policy is None:
        stopped = "no valid policy"
    blind = seen.verdict.because if seen.verdict.outcome is Outcome.BLIND else seen.verdict.blind
    if stopped is None and blind:
        stopped = f"{blind}; no rollout starts blind"
    if ready and policy is not None and not stopped:
        return Shift(policy.steps[0].weight, "a new revision was pushed")
    if canary is not None:
        if seen.verdict.outcome is Outcome.FAIL:
            return Drop(seen.verdict.because, rejects=True)
        if rollout.asked is Request.ABORT:
            return Drop("a person asked for it", rejects=True)
        if live.known and live.baseline is not None and not seated:
            return Drop("the cluster fell back while a newer revision was pushed")
    return Wait(stopped or hindered(live) or "the stable revision is not in place")


def _trial(seen: Situation, canary: Canary) -> Decision:
    """The revision that Git wants is on trial: first everything that ends it."""
    rollout, live, verdict = seen.rollout, seen.live, seen.verdict
    stable = rollout.stable
    assert stable is not None
    if verdict.outcome is Outcome.FAIL:
        return Abort(verdict.because, rejects=True)
    lost = live.known and live.baseline not in (None, stable.revision) and live.latest != stable.revision
    if lost and canary.weight < 100:
        return Abort("the cluster fell back to another revision")
    if rollout.asked is Request.ABORT:
        return Abort("a person asked for it", rejects=True)
    if not rollout.admitted:
        return Wait(_edited(rollout))
    if live.refused:
        return Abort(f"the cluster refused it: {live.refused}", rejects=True)
    if rollout.asked is Request.PROMOTE and arrived(rollout, live) and canary.weight < 100:
        return Shift(100, "a person asked for it")
    if rollout.held or seen.gate:
        return Wait(seen.gate or "held")
    if seen.policy is None:
        late = seen.now - canary.since > UNGUARDED
        return Abort("no valid policy") if late else Wait("no valid policy")
    decision = _progress(seen, canary, seen.policy)
    # What ends the trial by itself says more than that it takes too long.
    return _overtime(seen.policy) if overdue(seen) and not isinstance(decision, Abort) else decision


def _edited(rollout: Rollout) -> str:
    """Say what somebody wrote into the fields that are ours."""
    found, (_, due) = rollout.owned, rollout.expected
    return (
        f"weight and label were edited by hand: {found.weight} and {found.label} "
        f"where the record says {due.weight} and {due.label}; put them back, or ask for abort"
    )


def _progress(seen: Situation, canary: Canary, policy: Policy) -> Decision:
    """Nothing ends the trial: is it there yet, do we know enough, is it time."""
    rollout, live, verdict = seen.rollout, seen.live, seen.verdict
    begun = max(canary.since, live.since or canary.since)
    if not arrived(rollout, live):
        if live.created != canary.label or live.ready:
            return Wait(hindered(live) or "the cluster is catching up")
        waited = seen.now - begun - rollout.held_for
        if live.known and waited > policy.ready_within:
            return Abort(
                f"not ready in time (after {_whole(waited)}; readyWithin is {format_duration(policy.ready_within)})",
                rejects=True,
            )
        return Wait(live.failure or "the canary is starting")
    if canary.weight == 100:
        return Wait("the canary is taking over")
    if verdict.outcome is Outcome.BLIND:
        return Wait(verdict.because)
    if verdict.outcome is Outcome.SILENT:
        if verdict.silent_for <= policy.patience:
            return Wait(verdict.because)
        said, patience = "no evidence in time", f"patience is {format_duration(policy.patience)}"
        if policy.on_silence is Exhausted.HOLD:  # how long it is would be news at every look
            return Wait(f"{said} ({patience}); the policy holds until there is, or somebody promotes or aborts")
        return Abort(f"{said} (for {_whole(verdict.silent_for)}; {patience})")
    if seen.now - begun < policy.step_at(canary.weight).dwell:
        return Wait("healthy, dwelling")
    above = [s for s in policy.steps if s.weight > canary.weight]
    return Shift(above[0].weight, verdict.because) if above else Shift(100, f"all steps passed; {verdict.because}")


def _whole(span: timedelta) -> str:
    """Write how long something took, in whole seconds; those that have begun count."""
    return format_duration(timedelta(seconds=ceil(span.total_seconds())))


def _overtime(policy: Policy) -> Abort | Wait:
    """Say what follows from a rollout that takes too long."""
    said = f"the rollout took longer than its policy allows ({format_duration(policy.max_duration)})"
    if policy.on_timeout is Exhausted.HOLD:
        return Wait(f"{said}; the policy holds until somebody promotes or aborts")
    return Abort(said)


def overdue(seen: Situation) -> bool:
    """Whether the rollout takes longer than its policy allows; never said of what we cannot see.

    Neither the time that people held it counts nor that in which a drift alone did: drifts hold, and never abort.
    """
    rollout, canary, policy = seen.rollout, seen.rollout.canary, seen.policy
    if canary is None or policy is None or canary.weight == 100:
        return False
    sighted = seen.live.known and seen.verdict.outcome is not Outcome.BLIND
    return sighted and seen.now - canary.started - rollout.held_in_all - seen.verdict.drifting > policy.max_duration
