"""A program of our own that runs beside the supervisor: started, awaited, restarted, stopped.

Such a program says where it listens in a file, with its pid, once it does.  It
dies with the supervisor.  Knows nothing of what the program is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING

from gitops_serving.local.logfile import RotatedLog
from gitops_serving.local.replica import end

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gitops_serving.local.faults import Json

log = logging.getLogger(__name__)

STOP_SECONDS = 15.0  # longer than the gateway takes to finish what is in flight
LONGEST_PAUSE_SECONDS = 10.0


class Child:
    """One program and the task that keeps it."""

    def __init__(
        self, name: str, command: Sequence[str], *, told: Path, log_path: Path, changed: Callable[[], None]
    ) -> None:
        self.name = name
        self.where: Json = {}  # what it told; empty: it is not up
        self._command, self._told, self._log_path, self._changed = command, told, log_path, changed
        self._process: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name=name)

    async def up(self, seconds: float) -> None:
        """Wait until it listens; raises TimeoutError."""
        waiting = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait_for(waiting, seconds)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not come up within {seconds:g} s; see {self._log_path}") from None

    async def stop(self) -> None:
        """End it."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._process is not None:
            await end(self._process, STOP_SECONDS)

    async def _keep(self) -> None:
        """Start it whenever it is not there."""
        pause = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                code = await self._once()
                log.warning("%s ended with code %s and is started again; see %s", self.name, code, self._log_path)
            except Exception:  # no memory for a process, no room for its log: later there may be
                log.exception("%s could not be started and is tried again", self.name)
            self._become({})
            served = asyncio.get_running_loop().time() - began
            pause = 0.1 if served > 60 else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _once(self) -> int:
        """Run it until it ends; its exit code comes back."""
        self._told.unlink(missing_ok=True)
        with RotatedLog(self._log_path) as file:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file.descriptor,
                stderr=file.descriptor,
                start_new_session=True,
            )
        watching = asyncio.create_task(self._listen(self._process.pid))
        try:
            return await self._process.wait()
        finally:
            watching.cancel()

    async def _listen(self, pid: int) -> None:
        """Wait until the process says where it listens."""
        while True:
            with contextlib.suppress(OSError, ValueError):  # it is not there yet, or cannot be read just now
                told: Json = json.loads(self._told.read_text("utf-8"))
                if told.get("pid") == pid:
                    self._become(told)
                    return
            await asyncio.sleep(0.03)

    def _become(self, where: Json) -> None:
        """Note where it listens now, and tell."""
        self.where = where
        if where:
            self._up.set()
        self._changed()
