"""How a revision's processes are, in one value: what the fleet tells and statuses are written from.

Knows nothing of processes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How a revision's processes are."""

    desired: int = 0
    ready: int = 0
    sockets: tuple[str, ...] = ()  # of the ready ones
    failed: bool = False  # none is ready, and one has ended or could not start
    starting: float | None = None  # loop time since when none is ready, none failed; None: not so
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    capped: str = ""  # why fewer run than were asked for; empty: they do not
    pids: tuple[int, ...] = ()
