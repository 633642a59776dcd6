"""The way of a request through the gateway: address, pick, wait, send, count.

This is the state of the gateway and the one place where its parts meet: the table that is in force, the split of each
service, the queue of each revision, and the two accounts, one for Prometheus and one by epoch. It opens no listening
socket and reads no file.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gitops_serving.local.epochs import Epochs
from gitops_serving.local.exposition import Exposition, Identity
from gitops_serving.local.proxy import Answered, NeverSent, Outgoing, Upstreams, end_to_end, failure, listens
from gitops_serving.local.queueing import QUEUE_LENGTH, Held, Queue, Queues
from gitops_serving.local.routing import EMPTY, Split, Table, service_of

if TYPE_CHECKING:
    from gitops_serving.local.routing import Revision

HOLD_SECONDS = 60.0
# Larger than any JSON tensor that a person sends to a laptop, small enough that a hundred of them do not end it.
BODY_BYTES = 64 << 20
_LOOK_SECONDS = 0.05
# nginx' code for a client that left; it is seen by nobody and counted nowhere.
_CLIENT_LEFT = 499


class Traffic:
    """All that the gateway knows while it runs."""

    def __init__(self, *, hold_seconds: float = HOLD_SECONDS) -> None:
        self.table: Table = EMPTY
        self.exposition = Exposition(monotonic)
        self.epochs = Epochs(lambda: datetime.now(UTC))
        self._hold_seconds = hold_seconds
        self._queues = Queues()
        self._splits: dict[str, Split] = {}
        self._upstreams = Upstreams()
        self._watches: set[asyncio.Task[None]] = set()

    async def swap(self, table: Table) -> None:
        """Put a table in force; requests that have been picked keep their revision."""
        self.table = table
        self._queues.follow(table.revisions.values())
        self._splits = {key: self._split(key, table) for key in table.services}
        self.epochs.follow(table.services)
        self.exposition.admit(_identity(revision) for revision in table.revisions.values())
        await self._upstreams.keep(self._queues.replicas_in_use())

    def loads(self) -> dict[str, Any]:
        """Show as JSON how busy every revision is, those that left the table included until they are done."""
        return {key: asdict(load) for key, load in self._queues.loads().items()}

    async def close(self) -> None:
        """Close all connections to replicas and look for none."""
        for watch in self._watches:
            watch.cancel()
        await self._upstreams.keep(set())

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of a client."""
        arrived = monotonic()
        raw_path, mark, query = request.raw_path.partition("?")
        host = request.headers.get("Host", "")
        service, path = service_of(self.table, host, raw_path)
        if service is None:
            return self._unknown(host, raw_path)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return failure(413, f"the request to {service} is larger than {BODY_BYTES >> 20} MiB; send less").response
        # The pick comes after the body: a slow upload is split by the weights that hold when it can be sent.
        split = self._splits.get(service)
        revision = None if split is None else split.pick()
        if revision is None:
            text = f"InferenceService {service} has no revision that takes traffic; wait until it is ready"
            return failure(503, text).response
        queue = self._queues.of(f"{service.partition('/')[0]}/{revision}")
        epoch = self.epochs.current(service)
        outgoing = Outgoing(request.method, f"{path}{mark}{query}", end_to_end(request.headers), body)
        answered = await self._send(queue, request, outgoing)
        if answered.code != _CLIENT_LEFT:
            epoch.count(revision, answered.code)
            self.exposition.observe(_identity(queue.revision), code=answered.code, seconds=monotonic() - arrived)
        return answered.response

    async def _send(self, queue: Queue, request: web.Request, outgoing: Outgoing) -> Answered:
        """Wait for a replica and send to it, again and again as long as the request never leaves the gateway."""
        deadline = asyncio.get_running_loop().time() + self._hold_seconds
        revision = queue.revision.name
        while True:
            replica = await queue.take(deadline)
            if isinstance(replica, Held):
                return self._not_sent(replica, revision)
            try:
                if request.transport is None or request.transport.is_closing():
                    return Answered(web.Response(status=_CLIENT_LEFT), _CLIENT_LEFT)
                return await self._upstreams.forward(replica, request, outgoing, revision=revision)
            except NeverSent:
                if queue.refuse(replica):
                    self._watch(queue, replica)
            finally:
                queue.give_back(replica)

    def _watch(self, queue: Queue, replica: str) -> None:
        """Look for a replica that refused a connection: one look at a time, however many requests wait for it."""

        async def until_it_listens() -> None:
            while queue.refuses(replica):
                await asyncio.sleep(_LOOK_SECONDS)
                if await listens(replica):
                    queue.forgive(replica)

        watch = asyncio.create_task(until_it_listens())
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    def _split(self, key: str, table: Table) -> Split:
        """Keep the split of a service whose targets are the same, else a change elsewhere would bend its counts."""
        targets = table.services[key]
        current = self._splits.get(key)
        return current if current is not None and current.targets == targets else Split(targets)

    def _unknown(self, host: str, path: str) -> web.StreamResponse:
        if self.table is EMPTY:  # it has just started, and clients know it from before
            return failure(503, "the gateway has not been told yet what it serves; send it again").response
        known = ", ".join(sorted(self.table.services)) or "none yet"
        return failure(
            404,
            f"no InferenceService is addressed by Host {host!r} and path {path!r}; use /serving/NAMESPACE/NAME/... "
            f"or the header Host: NAME.NAMESPACE.example.com; known services: {known}",
        ).response

    def _not_sent(self, reason: Held, revision: str) -> Answered:
        match reason:
            case Held.OVERFLOW:
                text = f"{QUEUE_LENGTH} requests already wait for revision {revision}; send fewer at a time"
                return failure(503, text, revision=revision)
            case Held.TIMEOUT:
                text = f"revision {revision} had no free replica for {self._hold_seconds:g} s; see its conditions"
                return failure(504, text, revision=revision)
            case Held.WITHDRAWN:
                text = f"revision {revision} was taken away while the request waited for it; send it again"
                return failure(503, text, revision=revision)


def _identity(revision: Revision) -> Identity:
    return Identity(revision.namespace, revision.name, revision.configuration)
