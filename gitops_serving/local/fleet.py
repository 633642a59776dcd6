"""All model-server processes, by revision: brought up, drained, and told apart from their namesakes.

A revision that leaves the route first loses its share, then its last request is
answered, then its processes are stopped.  If it is wanted again before that, the
processes stay.  A revision that was deleted and made anew under its old name is
another one, by its uid.

Decides nothing about who is wanted: the supervisor says so.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gitops_serving.local.replica import Replica
from gitops_serving.local.revisions import CONFIGURATION, launch, replicas
from gitops_serving.local.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gitops_serving.local.faults import Json

DRAIN_SECONDS = 30.0


def place(body: Json) -> str:
    """Name a revision by namespace and name, as the gateway does."""
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def entry(body: Json, sockets: tuple[str, ...] = ()) -> Json:
    """Write the gateway's entry of a revision."""
    configuration = body["metadata"]["labels"][CONFIGURATION]
    concurrency = body["spec"]["containerConcurrency"]
    return {"configuration": configuration, "replicas": list(sockets), "concurrency": concurrency}


class Crew:
    """The processes of one revision."""

    def __init__(self, body: Json, members: list[Replica], capped: str) -> None:
        self.body, self.uid = body, body["metadata"]["uid"]
        self.members, self.capped = members, capped
        self.began = asyncio.get_running_loop().time()
        self.leaving: asyncio.Task[None] | None = None
        self.stopping = False

    def scale(self) -> Scale:
        """Sum up the members."""
        healths = [member.health for member in self.members]
        ready = [health for health in healths if health.ready]
        ill = next((health for health in healths if health.failed), None) if not ready else None
        return Scale(
            desired=0 if self.leaving else len(healths),
            ready=len(ready),
            sockets=tuple(health.socket for health in ready),
            failed=ill is not None,
            starting=None if ready or ill else self.began,
            reason=("ModelLoadFailed" if ill.exit_code is None else f"ExitCode{ill.exit_code}") if ill else "",
            message=ill.message if ill else "",
            exit_code=ill.exit_code if ill else None,
            capped=self.capped,
            pids=tuple(health.pid for health in healths if health.pid),
        )


class Fleet:
    """The crews of all revisions, by namespace and name."""

    def __init__(
        self, *, run_dir: Path, log_dir: Path, changed: Callable[[], None], busy: Callable[[str], Awaitable[int]]
    ) -> None:
        self._run_dir, self._log_dir = run_dir, log_dir
        self._changed, self._busy = changed, busy
        self._crews: dict[str, Crew] = {}

    def names(self) -> list[str]:
        """Name all revisions that have processes."""
        return list(self._crews)

    def scale(self, body: Json) -> Scale:
        """Say how the processes of a Revision object are; a namesake's do not count."""
        crew = self._crews.get(place(body)) if body else None
        return crew.scale() if crew and crew.uid == body["metadata"]["uid"] else Scale()

    def entries(self) -> dict[str, Json]:
        """Write the gateway's entry of every revision that has processes, while it leaves too."""
        return {key: entry(crew.body, crew.scale().sockets) for key, crew in self._crews.items()}

    def ensure(self, body: Json) -> None:
        """See to it that a revision has its processes; a namesake has to be gone first."""
        key = place(body)
        crew = self._crews.get(key)
        if crew is None:
            self._crews[key] = self._start(body)
        elif crew.uid != body["metadata"]["uid"]:
            self.release(key)
        elif crew.leaving is not None and not crew.stopping:
            crew.leaving.cancel()
            crew.leaving = None

    def release(self, key: str) -> None:
        """Let a revision's processes go once they have nothing left to answer; one that is gone already is gone."""
        crew = self._crews.get(key)  # whoever asks looked before they waited for the gateway to take its table
        if crew is not None and crew.leaving is None:
            crew.leaving = asyncio.create_task(self._leave(key, crew), name=f"drain {key}")

    async def close(self) -> None:
        """Stop everything at once."""
        crews = list(self._crews.values())
        for crew in crews:
            if crew.leaving is not None:
                crew.leaving.cancel()
        await asyncio.gather(*(member.stop() for crew in crews for member in crew.members))
        self._crews.clear()

    def _start(self, body: Json) -> Crew:
        """Start the processes of a revision, no more than this machine has cores for."""
        wanted, most = replicas(body), max(2, os.cpu_count() or 1)
        count = min(wanted, most)
        capped = f"{count} of {wanted} replicas run: more than this machine has cores for" if count < wanted else ""
        launches = [launch(body, index, run_dir=self._run_dir, log_dir=self._log_dir) for index in range(count)]
        return Crew(body, [Replica(one, self._changed) for one in launches], capped)

    async def _leave(self, key: str, crew: Crew) -> None:
        """Wait until the gateway has nothing in flight, stop the processes and forget them."""
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.1)  # after the table without this revision has reached the gateway
            if await self._busy(key) == 0:
                break
        crew.stopping = True
        await asyncio.gather(*(member.stop() for member in crew.members))
        del self._crews[key]
        self._changed()
