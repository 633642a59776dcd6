"""The nouns: what Git, Prometheus and the cluster are read into.

Frozen values, all of them; nothing in this file acts, and nothing in it knows
how a value was come by.  A revision is written here as its digest, a label as
``DIGEST.N``, an instant as an aware datetime, a weight in percent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import Invalid
    from .measure import Metric, Verdict

UNREADABLE = "?"  # the revision of a manifest that is not valid, and of whatever we do not know


class Request(Enum):
    """What a person has asked for one revision, read from Git like everything else."""

    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a policy."""

    weight: int  # 1 to 99
    dwell: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Which part of a step's samples is evidence."""

    block: timedelta = timedelta(seconds=30)  # the distance of the samples that are read
    warm_up: timedelta = timedelta(seconds=60)  # after the first weight arrived
    warm_up_after_shift: timedelta = timedelta(seconds=30)  # after each further one


class Exhausted(Enum):
    """What happens when a rollout runs out of patience or of time; never a promotion."""

    ABORT = "abort"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Steps, metrics and limits, as a file in Git says them."""

    name: str = ""
    path: str = ""  # of its file
    digest: str = ""
    steps: tuple[Step, ...]  # weights rise
    ready_within: timedelta  # how long a canary may take to become ready
    patience: timedelta  # how long it may go without evidence
    on_silence: Exhausted = Exhausted.ABORT  # what happens then
    max_duration: timedelta = timedelta(hours=6)  # of a whole rollout, holds by people left out
    on_timeout: Exhausted = Exhausted.ABORT
    false_abort: float = 0.05  # bound on the chance of aborting a good revision, over the whole rollout
    min_requests: int = 20  # that the canary must have served at this weight
    timing: Timing = Timing()
    metrics: tuple[Metric, ...] = ()

    def step_at(self, weight: int) -> Step:
        """Find the step that a weight stands on; a policy may have changed since it was given."""
        return max((s for s in self.steps if s.weight <= weight), default=self.steps[0], key=lambda s: s.weight)


@dataclass(frozen=True, slots=True)
class Owned:
    """The fields of a manifest that are ours to write; None: absent."""

    weight: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Stable:
    """The revision last promoted."""

    revision: str
    label: str | None  # None: adopted, and the cluster knows it by name and uid
    name: str | None = None  # the cluster's name of it, where it was recorded
    uid: str | None = None  # of the InferenceService that the name belongs to


@dataclass(frozen=True, slots=True)
class Past:
    """A weight that a canary had before its present one."""

    weight: int
    since: datetime
    held: timedelta = timedelta()  # how long people held it there


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """The revision on trial."""

    revision: str
    label: str
    weight: int  # a step's, or 100: taking over
    started: datetime  # admitted
    since: datetime  # given this weight
    held: timedelta = timedelta()  # how long people have held it at this weight, holds that are over
    past: tuple[Past, ...] = ()  # its weights before this one, oldest first: evidence begins anew with each


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's word to stop progress."""

    by: str
    at: datetime
    reason: str = ""
    until: datetime | None = None  # None: until somebody resumes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a manifest stands: a file, and the number of the document in it."""

    path: str
    document: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One service as the Git tree at one commit tells it."""

    service: str  # namespace/name
    wanted: str  # revision of the manifest at the head
    owned: Owned = Owned()  # owned fields of the manifest at the head
    stable: Stable | None = None  # None: never adopted
    canary: Canary | None = None  # None: nothing on trial
    settling: bool = False  # an abort's weight 0 is still in the manifest
    rejected: frozenset[str] = frozenset()
    held: bool = False
    held_for: timedelta = timedelta()  # at the present weight, up to now
    previous: str | None = None  # stable before this one
    direct: str | None = None  # why the wanted revision needs no trial: it is previous, or only scaling changed
    asked: Request | None = None  # only if it names the revision on trial or, with none on trial, the wanted one
    place: Place = Place("")
    invalid: Invalid | None = None  # what is wrong with the head's manifest; then wanted is UNREADABLE
    outside: bool = False  # of the namespaces that we may touch, or nobody can read which: nothing is started there
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # parsed manifests by revision

    @property
    def expected(self) -> tuple[str, Owned]:
        """What the record says that the head should hold."""
        assert self.stable is not None
        if self.canary is not None:
            return self.canary.revision, Owned(self.canary.weight, self.canary.label)
        return self.stable.revision, Owned(0 if self.settling else None, self.stable.label)

    @property
    def held_in_all(self) -> timedelta:
        """How long people have held the canary, at all its weights, up to now."""
        past = self.canary.past if self.canary else ()
        return sum((each.held for each in past), self.held_for)

    @property
    def admitted(self) -> bool:
        """Whether the head's revision, weight and label are what the record says."""
        return self.stable is not None and (self.wanted, self.owned) == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the cluster says of one service, in our revisions; an unknown revision is '?'."""

    known: bool = True  # False: the cluster did not answer
    why: str = ""  # why it is not known
    template: Owned = Owned()  # owned fields of the live manifest
    content: str | None = None  # revision of the live manifest; None: there is no object
    created: str | None = None  # the label, or the revision where there is none, of the newest revision
    latest: str | None = None  # revision that is latest ready
    baseline: str | None = None  # revision last rolled out; None: nothing ever was
    settled: bool = False  # the newest revision is the ready one, and traffic is what the template says
    ready: bool = False  # the newest revision is ready
    since: datetime | None = None  # the later of our last effective apply and of readiness changing
    unheard: datetime | None = None  # our last apply, where the status may still speak of the manifest before it
    refused: str | None = None  # the server's words, if it refused the last apply of what is due
    failure: str | None = None  # the cluster's words on why the newest revision is not ready
    names: Mapping[str, str] = field(default_factory=dict)  # label or revision -> the cluster's revision name
    shares: Mapping[str, int] = field(default_factory=dict)  # the cluster's revision name -> percent of traffic
    broken: str | None = None  # the cluster's name of a ready-once revision that freezes the route
    rolled: str | None = None  # the cluster's name of the baseline
    uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything one decision may look at, gathered before it is made."""

    rollout: Rollout
    policy: Policy | None  # None: no valid policy
    live: Live
    verdict: Verdict
    now: datetime
    gate: str | None = None  # why progress is closed now: freeze, limit, wave, approval
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Change nothing now."""

    because: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take what is live, at rest and equal to Git as stable; nothing restarts."""

    because: str = "the cluster runs what Git holds"


