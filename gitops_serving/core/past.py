"""The ledger read backwards: which rollouts there were, what weights they had, and how each ended.

Everything here comes from the commits that changed one record, and from nothing else:
a revision that was aborted has left the tree, but its entries stay, and name it as the
cluster did.  State is never read from them; this is for people who ask about the past.

A rollout whose beginning is not in the history is none that can be told.  Whether it went
well is not known here: only what was done, when, and why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from .ledger import read_trailers
from .rollout import WAS_STABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .model import Commit

MOVED = re.compile(r", (\d+)% -> \d+%$")
UNTIL = re.compile(r"held until (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


class End(Enum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    ABORTED = "aborted"
    DROPPED = "dropped"  # it failed or was aborted while a newer push waited
    SUPERSEDED = "superseded"  # a newer push took its place
    OPEN = "on trial"  # it has not ended


@dataclass(frozen=True, slots=True)
class Given:
    """A weight, and when it was given."""

    weight: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A stretch in which a person stopped progress."""

    start: datetime
    end: datetime | None = None  # None: it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One rollout as the ledger tells it."""

    service: str
    environment: str
    revision: str
    given: tuple[Given, ...]  # oldest first; the first one admitted it
    canary: str = ""  # the cluster's name of it; empty: no entry tells
    stable: str = ""  # likewise of what it was compared with
    end: End = End.OPEN
    ended: datetime | None = None  # None: it has not
    because: str = ""  # of its end
    taken_back: bool = False  # it was promoted, and what was stable before was pushed back later
    held: tuple[Held, ...] = ()

    @property
    def started(self) -> datetime:
        """When it was admitted."""
        return self.given[0].at

    @property
    def decided(self) -> datetime | None:
        """When it was decided: given all traffic, or taken back; None: not yet."""
        return next((each.at for each in self.given if each.weight == 100), self.ended)

    @property
    def steps(self) -> tuple[Given, ...]:
        """The weights at which both revisions had traffic to be compared by."""
        return tuple(each for each in self.given if each.weight < 100)

    def held_at(self, now: datetime) -> bool:
        """Whether a person held it then."""
        return any(each.start <= now and (each.end is None or now < each.end) for each in self.held)

    def held_for(self, since: datetime, now: datetime) -> timedelta:
        """How long people held it in a stretch of time."""
        spans = (min(each.end or now, now) - max(each.start, since) for each in self.held)
        return sum((max(span, timedelta()) for span in spans), timedelta())


@dataclass(frozen=True, slots=True)
class _Entry:
    """One commit as far as it matters here."""

    at: datetime
    action: str
    revision: str
    before: int | None  # None: it has no weights
    weight: int | None
    canary: str
    stable: str
    because: str


@dataclass(slots=True)
class _Reading:
    """Where the reading of a history has got to."""

    told: list[Journey] = field(default_factory=list)
    open: Journey | None = None  # on trial
    stables: set[str] = field(default_factory=set)  # revisions that were stable once
    promoted: int | None = None  # of `told`: the one that is stable now, if it came by a rollout
    returned: bool = False  # whether what is given all traffic now was stable before


def found(commits: Iterable[Commit], environment: str, service: str) -> tuple[Journey, ...]:
    """Find the rollouts of one service, oldest first, in the commits that changed its record, newest first.

    Revisions that were given all traffic at once had no trial, and are left out.
    """
    reading = _Reading()
    for commit in reversed(list(commits)):
        entry = _entry(commit)
        if entry is not None:
            _take(reading, entry, environment, service)
    open_ = [] if reading.open is None else [reading.open]
    return tuple(journey for journey in (*reading.told, *open_) if journey.steps)


def _entry(commit: Commit) -> _Entry | None:
    """Read a commit; None: it is none of our entries."""
    trailers = read_trailers(commit.message)
    if "Action" not in trailers:
        return None
    subject, _, rest = commit.message.partition("\n")
    moved, weight = MOVED.search(subject), trailers.get("Weight", "")
    return _Entry(
        at=commit.at,
        action=trailers["Action"],
        revision=trailers.get("Revision", ""),
        before=int(moved[1]) if moved else None,
        weight=int(weight) if weight.isdecimal() else None,
        canary=trailers.get("Canary", ""),
        stable=trailers.get("Stable", ""),
        because=" ".join(rest.strip().split("\n\n")[0].split()),
    )


def _take(reading: _Reading, entry: _Entry, environment: str, service: str) -> None:
    """Read one entry."""
    journey = reading.open
    match entry.action:
        case "adopt" if entry.revision:
            reading.stables.add(entry.revision)
        case "shift" if entry.before == 0:
            _close(reading, entry, End.SUPERSEDED)
            first = Given(entry.weight or 0, entry.at)
            reading.open = Journey(
                service=service, environment=environment, revision=entry.revision, given=(first,), stable=entry.stable
            )
            reading.returned = entry.because.casefold().startswith(WAS_STABLE)
        case "shift" if journey is not None and entry.weight is not None:
            weights = (*journey.given, Given(entry.weight, entry.at))
            reading.open = replace(_named(journey, entry), given=weights)
        case "promote":
            _promoted(reading, entry)
        case "abort" | "drop":
            _close(reading, entry, End.ABORTED if entry.action == "abort" else End.DROPPED)
        case "hold" if journey is not None:
            until = UNTIL.search(entry.because)
            end = datetime.fromisoformat(until[1]).astimezone(UTC) if until else None
            reading.open = replace(journey, held=(*journey.held, Held(entry.at, end)))
        case "resume" if journey is not None:
            reading.open = replace(journey, held=_ended(journey.held, entry.at))


def _promoted(reading: _Reading, entry: _Entry) -> None:
    """Close a rollout that became stable; one that was stable before takes back what came in between."""
    if (entry.revision in reading.stables or reading.returned) and reading.promoted is not None:
        reading.told[reading.promoted] = replace(reading.told[reading.promoted], taken_back=True)
    reading.stables.add(entry.revision)
    reading.promoted = len(reading.told) if reading.open is not None else None
    reading.returned = False
    _close(reading, entry, End.PROMOTED)


def _close(reading: _Reading, entry: _Entry, end: End) -> None:
    """Close the rollout that is on trial, if one is."""
    if reading.open is None:
        return
    journey = reading.open if end is End.SUPERSEDED else _named(reading.open, entry)
    because = "a newer revision was pushed" if end is End.SUPERSEDED else entry.because
    held = _ended(journey.held, entry.at)
    reading.told.append(replace(journey, end=end, ended=entry.at, because=because, held=held))
    reading.open = None


def _named(journey: Journey, entry: _Entry) -> Journey:
    """Learn from an entry how the cluster calls the revisions."""
    return replace(journey, canary=journey.canary or entry.canary, stable=journey.stable or entry.stable)


def _ended(held: Sequence[Held], at: datetime) -> tuple[Held, ...]:
    """End what still goes on."""
    return tuple(each if each.end is not None and each.end <= at else Held(each.start, at) for each in held)
