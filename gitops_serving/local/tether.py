"""Let a process die with the one that started it, so that a killed supervisor leaves nothing behind.

Linux sends a signal of our choice when the thread that forked a process ends (PR_SET_PDEATHSIG). A program of our own
asks for it itself; a foreign one is started through `python -m gitops_serving.local.tether PROGRAM ARGUMENTS`, which
asks and then becomes that program: the request survives exec, and unlike a preexec_fn it is safe among threads.

It is the *thread*: start children from one that lives as long as they shall.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(sent: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send `sent` to this process when its parent ends; exit now if that has happened already."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(sent), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not tie this process to its parent; Linux is needed")
    if os.getppid() != parent:
        raise SystemExit(1)


def command(*program: str) -> list[str]:
    """Give the command line that runs a foreign program tied to its parent."""
    return [sys.executable, "-m", "gitops_serving.local.tether", *program]


def main() -> None:
    """Become the program named on the command line."""
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  # the caller gives a list, no shell is wanted


if __name__ == "__main__":
    main()
