"""Both ends of the stream: a judge behind a process's pipes, and a peer served on standard input and output.

A line in, a line out: every ``sample`` with ``answer`` gets one answer at once.  `Piped` takes what a judge inside the
process takes, so that `differences` can tell whether the protocol changes an answer.
"""

from __future__ import annotations

import json
import select
import subprocess
from typing import IO, TYPE_CHECKING, Any, Self

from .worlds import World, samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .compare import Factory, Judge, Message

PATIENCE = 30.0  # seconds that a process may take for one answer


class Piped:
    """A judge that is another process, kept over many runs; each run's ``start`` makes it forget the one before."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def take(self, message: Message) -> Message | None:
        """Send a message and, if it asks for an answer, wait for it."""
        if self._stdin is None or self._stdout is None:
            raise OSError("the judge's process has no pipes")
        self._stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        if not message.get("answer"):
            return None
        if not select.select([self._stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"no answer within {PATIENCE:g} s; does the judge flush each line?")
        line = self._stdout.readline()
        if not line:
            raise EOFError(f"the judge's process ended with {self._process.wait()}")
        answer: Message = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._stdin, self._stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def differences(
    judge: Factory, piped: Piped, worlds: Sequence[World], seeds: Iterable[int]
) -> Iterator[tuple[str, Message, Message | None, Message | None]]:
    """Play the same runs inside the process and through the pipes; yields every sample whose answers differ."""
    for world in worlds:
        for seed in seeds:
            inside = judge()
            for message in samples(world, seed):
                here, there = inside(message), piped.take(message)
                if message["type"] == "sample" and _said(here) != _said(there):
                    yield f"{world.name}, seed {seed}", message["sample"], here, there


def _said(answer: Message | None) -> dict[str, Any] | None:
    """The words of an answer that the protocol promises, as JSON holds them."""
    if answer is None:
        return None
    said: dict[str, Any] = json.loads(json.dumps({key: answer.get(key) for key in ("verdict", "e", "because")}))
    return said


def serve(judge: Factory, lines: Iterable[str], out: IO[str]) -> None:
    """Be the process behind the pipes: a fresh judge at every start."""
    current: Judge = judge()
    for line in lines:
        message = json.loads(line)
        if message["type"] == "start":
            current = judge()
        answer = current(message)
        if answer is not None and message.get("answer"):
            print(json.dumps(answer), file=out, flush=True)
