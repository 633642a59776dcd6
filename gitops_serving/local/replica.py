"""The life of one model-server process: started, probed, watched, restarted, stopped.

A replica starts again whenever it ends, with growing pauses once it keeps
failing, as a kubelet does.  What it wrote last is kept for the message that says
why it failed.  It listens on a unix socket of its own and dies with this
process.  Knows nothing of revisions, routes or objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aiohttp

from gitops_serving.local.logfile import RotatedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)  # the supervisor's; what the process writes has a log of its own

LAST_LINES = 20
STOP_SECONDS = 30.0  # Kubernetes' grace between SIGTERM and SIGKILL
WELL_SECONDS = 60.0  # after this long in service a failure is the first again; Kubernetes takes ten minutes
LONGEST_PAUSE_SECONDS = 30.0  # Kubernetes pauses for up to five minutes, which is long for a laptop
PROBE_TIMEOUT = aiohttp.ClientTimeout(total=5)


class SourceError(Exception):
    """The model cannot be brought to its server; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that is needed to start a replica, again and again."""

    name: str  # unique among all replicas; appears in paths and messages
    model: str  # the model's name in URLs
    locate: Callable[[], Path]  # finds the model's directory; raises SourceError
    command: Callable[[Path, Path], Sequence[str]]  # from the model's directory and the socket
    env: Mapping[str, str]
    run_dir: Path  # for sockets; short
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a replica is now."""

    ready: bool = False
    socket: str = ""  # where it listens; empty: it does not
    restarts: int = 0
    failed: bool = False  # it ended or could not start, and is not ready since
    pausing: bool = False  # it waits for its next start
    exit_code: int | None = None  # of its last end, 128 above a signal as a shell has it; None: it never ran
    message: str = ""  # why it failed last
    pid: int = 0  # 0: there is no process


class Replica:
    """One process and the task that keeps it."""

    def __init__(self, launch: Launch, changed: Callable[[], None]) -> None:
        self.launch, self.health = launch, Health()
        self._changed = changed
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._starts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task = asyncio.create_task(self._keep(), name=f"replica {launch.name}")

    async def stop(self) -> None:
        """End the process: asked to first, then made to."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._process is not None:
            await end(self._process, STOP_SECONDS)
        self._process = None
        self._become(Health(restarts=self.health.restarts))

    async def _keep(self) -> None:
        """Start the process whenever it is not there."""
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._once()
            except Exception as error:
                logger.exception("%s could not be kept, and is started again", self.launch.name)
                if self._process is not None:
                    _signal_group(self._process, signal.SIGKILL)
                self._fail(None, f"{type(error).__name__}: {error}")
            served = asyncio.get_running_loop().time() - began
            failures = 1 if served > WELL_SECONDS else failures + 1
            pause = min(2.0 ** (failures - 2), LONGEST_PAUSE_SECONDS) if failures > 1 else 0.0
            self._become(replace(self.health, pausing=pause > 0))
            await asyncio.sleep(pause)

    async def _once(self) -> None:
        """Run the process until it ends, and note how."""
        self._lines.clear()
        socket = self._socket()
        with contextlib.ExitStack() as stack:
            try:
                directory = self.launch.locate()
                log = stack.enter_context(RotatedLog(self.launch.log))
                self._process = await self._start(directory, socket)
            except (SourceError, OSError) as error:
                self._fail(None, f"{error}")
                return
            stack.pop_all()  # who reads closes it
        self._become(replace(self.health, pid=self._process.pid, pausing=False))
        reading = asyncio.create_task(self._read(self._process, log))
        probing = asyncio.create_task(self._probe(socket))
        try:
            code = await self._process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(reading), 1)  # a grandchild may hold the pipe open
        finally:
            reading.cancel()
            probing.cancel()
        socket.unlink(missing_ok=True)
        _signal_group(self._process, signal.SIGKILL)
        self._process = None
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = "its last lines:\n" + "\n".join(self._lines) if self._lines else "it said nothing"
        self._fail(128 - code if code < 0 else code, f"the model server {how}; {last}")

    async def _start(self, directory: Path, socket: Path) -> asyncio.subprocess.Process:
        """Start the process in a session of its own; the runtimes tie themselves to this process."""
        self._starts += 1
        return await asyncio.create_subprocess_exec(
            *self.launch.command(directory, socket),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(self.launch.env),
            start_new_session=True,
        )

    async def _read(self, process: asyncio.subprocess.Process, log: RotatedLog) -> None:
        """Write the process's output to its log, and remember the end of it."""
        assert process.stdout is not None
        with log:
            rest = b""
            while chunk := await process.stdout.read(65536):
                with contextlib.suppress(OSError):  # a full disk is no reason to let the process block on its output
                    log.write(chunk)
                *lines, rest = (rest + chunk)[-65536:].split(b"\n")
                self._lines.extend(line.decode(errors="replace")[:500] for line in lines)
            if rest:
                self._lines.append(rest.decode(errors="replace")[:500])

    async def _probe(self, socket: Path) -> None:
        """Ask until server and model say that they are ready."""
        pause = 0.02
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(socket), force_close=True), timeout=PROBE_TIMEOUT
        ) as session:
            while not await answers(session, self.launch.model):
                await asyncio.sleep(pause)
                pause = min(pause * 1.3, 0.5)
        self._become(replace(self.health, ready=True, failed=False, socket=str(socket)))

    def _fail(self, code: int | None, message: str) -> None:
        """Note a failure."""
        restarts = self.health.restarts + 1
        self._become(Health(failed=True, exit_code=code, message=message, restarts=restarts))

    def _become(self, health: Health) -> None:
        """Take on a new health, and tell if it is another one."""
        if health != self.health:
            self.health = health
            self._changed()

    def _socket(self) -> Path:
        """Name a socket that no process before has used."""
        text = f"{self.launch.name} {os.getpid()} {self._starts}"
        return self.launch.run_dir / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.sock"


async def answers(session: aiohttp.ClientSession, model: str) -> bool:
    """Tell whether server and model are ready; models that speak V1 only are asked the V1 way."""
    paths = ("/v2/health/ready",), (f"/v2/models/{model}/ready", f"/v1/models/{model}")
    try:
        for ways in paths:
            if not any([await _says_yes(session, way) for way in ways]):
                return False
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
    return True


async def _says_yes(session: aiohttp.ClientSession, path: str) -> bool:
    """Ask one readiness endpoint."""
    async with session.get(f"http://replica{path}") as response:
        return response.status == 200


async def end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Ask a process to end, wait, then kill what is left of its session."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            _signal_group(process, signal.SIGKILL)
            await process.wait()
    _signal_group(process, signal.SIGKILL)


def _signal_group(process: asyncio.subprocess.Process, sent: signal.Signals) -> None:
    """Signal a process and its children, whatever is left of them."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sent)
