"""``history``: the ledger of one service, from Git alone."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

from gitops_serving import wiring
from gitops_serving.core.ledger import instant, read_trailers, record_path

from . import listing, names, render
from .look import repository

if TYPE_CHECKING:
    from gitops_serving.config import Settings
    from gitops_serving.core.model import Commit

COLUMNS = ("TIME", "COMMIT", "AUTHOR", "ACTION", "WEIGHT", "REVISION", "REASON")
MOVED = re.compile(r", (\d+)% -> (\d+)%$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One commit that changed the record."""

    at: str
    commit: str
    author: str
    action: str  # empty: not one of our entries
    step: str
    before: int | None  # None: the entry has no weights
    weight: int | None
    revision: str
    policy: str
    reason: str


def history(settings: Settings, name: str, limit: int, output: str) -> None:
    """Print the newest entries of a service; limit 0: all."""
    with repository(settings) as opened:
        tree = opened.fetch()
        chosen = wiring.environments(settings, tree)
        environment, service = names.find(name, tree, chosen, wiring.clock())
        commits = opened.history(record_path(environment, service))
        entries = [told(commit) for commit in islice(commits, limit or None)]
    if output != "table":
        document = {
            "apiVersion": listing.API_VERSION,
            "kind": "RolloutHistory",
            "environment": environment,
            "service": service,
            "items": [asdict(entry) for entry in entries],
        }
        render.print_document(document, output)
    elif entries:
        render.print_table(COLUMNS, [cells(entry) for entry in entries])
    else:
        print(f"{service} has no entries yet: the controller writes the first one when it adopts the service")


def told(commit: Commit) -> Told:
    """Read a commit; one that somebody made by hand is told by its first line."""
    subject, _, rest = commit.message.partition("\n")
    trailers = read_trailers(commit.message)
    moved = MOVED.search(subject)
    paragraphs = rest.strip().split("\n\n")
    return Told(
        at=instant(commit.at),
        commit=commit.id,
        author=commit.author,
        action=trailers.get("Action", ""),
        step=trailers.get("Step", ""),
        before=int(moved.group(1)) if moved else None,
        weight=int(moved.group(2)) if moved else None,
        revision=trailers.get("Revision", ""),
        policy=trailers.get("Policy", ""),
        reason=" ".join(paragraphs[0].split()) if trailers and len(paragraphs) > 1 else subject,
    )


def cells(entry: Told) -> list[str]:
    """Write a commit as a line of the table."""
    weight = listing.NONE if entry.weight is None else f"{entry.before}->{entry.weight}"
    author = entry.author.partition(" <")[0]
    return [
        entry.at,
        entry.commit[:8],
        author,
        entry.action or listing.NONE,
        weight,
        entry.revision or listing.NONE,
        entry.reason,
    ]
