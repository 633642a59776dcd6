"""One pass of the line: fetch, read, plan, measure, judge, decide, propose, append, apply.

A tick needs no memory of the one before.  The line never turns back: nothing after
`decide` asks anything, and before `append` the cluster is given only what an earlier
commit already owes it.  Each service is isolated: one that cannot be read, observed
or proposed never stops another.

The only thing done without a commit is the brake: a canary that fails while Git does
not take its abort gets weight 0 at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gitops_serving.core.decide import decide
from gitops_serving.core.due import brake, due, live, owes
from gitops_serving.core.errors import Denied, Invalid, Refused, Unavailable, joined
from gitops_serving.core.fleet import Fleet, policy_of, read_fleet
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import Live, Policy, Rollout, Situation, Wait
from gitops_serving.core.propose import fold

from .snapshot import Seen, Snapshot
from .weigh import Memory, Weighed, weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from gitops_serving.core.model import Decision
    from gitops_serving.ports import Cluster, Metrics, Repository, Tree

ROUNDS = 3  # of apply and observe: a lost seat is put back with 100 and then the weight
MOST_CHANGES = 100  # of one push; the next tick has the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that one environment's controller works with."""

    environment: str
    repository: Repository
    metrics: Metrics
    cluster: Cluster
    clock: Callable[[], datetime]
    shipped: Mapping[str, bytes] = field(default_factory=dict)  # packs by path, where a tree holds none in their place
    each: Callable[..., Iterable[Any]] = map  # how services are looked at: one by one, or over a bounded pool
    memory: Memory = field(default_factory=Memory)  # a cache: what is in it can be asked again


def tick(desk: Desk, last: Snapshot | None = None) -> Snapshot:
    """Look, decide, append and apply once.  Raises Conflict: forget everything and tick again.

    Without Git, the tree of the last snapshot serves for judging and braking only.
    """
    now = desk.clock().replace(microsecond=0)
    try:
        tree = desk.repository.fetch()
    except (Unavailable, Refused) as error:
        tree_before = last.tree if last else None
        if tree_before is None:
            return Snapshot(environment=desk.environment, at=now, error=str(error), refused=isinstance(error, Refused))
        snapshot = look(desk, tree_before, now)
        _brake(desk, snapshot)
        return replace(snapshot, error=str(error), refused=isinstance(error, Refused))
    return _act(desk, tree, look(desk, tree, now, owing=True))


def look(desk: Desk, tree: Tree, now: datetime, *, owing: bool = False) -> Snapshot:
    """See every service of a tree and decide on it; ``owing`` first gives the cluster what the tree owes it."""
    fleet = read_fleet(tree, desk.environment, now, desk.shipped)
    desk.memory.keep(fleet.rollouts)
    services = desk.each(lambda item: _see(desk, fleet, item[0], item[1], now, owing=owing), fleet.rollouts.items())
    invalid = fleet.environment if isinstance(fleet.environment, Invalid) else None
    return Snapshot(environment=desk.environment, at=now, tree=tree, services=tuple(services), invalid=invalid)


def _see(desk: Desk, fleet: Fleet, service: str, rollout: Rollout | Invalid, now: datetime, *, owing: bool) -> Seen:
    """Gather one situation and decide on it; whatever goes wrong is this service's alone."""
    if isinstance(rollout, Invalid):
        return Seen(service=service, invalid=rollout)
    try:
        return _gather(desk, fleet, rollout, now, owing=owing)
    except Exception as error:  # noqa: BLE001 -- a poisonous service must not stop the fleet; its error is shown
        return Seen(service=service, error=f"{type(error).__name__}: {error}")


def _gather(desk: Desk, fleet: Fleet, rollout: Rollout, now: datetime, *, owing: bool) -> Seen:
    """Observe, plan, measure, judge, decide."""
    policy = policy_of(fleet, rollout)
    valid = policy if isinstance(policy, Policy) else None
    live_now = live(rollout, desk.cluster.observe(rollout.service))
    weighed = weigh(desk.metrics, desk.memory, rollout=rollout, policy=valid, live=live_now, now=now)
    verdict = weighed.verdict
    if owing:
        live_now = settle(desk, rollout, live_now, verdict)
    situation = Situation(
        rollout=rollout,
        policy=valid,
        live=live_now,
        verdict=verdict,
        now=now,
        gate=str(rollout.invalid) if rollout.invalid else None,
        environment=desk.environment,
    )
    wrong = policy if isinstance(policy, Invalid) else _misread(policy, weighed)
    return Seen(
        service=rollout.service,
        situation=situation,
        decision=decide(situation),
        queries=weighed.plan.queries,
        readings=weighed.readings,
        evidence=weighed.folded.evidence if weighed.folded else None,
        invalid=rollout.invalid or wrong,
    )


def _misread(policy: Policy, weighed: Weighed) -> Invalid | None:
    """Say which metrics hold everything up because they cannot be read; a source that is not there may yet come."""
    unread = weighed.folded.wrong if weighed.folded is not None else {}
    found = [
        Invalid(f"metric {metric.name}: {unread[metric.name]}", code="query", path=policy.path)
        for metric in policy.metrics
        if metric.enforced and metric.name in unread and metric.name not in weighed.plan.absent
    ]
    return joined(found) if found else None


