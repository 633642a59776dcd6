"""The objects of the local cluster: versions, history for watches, and files that survive a restart.

Every object is one JSON file, written beside its place and moved into it, so that
a crash leaves the old one or the new one.  Resource versions only ever grow, over
restarts too: a block of them is reserved on disk before it is used.  Objects that
come out are shared: whoever changes one copies it first.

Knows nothing of HTTP, of who owns a field or of what the objects mean.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.local.faults import Json, gone
from gitops_serving.local.files import write_json
from gitops_serving.local.kinds import KINDS, NAMESPACE, Kind

if TYPE_CHECKING:
    from pathlib import Path

HISTORY = 1024  # events kept for watches; a guess that is minutes of a busy laptop
BLOCK = 1000  # resource versions reserved at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one object; ``before`` is None for a new one."""

    version: int
    action: str  # ADDED, MODIFIED or DELETED
    kind: Kind
    body: Json
    before: Json | None = None


def key(body: Json) -> tuple[str, str]:
    """Name an object by namespace (empty: it has none) and name."""
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


class Store:
    """All objects, in memory and on disk.  Belongs to one event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._objects: dict[Kind, dict[tuple[str, str], Json]] = {kind: {} for kind in KINDS}
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._changed = asyncio.Event()
        self._load()

    @property
    def version(self) -> int:
        """The newest resource version."""
        return self._version

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Find one object."""
        return self._objects[kind].get((namespace, name))

    def every(self, kind: Kind, namespace: str = "") -> list[Json]:
        """List a namespace's objects, or all of them, by namespace and name."""
        found = self._objects[kind]
        return [found[place] for place in sorted(found) if namespace in {"", place[0]}]

    def put(self, kind: Kind, body: Json) -> Json:
        """Store an object under a new resource version; its namespace comes into being with it."""
        place = key(body)
        if kind.namespaced and self.get(NAMESPACE, "", place[0]) is None:
            self.put(NAMESPACE, namespace(place[0], body["metadata"]["creationTimestamp"]))
        before = self._objects[kind].get(place)
        stored = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._next())}}
        write_json(self._path(kind, place), stored)
        self._objects[kind][place] = stored
        self._tell("MODIFIED" if before else "ADDED", kind, stored, before)
        return stored

    def remove(self, kind: Kind, body: Json) -> Json:
        """Forget an object; what comes back carries the version of its end."""
        place = key(body)
        before = self._objects[kind].pop(place)
        self._path(kind, place).unlink(missing_ok=True)
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self._next())}}
        self._tell("DELETED", kind, last, before)
        return last

    def since(self, version: int) -> list[Event]:
        """List what happened after a version; raises ApiError (410) if that is not known any more."""
        oldest = self._history[0].version - 1 if len(self._history) == HISTORY else self._start
        if version < oldest or version > self._version:
            raise gone(version, oldest)
        return [event for event in self._history if event.version > version]

    async def changed(self, version: int) -> None:
        """Wait until there is something newer than a version."""
        while self._version <= version:
            await self._changed.wait()

    def _tell(self, action: str, kind: Kind, body: Json, before: Json | None) -> None:
        """Note an event and wake whoever waits for one."""
        self._history.append(Event(version=self._version, action=action, kind=kind, body=body, before=before))
        self._changed.set()
        self._changed = asyncio.Event()

    def _next(self) -> int:
        """Take the next resource version, from a new block if the reserved one is used up."""
        self._version += 1
        if self._version >= self._reserved:
            self._reserve()
        return self._version

    def _reserve(self) -> None:
        """Put on record that versions up to here may have been given away."""
        self._reserved = self._version + BLOCK
        write_json(self._directory / "reserved.json", self._reserved)

    def _path(self, kind: Kind, place: tuple[str, str]) -> Path:
        """Find the file of an object."""
        return self._directory / kind.plural / place[0] / f"{place[1]}.json"

    def _load(self) -> None:
        """Read everything back, and go on above every version that was ever given away."""
        reserved = self._directory / "reserved.json"
        self._version = json.loads(reserved.read_text("utf-8")) if reserved.exists() else 0
        self._reserve()
        for kind in KINDS:
            for path in sorted((self._directory / kind.plural).rglob("[!.]*.json")):
                body = json.loads(path.read_text("utf-8"))
                self._objects[kind][key(body)] = body
        self._start = self._version


def namespace(name: str, now: str) -> Json:
    """Write a namespace's object."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": f"namespace-{name}",
            "creationTimestamp": now,
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
