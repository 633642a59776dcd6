"""A policy against the past: what it would have done with a rollout that is over, and when.

The clock is walked from sample to sample.  At each one the evidence is folded by the steps
that this policy would have been on, and `decide` names the next move of a situation in
which cluster and record are as this policy would have left them; there is no second judge,
and no second set of rules.

One thing cannot be had: the traffic is what the weights of then gave.  A policy that would
have given more sees fewer requests here than it would have had, one that would have given
less sees more; and one that waits longer than the canary stood has nothing to go by at the
end, and is said to be undecided.  What only a cluster does, such as refusing a manifest or
not becoming ready, is not played again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING

from .decide import decide
from .evidence import Evidence, Moment, begun, fold, shares
from .judge import STALE_AFTER, assess, silence
from .measure import Outcome, Verdict
from .model import Abort, Canary, Live, Owned, Past, Policy, Rollout, Shift, Situation, Stable
from .past import End
from .plan import step_at, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .past import Journey

LABEL, STABLE = "canary.1", "stable"  # names that stand for what the cluster had


class Would(Enum):
    """What a policy would have done."""

    ABORTED = "aborted"
    PROMOTED = "promoted"
    UNDECIDED = "undecided"  # its samples end before it had made up its mind
    UNKNOWN = "unknown"  # nothing is left to judge by


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What Prometheus still knows of a rollout, as moments, and how finely it was looked at."""

    moments: Sequence[Moment]
    step: timedelta  # of the grid
    lag: timedelta  # how far behind the clock a tick reads
    wrong: Mapping[str, str] = field(default_factory=dict)  # by metric: why it cannot be read


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence at one instant."""

    at: datetime
    total: float
    by: tuple[tuple[str, float], ...]  # what may end the rollout: name and e-value


@dataclass(frozen=True, slots=True)
class Move:
    """A weight that the policy would have given."""

    weight: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a policy would have done with one rollout."""

    would: Would
    because: str
    policy: str = ""  # name@digest
    at: datetime | None = None  # when it would have; None: it would not
    moves: tuple[Move, ...] = ()
    curve: tuple[Point, ...] = ()
    bound: float = 20.0  # evidence at which it aborts


@dataclass(slots=True)
class _Walk:
    """Where a replay has got to."""

    journey: Journey
    policy: Policy
    samples: Samples
    evidence: Evidence
    canary: Canary
    moves: list[Move]
    curve: list[Point] = field(default_factory=list)
    because: str = "there are no samples of it"

    @property
    def steps(self) -> tuple[float, ...]:
        """Seconds after the start at which each weight was given."""
        return tuple((move.at - self.canary.started).total_seconds() for move in self.moves)


def unknown(because: str, policy: Policy | None = None) -> Replayed:
    """Say that nothing is left to judge by, and why."""
    return Replayed(would=Would.UNKNOWN, because=because, policy=_named(policy) if policy else "")


def replay(journey: Journey, policy: Policy, samples: Samples) -> Replayed:
    """Walk the clock from a rollout's first sample to its last, or to what the policy would have done."""
    start, weight = journey.started, policy.steps[0].weight
    canary = Canary(revision=journey.revision, label=LABEL, weight=weight, started=start, since=start)
    walk = _Walk(journey, policy, samples, begun(terms(policy)), canary, [Move(weight, start)])
    now = start
    for moment in samples.moments:
        now = start + timedelta(seconds=moment.t) + samples.lag  # when a tick would have seen it
        walk.evidence = fold(walk.evidence, [replace(moment, step=step_at(walk.steps, moment.t))])
        if moment.t < 0:
            continue
        walk.curve.append(_point(walk, start + timedelta(seconds=moment.t)))
        if ended := _looked(walk, now):
            return ended
    # A tick of then may have come a little before ours, at every step: the last dwell may miss as much, and no more.
    last = bool(samples.moments) and walk.canary.weight == policy.steps[-1].weight
    because, until = walk.because, now + (len(policy.steps) + 1) * (samples.step + samples.lag)
    while last and now < until:
        now += samples.step
        if (ended := _looked(walk, now)) and ended.would is Would.PROMOTED:
            return ended
    return _replayed(walk, Would.UNDECIDED, f"at {walk.canary.weight}% when its samples end: {because}", None)


def _looked(walk: _Walk, now: datetime) -> Replayed | None:
    """Decide as a tick would have; None: the walk goes on."""
    decision = decide(_situation(walk, now))
    walk.because = decision.because
    match decision:
        case Abort(because=because):
            return _replayed(walk, Would.ABORTED, because, now)
        case Shift(weight=100, because=because):
            return _replayed(walk, Would.PROMOTED, because, now)
        case Shift(weight=weight):
            left = Past(walk.canary.weight, walk.canary.since, walk.journey.held_for(walk.canary.since, now))
            walk.canary = replace(walk.canary, weight=weight, since=now, past=(*walk.canary.past, left))
            walk.moves.append(Move(weight, now))
    return None


