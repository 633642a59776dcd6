"""``run``: the controller, as a process that logs, ends on a signal and never holds anybody up."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gitops_serving import wiring
from gitops_serving.controller.tick import tick
from gitops_serving.core.errors import Conflict, GitopsServingError
from gitops_serving.core.ledger import one_line

from . import codes, logs
from .look import offices, repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gitops_serving.config import Settings
    from gitops_serving.controller.loop import Loop
    from gitops_serving.controller.snapshot import Snapshot
    from gitops_serving.wiring import Office

STOP_SECONDS = 60.0  # for the running tick: a push and its settling are bounded by less
ENDING = (signal.SIGTERM, signal.SIGINT)
TRIES = 4  # of --once, where somebody pushes at the same time


def run(settings: Settings, *, once: bool, log_form: str) -> int:
    """Tick once, or until a signal comes, and say what to end with."""
    with repository(settings) as opened:
        chosen = wiring.environments(settings, opened.fetch())
        if once:
            with offices(settings, chosen, opened) as made:
                return max([_once(office) for office in made])
    logs.configure(log_form)
    _serve([wiring.Office(settings, name) for name in chosen])
    return codes.OK


def _once(office: Office) -> int:
    """Tick, print what was appended and what is wrong, and say what to end with."""
    try:
        snapshot = _ticked(office)
    except GitopsServingError as error:
        codes.complain(error)
        return codes.code_of(error)
    for line in snapshot.appended:
        print(line)
    wrong = [f"{seen.service}: {seen.wrong}" for seen in snapshot.services if seen.wrong]
    for text in [*([snapshot.error] if snapshot.error else []), *wrong]:
        codes.say(text)
    if not snapshot.appended and not snapshot.error:
        print(one_line(f"{office.environment}: nothing to append; services seen: {len(snapshot.services)}"))
    if snapshot.error:
        return codes.REFUSED if snapshot.refused else codes.UNREACHED
    return codes.NEGATIVE if wrong else codes.OK


def _ticked(office: Office) -> Snapshot:
    """Tick once, anew where the branch moved meanwhile."""
    for _ in range(TRIES - 1):
        try:
            return tick(office.desk())
        except Conflict:
            continue
    return tick(office.desk())


def _serve(made: Sequence[Office]) -> None:
    """Run one loop for each environment until a signal comes."""
    loops = [wiring.open_loop(office) for office in made]
    with _signals() as received:
        for loop in loops:
            loop.start()
        while os.read(received, 1)[0] == signal.SIGHUP:
            for loop in loops:
                loop.wake()
        for number in ENDING:
            signal.signal(number, lambda number, _: os._exit(128 + number))  # whoever asks twice will not wait
        ended = _stop(loops)
    if not ended:
        codes.say(f"a tick did not end within {STOP_SECONDS:g} s and is abandoned; the next run goes on from there")
        os._exit(codes.TIMEOUT)  # its thread would keep the process
    for office in made:
        office.close()
        office.repository.close()


def _stop(loops: Sequence[Loop]) -> bool:
    """End all loops at the same time; tell whether all ended in time."""
    ended: list[bool] = []
    threads = [threading.Thread(target=lambda loop=loop: ended.append(loop.stop(STOP_SECONDS))) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(ended)


@contextmanager
def _signals() -> Iterator[int]:
    """Give a descriptor that the numbers of the signals sent to us can be read from, a byte each.

    Two signals at once may reach two threads, and a handler runs in the main thread alone, which nobody wakes then;
    the byte is written whichever thread a signal reaches.
    """
    received, told = os.pipe()
    os.set_blocking(told, False)
    numbers = (*ENDING, signal.SIGHUP)
    before = {number: signal.signal(number, lambda _, __: None) for number in numbers}
    fd = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield received
    finally:
        signal.set_wakeup_fd(fd)
        for number, old in before.items():
            signal.signal(number, old)
        os.close(received)
        os.close(told)