@dataclass(frozen=True, slots=True)
class Shift:
    """Give the wanted revision this weight: the first step admits it, 100 lets it take over."""

    weight: int
    because: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Write down that the canary is the stable revision."""

    because: str = "all traffic is on it"


@dataclass(frozen=True, slots=True)
class Abort:
    """Return all traffic to stable and restore its manifest."""

    because: str
    rejects: bool = False  # whether this revision is refused from now on


@dataclass(frozen=True, slots=True)
class Drop:
    """Take the superseded canary out of the record; the newer push stays."""

    because: str
    rejects: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a rejected revision that was pushed again with the stable manifest."""

    because: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Restore owned fields that somebody edited while nothing was on trial."""

    because: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Remove the weight 0 of an abort."""

    because: str = "all traffic is on the stable revision"


Decision = Wait | Adopt | Shift | Promote | Abort | Drop | Refuse | Repair | Settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One commit to be: whole new contents of files, and why."""

    service: str
    files: Mapping[str, bytes]  # path -> new content; other files stay
    message: str
    author: str  # "Name <address>"
    at: datetime  # decision time, so that equal decisions make equal commits


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as history shows it."""

    id: str
    author: str
    at: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Share:
    """One entry of the cluster's traffic block."""

    revision: str  # the cluster's name
    percent: int
    latest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One InferenceService as the cluster tells it, in the cluster's own names; empty names mean: none."""

    known: bool = True  # False: the cluster did not answer
    why: str = ""  # why it is not known
    manifest: Mapping[str, Any] | None = None  # the live object without status; None: there is none
    uid: str | None = None
    created: str = ""  # latestCreatedRevision
    ready: str = ""  # latestReadyRevision
    rolled: str = ""  # latestRolledoutRevision
    previous: str = ""  # previousRolledoutRevision
    traffic: tuple[Share, ...] = ()
    routed: bool = False  # RoutesReady
    labels: Mapping[str, str | None] = field(default_factory=dict)  # revision name -> our label on it
    born: datetime | None = None  # when the object was made
    applied: datetime | None = None  # our last effective apply
    turned: datetime | None = None  # when readiness last changed
    failure: str | None = None  # why the newest revision is not ready


@dataclass(frozen=True, slots=True)
class Due:
    """A whole manifest that a service is to be given."""

    service: str
    document: Mapping[str, Any]