def _situation(walk: _Walk, now: datetime) -> Situation:
    """Imagine record and cluster as this policy would have left them: everything has arrived."""
    journey, canary, evidence = walk.journey, walk.canary, walk.evidence
    owned, held = Owned(canary.weight, LABEL), journey.held_for(canary.since, now)
    arrived = max(canary.since, canary.started + timedelta(seconds=evidence.served or 0.0))
    rollout = Rollout(
        service=journey.service,
        wanted=journey.revision,
        owned=owned,
        stable=Stable(STABLE, f"{STABLE}.0"),
        canary=canary,
        held=journey.held_at(now),
        held_for=held,
    )
    live = Live(
        template=owned,
        content=journey.revision,
        created=LABEL,
        latest=journey.revision,
        baseline=STABLE,
        settled=True,
        ready=True,
        since=arrived,
    )
    return Situation(
        rollout=rollout,
        policy=walk.policy,
        live=live,
        verdict=_verdict(walk, silence(evidence, now=now, since=arrived, held=held)),
        now=now,
        environment="",
    )


def _verdict(walk: _Walk, silent_for: timedelta) -> Verdict:
    """Say what the evidence of then meant; a failure that was measured stands."""
    evidence, samples = walk.evidence, walk.samples
    if evidence.failed is not None:
        return assess(walk.policy, evidence.failed, samples.wrong)
    if evidence.t - evidence.scraped > (2 * samples.step + STALE_AFTER).total_seconds():
        return Verdict(Outcome.BLIND, "Prometheus had scraped nothing lately")
    return assess(walk.policy, evidence, samples.wrong, silent_for)


def _point(walk: _Walk, at: datetime) -> Point:
    return Point(at, walk.evidence.total, tuple((name, value) for name, _, value in shares(walk.evidence)))


def _replayed(walk: _Walk, would: Would, because: str, at: datetime | None) -> Replayed:
    return Replayed(
        would=would,
        because=because,
        policy=_named(walk.policy),
        at=at,
        moves=tuple(walk.moves),
        curve=tuple(walk.curve),
        bound=walk.evidence.terms.bound,
    )


def _named(policy: Policy) -> str:
    return f"{policy.name}@{policy.digest}"


# -- all of them together --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """What was done with a rollout, and what would have been."""

    journey: Journey
    replayed: Replayed
    invalid: bool = False  # the policy cannot be read
    unread: tuple[str, ...] = ()  # enforced metrics that cannot be read, without which nothing passes

    @property
    def bad(self) -> bool:
        """Whether it speaks against the policy."""
        return self.wrongly or self.missed or self.invalid or bool(self.unread)

    @property
    def wrongly(self) -> bool:
        """Whether it would have been aborted, and was promoted, and nothing took it back since."""
        promoted = self.journey.end is End.PROMOTED and not self.journey.taken_back
        return self.replayed.would is Would.ABORTED and promoted

    @property
    def missed(self) -> bool:
        """Whether it would have been promoted, and was aborted."""
        return self.replayed.would is Would.PROMOTED and self.journey.end in (End.ABORTED, End.DROPPED)

    @property
    def later(self) -> timedelta | None:
        """How much later than then it would have come to the same end; None: it would not have."""
        same = {Would.ABORTED: (End.ABORTED, End.DROPPED), Would.PROMOTED: (End.PROMOTED,)}
        decided, at = self.journey.decided, self.replayed.at
        if decided is None or at is None or self.journey.end not in same[self.replayed.would]:
            return None
        return at - decided


def summary(compared: Sequence[Compared]) -> str:
    """Say in one sentence what a policy would have changed."""
    if not compared:
        return "no rollout with a trial was found in the ledger"
    invalid = _count(each.invalid for each in compared)
    gone = _count(each.replayed.would is Would.UNKNOWN and not each.invalid for each in compared)
    known = len(compared) - invalid - gone
    if gone == len(compared):
        return f"Prometheus has nothing of {_all(gone)} any more"
    if invalid == len(compared):
        return f"the policy of {_all(invalid)} cannot be read"
    aborted = [each for each in compared if each.replayed.would is Would.ABORTED]
    earlier = [each.later for each in aborted if each.later is not None]
    first = f"would have aborted {len(aborted) or 'none'} of {known}{_when(earlier)}"
    wrongly, missed, undecided, unread = (
        _count(found)
        for found in (
            (each.wrongly for each in compared),
            (each.missed for each in compared),
            (each.replayed.would is Would.UNDECIDED for each in compared),
            (bool(each.unread) for each in compared),
        )
    )
    parts = [
        first if known else "",
        f"{wrongly or 'none'} wrongly" if aborted else "",
        f"would have promoted {missed} that {'was' if missed == 1 else 'were'} aborted" if missed else "",
        f"undecided about {undecided}" if undecided else "",
        f"a metric of {unread} cannot be read" if unread else "",
        f"the policy of {invalid} cannot be read" if invalid else "",
        f"nothing is known of {gone} any more" if gone else "",
    ]
    return "; ".join(part for part in parts if part)


def _count(found: Iterable[bool]) -> int:
    return sum(1 for each in found if each)


def _all(number: int) -> str:
    return "the only rollout" if number == 1 else f"these {number} rollouts"


def _when(later: Sequence[timedelta]) -> str:
    """Say how much earlier or later; of several, the middle one."""
    if not later:
        return ""
    middle = timedelta(seconds=median(each.total_seconds() for each in later))
    said = apart(middle)
    return f", {said}" if len(later) == 1 else f", {said} in the middle"


def apart(later: timedelta) -> str:
    """Write how much later or earlier, as roughly as people say it."""
    seconds = round(abs(later).total_seconds())
    if seconds < 1:
        return "at the same time"
    words = f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"
    return f"{words} {'later' if later > timedelta() else 'earlier'}"
