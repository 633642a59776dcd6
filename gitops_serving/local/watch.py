"""Watches: the store's history as the stream of lines that Kubernetes clients read.

A watch begins at a resource version and never skips a change; if it asks for
history that is gone it is told so (410 in an ERROR event, as the real server
does) and ends.  An object that starts or stops to match the selector is told as
added or deleted.  Knows how to write to a response, and nothing of routes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.local.faults import ApiError, Json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from gitops_serving.local.kinds import Kind
    from gitops_serving.local.selectors import Test
    from gitops_serving.local.store import Event, Store

Write = Callable[[bytes], "Awaitable[None]"]
Show = Callable[[Json], Json]

BOOKMARK_SECONDS = 60.0  # as often as the real server sends them


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a client asked to be told."""

    kind: Kind
    namespace: str  # empty: all
    test: Test
    version: int | None  # None: begin with everything there is
    seconds: float
    bookmarks: bool
    show: Show  # how an object is printed


async def stream(store: Store, watch: Watch, write: Write) -> None:
    """Tell every change until the time is up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + watch.seconds
    version = store.version if watch.version is None else watch.version
    if watch.version is None:
        for body in store.every(watch.kind, watch.namespace):
            if watch.test(body):
                await write(_line("ADDED", watch.show(body)))
    while (left := end - loop.time()) > 0:
        try:
            events = store.since(version)
        except ApiError as error:
            await write(_line("ERROR", error.body()))
            return
        for line in (line for event in events for line in _lines(watch, event)):
            await write(line)
        version = events[-1].version if events else version
        quiet = await _quiet(store, version, min(left, BOOKMARK_SECONDS))
        if quiet and watch.bookmarks:
            await write(_bookmark(watch.kind, version))


async def _quiet(store: Store, version: int, seconds: float) -> bool:
    """Wait for a change; True: there was none."""
    try:
        await asyncio.wait_for(store.changed(version), seconds)
    except TimeoutError:
        return True
    return False


def _lines(watch: Watch, event: Event) -> Iterator[bytes]:
    """Write what one event means to this watch, if anything."""
    if event.kind is not watch.kind or watch.namespace not in {"", event.body["metadata"].get("namespace", "")}:
        return
    is_one = watch.test(event.body) and event.action != "DELETED"
    was_one = event.before is not None and watch.test(event.before)
    if is_one:
        yield _line("MODIFIED" if was_one else "ADDED", watch.show(event.body))
    elif was_one:
        yield _line("DELETED", watch.show(event.body))


def _bookmark(kind: Kind, version: int) -> bytes:
    """Write how far the watch has come."""
    place = {"resourceVersion": str(version), "creationTimestamp": None}
    return _line("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": place})


def _line(action: str, body: Json) -> bytes:
    """Write one event as a line."""
    return json.dumps({"type": action, "object": body}).encode() + b"\n"
