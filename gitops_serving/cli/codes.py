"""What the command ends with, and what it says when it cannot do what it was asked."""

from __future__ import annotations

import os
import sys

from gitops_serving.core.errors import Conflict, GitopsServingError, Invalid, Misnamed, Refused, Unavailable

OK, NEGATIVE, USAGE, UNREACHED, TIMEOUT, REFUSED, BUG = 0, 1, 2, 3, 4, 5, 70
MEANINGS = {
    OK: "done",
    NEGATIVE: "a negative answer: a service has wrong files, could not be looked at, or is refused by the cluster",
    USAGE: "a wrong option, name, file or configuration",
    UNREACHED: "a repository, cluster or Prometheus cannot be reached",
    TIMEOUT: "not done in time, or the branch moved on each of three tries",
    REFUSED: "a server said no: credentials, a protected branch, rights",
    BUG: "a bug of gitops-serving itself",
}
CODES: dict[type[GitopsServingError], int] = {
    Invalid: USAGE,
    Unavailable: UNREACHED,
    Conflict: TIMEOUT,
    Refused: REFUSED,
    Misnamed: USAGE,
}
DEBUG = "GITOPS_SERVING_DEBUG"


def code_of(error: GitopsServingError) -> int:
    """Say what a command ends with after an error."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), BUG)


def complain(error: GitopsServingError) -> None:
    """Write an error to stderr."""
    say(str(error))


def say(text: str, kind: str = "error") -> None:
    """Write what went wrong as one block; further lines are further complaints."""
    from gitops_serving.core.ledger import one_line

    print(
        f"{kind}: " + f"\n{' ' * len(kind)}  ".join(one_line(line) for line in text.splitlines()),
        file=sys.stderr,
        flush=True,
    )


def debugging() -> bool:
    """Tell whether a person wants to see tracebacks."""
    return os.environ.get(DEBUG, "") not in {"", "0"}
