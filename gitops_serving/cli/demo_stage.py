"""The demonstration's processes: started, watched, and none of them left behind.

Each runs in a session of its own, so that Ctrl-C reaches the demonstration alone, which then ends them in order; and
each is tied to the demonstration, so that they end even where it is killed.  What they do is not known here.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from gitops_serving.local import tether

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FrameType

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 0.2
STOP_SECONDS = 60.0  # requests in flight and model servers have their graces
SAID_LINES = 12
LAST_WORDS_LINES = 40  # a traceback and what led to it


class DemoError(Exception):
    """The demonstration cannot go on; the message says why and what to do."""


class Stopped(Exception):
    """A person asked the demonstration to stop."""

    def __init__(self, sent: int) -> None:
        super().__init__(f"stopped by {signal.Signals(sent).name}")
        self.sent = sent


class Bell:
    """Waits that end early when a child ends or a person asks to stop; to be used in the main thread."""

    def __enter__(self) -> Self:
        self._asked = 0
        self._ear, mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(mouth, False)
        self._mouth = mouth
        self._before: dict[signal.Signals, Any] = {each: signal.signal(each, self._ask) for each in SIGNALS}
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeup = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for each, before in self._before.items():
            signal.signal(each, before)
        os.close(self._ear)
        os.close(self._mouth)

    def pause(self, seconds: float) -> None:
        """Wait; raises Stopped once a person has asked for it."""
        if not self._asked and select.select([self._ear], [], [], seconds)[0]:
            os.read(self._ear, 4096)
        if self._asked:
            raise Stopped(self._asked)

    def until(self, ask: Callable[[], T | None], seconds: float, what: str) -> T:
        """Ask until there is an answer; raises DemoError where none comes in time."""
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            if time.monotonic() > deadline:
                raise DemoError(f"{what} took more than {seconds:g} s; see the logs, or try again on a quieter machine")
            self.pause(LOOK_SECONDS)
        return answer

    def _ask(self, sent: int, _: FrameType | None) -> None:
        self._asked = sent


class Keeper(Protocol):
    """Whoever keeps the controller running."""

    @property
    def kills(self) -> int:
        """Count the kills of it, by whoever wants to see it survive them."""
        ...

    @property
    def restarts(self) -> int:
        """Count its starts after the first."""
        ...

    def tend(self) -> None:
        """Look after the controller; raises DemoError where it cannot be kept."""
        ...

    def stop(self) -> None:
        """End it for good."""
        ...


class Kept:
    """One process that is started again at once whenever a signal ended it.

    One that ends by itself has said why in its log, and is not started again.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.kills = self.restarts = 0
        self._name, self._command, self._log = name, command, log
        self.process = start(command, log)

    def tend(self) -> None:
        """Start it again if it was killed; raises DemoError if it ended by itself."""
        code = self.process.poll()
        if code is None:
            return
        if code >= 0:
            raise DemoError(f"{self._name} ended with code {code}; {said(self._log)}")
        self.restarts += 1
        self.process = start(self._command, self._log)

    def stop(self) -> None:
        """End it for good."""
        end(self.process)


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a Python module of ours with its arguments, tied to this thread, which has to live as long."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Whoever tries the demonstration may have a controller of their own configured.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GITOPS_SERVING_")}
    with log.open("ab") as output:
        return subprocess.Popen(
            tether.command(sys.executable, "-m", *command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, wait, and make it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said(log: Path, most: int = SAID_LINES) -> str:
    """Repeat the last lines of a log."""
    if not log.exists():
        return f"it has no log at {log}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-most:]
    return f"its last lines, of {log}:\n" + "\n".join(lines) if lines else f"it said nothing in {log}"
