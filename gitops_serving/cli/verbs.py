"""``hold``, ``resume``, ``promote``, ``abort``, ``retry``: a person's word, as a commit in their own name.

What follows from a word is decided by the controller, at its next tick; nothing here
touches a cluster.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gitops_serving import wiring
from gitops_serving.controller import requests
from gitops_serving.core.errors import Invalid
from gitops_serving.core.exact import instant
from gitops_serving.core.fields import duration
from gitops_serving.core.model import Request

from . import names
from .identity import author
from .look import repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops_serving.adapters.git import GitRepository
    from gitops_serving.config import Settings
    from gitops_serving.core.model import Change
    from gitops_serving.ports import Tree

    Make = Callable[[requests.Word, Tree, GitRepository], Change]


@dataclass(frozen=True, slots=True)
class Said:
    """Why, and by whom as far as the command line says."""

    reason: str = ""
    author: str | None = None  # None: as Git has it


def hold(settings: Settings, name: str, said: Said, until: str | None) -> None:
    """Stop progress, for ever or until an instant."""
    end = _instant(until) if until else None
    service = _say(settings, name, said, lambda word, tree, _: requests.hold(word, tree, end))
    print(f"No weight of it rises until the hold ends: gitops-serving resume {service}")
    print("A verdict that fails still aborts.")


def resume(settings: Settings, name: str, said: Said) -> None:
    """End a hold."""
    _say(settings, name, said, lambda word, tree, _: requests.resume(word, tree))
    print("The controller goes on at its next tick.")


def promote(settings: Settings, name: str, said: Said) -> None:
    """Ask for all traffic."""
    _say(settings, name, said, lambda word, tree, _: requests.ask(word, tree, Request.PROMOTE))
    print("The controller gives it all traffic at its next tick, once its present weight has arrived in the cluster.")
    print("A verdict that fails before that still aborts.")


def abort(settings: Settings, name: str, said: Said) -> None:
    """Ask for the end of a trial."""
    service = _say(settings, name, said, lambda word, tree, _: requests.ask(word, tree, Request.ABORT))
    print("The controller returns all traffic to the stable revision at its next tick, and puts its manifest back.")
    print(f"The revision is refused until: gitops-serving retry {service}")


def retry(settings: Settings, name: str, said: Said, revision: str | None) -> None:
    """Bring a rejected revision back."""
    _say(settings, name, said, lambda word, tree, opened: requests.retry(word, tree, opened.content, revision))
    print("The controller puts it on trial at its next tick, from the first step.")


def _say(settings: Settings, name: str, said: Said, make: Make) -> str:
    """Commit a word, print the commit's first line, and return which service it is about."""
    by = author(said.author, os.environ)
    with repository(settings) as opened:
        tree = opened.fetch()
        now = wiring.clock()
        environment, service = names.find(name, tree, wiring.environments(settings, tree), now)
        word = requests.Word(environment=environment, service=service, by=by, at=now, reason=said.reason)
        change = requests.commit(opened, lambda tree: make(word, tree, opened))
    print(change.message.partition("\n")[0])
    return service


def _instant(words: str) -> datetime:
    """Read an instant, or a duration from now on."""
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        try:
            return wiring.clock() + duration(words)
        except Invalid:
            raise Invalid(
                f"--until {words!r} is neither a duration nor an instant",
                code="until",
                remedy="write 90s, 5m, 2h, or an instant such as 2026-12-01T08:00Z",
            ) from None
    if at.tzinfo is None:
        raise Invalid(f"--until {words} has no time zone", code="until", remedy=f"write {words}Z for UTC, or an offset")
    try:
        return instant(words)
    except ValueError as error:
        remedy = "leave it out, and the hold lasts until somebody resumes"
        raise Invalid(f"--until {error}", code="until", remedy=remedy) from None
