"""Look at environments without acting: Git's tree, the cluster and Prometheus, once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving import wiring
from gitops_serving.controller import tick
from gitops_serving.core.errors import GitopsServingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gitops_serving.adapters.git import GitRepository
    from gitops_serving.config import Settings
    from gitops_serving.controller.snapshot import Snapshot
    from gitops_serving.ports import Tree
    from gitops_serving.wiring import Office


@contextmanager
def repository(settings: Settings) -> Iterator[GitRepository]:
    """Open the repository for as long as it is needed."""
    opened = wiring.open_repository(settings)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def offices(settings: Settings, names: Iterable[str], opened: GitRepository) -> Iterator[list[Office]]:
    """Open the offices of environments on one repository; nothing is reached yet."""
    made = [wiring.Office(settings, name, opened) for name in names]
    try:
        yield made
    finally:
        for office in made:
            office.close()


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen, and what could not be."""

    snapshots: tuple[Snapshot, ...]
    errors: tuple[GitopsServingError, ...]  # one for each environment that cannot be looked at


def look(offices: Sequence[Office], tree: Tree) -> Sight:
    """See every service of these environments; one that cannot be reached does not hide the others."""
    snapshots: list[Snapshot] = []
    errors: list[GitopsServingError] = []
    for office in offices:
        try:
            desk = office.desk(tree)
        except GitopsServingError as error:
            errors.append(error)
            continue
        snapshots.append(tick.look(desk, tree, wiring.clock().replace(microsecond=0)))
    return Sight(tuple(snapshots), tuple(errors))
