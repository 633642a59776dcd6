"""Requests of a revision and its replicas: who may be sent one now, who waits, who is still busy.

A revision without a ready replica, or with every replica at its concurrency limit, holds its requests in a bounded
queue, as Knative's activator does; nothing here ever looks at another revision. The in-flight counts tell the
supervisor when an old replica may be stopped: they outlive the replica's place in the table.

This module knows neither HTTP nor sockets: a replica is a name.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gitops_serving.local.routing import Revision

QUEUE_LENGTH = 100


class Held(Enum):
    """Why a request got no replica."""

    OVERFLOW = "the queue is full"
    TIMEOUT = "no replica in time"
    WITHDRAWN = "the revision left the table"


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a revision is: all its unanswered requests, those of them that wait, and the rest by replica."""

    inflight: int
    held: int
    replicas: dict[str, int]


class Queue:
    """The requests of one revision."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self._busy: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._waiting: deque[asyncio.Future[str | Held]] = deque()
        self._withdrawn = False

    async def take(self, deadline: float) -> str | Held:
        """Wait until `deadline` (loop time) for a replica and count the request on it; the caller gives it back."""
        if self._withdrawn:
            return Held.WITHDRAWN
        if not self._waiting and (free := self._free()) is not None:
            self._busy[free] += 1
            return free
        if len(self._waiting) >= QUEUE_LENGTH:
            return Held.OVERFLOW
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[str | Held] = loop.create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait([turn], timeout=max(0.0, deadline - loop.time()))
            return turn.result() if turn.done() else Held.TIMEOUT
        except asyncio.CancelledError:
            # Its turn may have come in the very moment in which the request was given up.
            if turn.done() and isinstance(replica := turn.result(), str):
                self.give_back(replica)
            raise
        finally:
            turn.cancel()
            if turn in self._waiting:
                self._waiting.remove(turn)

    def give_back(self, replica: str) -> None:
        """End a request on a replica and let the next one in."""
        self._busy[replica] -= 1
        if self._busy[replica] <= 0:
            del self._busy[replica]
        self._admit()

    def refuse(self, replica: str) -> bool:
        """Leave a replica alone because nobody listens at its socket; say whether that is news."""
        if replica in self._refused or replica not in self.revision.replicas:
            return False
        self._refused.add(replica)
        return True

    def forgive(self, replica: str) -> None:
        """Send to a replica again."""
        self._refused.discard(replica)
        self._admit()

    def refuses(self, replica: str) -> bool:
        """Say whether a replica is being left alone."""
        return replica in self._refused

    def update(self, revision: Revision) -> None:
        """Take the revision's new entry in the table."""
        self.revision = revision
        self._withdrawn = False
        self._refused.intersection_update(revision.replicas)
        self._admit()

    def withdraw(self) -> None:
        """Take the revision out of the table: what waits is answered, what is on a replica goes on."""
        self._withdrawn = True
        self._refused.clear()
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(Held.WITHDRAWN)
        self._waiting.clear()

    @property
    def idle(self) -> bool:
        """Say whether nothing is left that would be missed."""
        return self._withdrawn and not self._busy

    def load(self) -> Load:
        """Show how busy the revision is."""
        held = len(self._waiting)
        shown = dict.fromkeys(() if self._withdrawn else self.revision.replicas, 0) | dict(self._busy)
        return Load(inflight=held + self._busy.total(), held=held, replicas=shown)

    def _free(self) -> str | None:
        """Name the least busy replica that takes one more request."""
        limit = self.revision.concurrency
        ready = [
            replica
            for replica in self.revision.replicas
            if replica not in self._refused and (limit == 0 or self._busy[replica] < limit)
        ]
        return min(ready, key=self._busy.__getitem__, default=None)

    def _admit(self) -> None:
        while self._waiting and (free := self._free()) is not None:
            turn = self._waiting.popleft()
            if not turn.done():
                self._busy[free] += 1
                turn.set_result(free)


class Queues:
    """The queues of all revisions, those of the table and those that are not empty yet."""

    def __init__(self) -> None:
        self._of: dict[str, Queue] = {}

    def follow(self, revisions: Iterable[Revision]) -> None:
        """Make these the revisions of the table."""
        current = {revision.key: revision for revision in revisions}
        for key, queue in self._of.items():
            if key not in current:
                queue.withdraw()
        for key, revision in current.items():
            if key in self._of:
                self._of[key].update(revision)
            else:
                self._of[key] = Queue(revision)
        self._of = {key: queue for key, queue in self._of.items() if not queue.idle}

    def of(self, key: str) -> Queue:
        """Give the queue of a revision that is in the table."""
        return self._of[key]

    def loads(self) -> dict[str, Load]:
        """Show how busy every revision is, without those that left the table and are done."""
        return {key: queue.load() for key, queue in self._of.items() if not queue.idle}

    def replicas_in_use(self) -> set[str]:
        """Name every replica that is in the table or still has a request."""
        return {replica for queue in self._of.values() for replica in queue.load().replicas}