def settle(desk: Desk, rollout: Rollout, seen: Live, verdict: Verdict) -> Live:
    """Give the cluster what it is due, and tell what is live then; an answer of no is part of the telling."""
    for _ in range(ROUNDS):
        owed = owes(rollout, seen, due(rollout, seen, verdict))
        if owed is None:
            return seen
        try:
            desk.cluster.apply(owed)
        except (Unavailable, Denied) as error:  # no revision is to blame
            return replace(seen, known=False, why=str(error))
        except Refused as error:
            return replace(seen, refused=str(error))
        seen = live(rollout, desk.cluster.observe(rollout.service))
    return seen


def _act(desk: Desk, tree: Tree, snapshot: Snapshot) -> Snapshot:
    """Append what was decided, then apply what is due now."""
    decided = [
        (s.decision, s.situation)
        for s in snapshot.services
        if s.situation is not None and s.decision is not None and not isinstance(s.decision, Wait)
    ]
    chosen, wrong = _chosen(decided, tree)
    try:
        done = _append(desk, tree, chosen)
    except (Refused, Unavailable) as error:
        _brake(desk, snapshot)
        return replace(snapshot, error=str(error), refused=isinstance(error, Refused))
    _brake(desk, snapshot, spared={situation.rollout.service for situation in done.moved})
    rollouts = read_fleet(done.tree, desk.environment, snapshot.at).rollouts if done.moved else {}
    failed = {situation.rollout.service: _give(desk, rollouts, situation) for situation in done.moved}
    errors = {**wrong, **done.wrong, **{service: words for service, words in failed.items() if words}}
    services = tuple(replace(s, error=str(errors.get(s.service, s.error))) for s in snapshot.services)
    return replace(snapshot, tree=done.tree, appended=done.lines, services=services)


def _chosen(
    decided: Sequence[tuple[Decision, Situation]], tree: Tree
) -> tuple[Sequence[tuple[Decision, Situation]], Mapping[str, Invalid]]:
    """Take as many changes as one push may hold; what cannot be written must not keep the others out for ever."""
    if len(decided) <= MOST_CHANGES:
        return decided, {}
    _, _, wrong = fold(decided, tree)
    return [pair for pair in decided if pair[1].rollout.service not in wrong][:MOST_CHANGES], wrong


def _give(desk: Desk, rollouts: Mapping[str, Rollout | Invalid], moved: Situation) -> str:
    """Apply what a service is due after its entry; say what broke.  A no of the cluster is for the next tick to see."""
    rollout = rollouts.get(moved.rollout.service)
    if not isinstance(rollout, Rollout):
        return ""
    try:
        settle(desk, rollout, moved.live, moved.verdict)
    except Exception as error:  # noqa: BLE001 -- as in _see
        return f"{type(error).__name__}: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class _Done:
    """What an append came to."""

    tree: Tree
    lines: tuple[str, ...] = ()  # first lines of the entries
    moved: tuple[Situation, ...] = ()
    wrong: Mapping[str, Invalid | Refused] = field(default_factory=dict)  # what kept a service's change out


def _append(desk: Desk, tree: Tree, decided: Sequence[tuple[Decision, Situation]]) -> _Done:
    """Push all changes of a tick at once; where the server refuses many, find out which it takes."""
    changes, moved, wrong = fold(decided, tree)
    if not changes:
        return _Done(tree, wrong=wrong)
    try:
        tree = desk.repository.append(tree.commit, changes)
    except Refused:
        if len(changes) == 1:
            raise
        half = len(decided) // 2
        return _in_halves(desk, tree, decided[:half], decided[half:])
    return _Done(tree, tuple(change.message.split("\n", 1)[0] for change in changes), tuple(moved), wrong)


def _in_halves(desk: Desk, tree: Tree, *halves: Sequence[tuple[Decision, Situation]]) -> _Done:
    """Append halves on their own; raise Refused only if none of them landed."""
    done = _Done(tree)
    refused: Refused | None = None
    for half in halves:
        try:
            more = _append(desk, done.tree, half)
        except Refused as error:
            refused = error
            refusals = {situation.rollout.service: error for _, situation in half}
            done = replace(done, wrong={**done.wrong, **refusals})
            continue
        done = _Done(more.tree, done.lines + more.lines, done.moved + more.moved, {**done.wrong, **more.wrong})
    if refused is not None and not done.moved:
        raise refused
    return done


def _brake(desk: Desk, snapshot: Snapshot, spared: Collection[str] = ()) -> None:
    """Give weight 0 to every canary that fails while Git cannot be told, or was told and did not take it."""
    for seen in snapshot.services:
        situation = seen.situation
        if situation is None or situation.verdict.outcome is not Outcome.FAIL or seen.service in spared:
            continue
        owed = owes(situation.rollout, situation.live, brake(situation.rollout, situation.live))
        if owed is None:
            continue
        try:
            desk.cluster.apply(owed)
        except (Refused, Unavailable):
            continue  # the next tick tries again
