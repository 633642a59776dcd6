"""What the controller asks of the world: four Protocols, no implementation.

An adapter translates every failure of its library into the errors named here;
nothing else may leave it.  Reads that feed a decision never raise, because "I
could not look" is something to decide upon, not something to crash on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .core.measure import Query, Reading
    from .core.model import Change, Commit, Due, Status


class Tree(Protocol):
    """The files of one commit, read lazily; it never changes."""

    @property
    def commit(self) -> str:
        """The full id of the commit."""
        ...

    def paths(self, under: str = "") -> Sequence[str]:
        """List the regular files below a folder, sorted; links, submodules and unsafe names are left out."""
        ...

    def read(self, path: str) -> bytes | None:
        """Read a file; None: there is no such regular file, or it is larger than a manifest may be."""
        ...

    def blob(self, path: str) -> str | None:
        """The id of a file's content: equal ids mean equal bytes."""
        ...


class Repository(Protocol):
    """One branch of one repository, seen from its server."""

    def fetch(self) -> Tree:
        """Return the tree at the branch's head.  Raises Unavailable, Refused."""
        ...

    def append(self, onto: str, changes: Sequence[Change]) -> Tree:
        """Add one commit per change on top of commit ``onto``, all or none, in one push.

        Raises Conflict if the branch is not at ``onto`` any more, Refused if the server says no, Unavailable if
        nobody knows.  An unknown outcome is settled by fetching before anything is raised.
        """
        ...

    def history(self, path: str) -> Iterator[Commit]:
        """Walk the commits that changed a file, newest first.  For people; the tick never asks."""
        ...

    def content(self, blob: str) -> bytes | None:
        """Read a file's content by its id; None: not in the repository."""
        ...


class Metrics(Protocol):
    """Prometheus."""

    def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
        """Answer every query by its name.  Never raises: a silence is a reading with a cause."""
        ...


class Cluster(Protocol):
    """The cluster that serves."""

    def observe(self, service: str) -> Status:
        """Tell what is there.  Never raises: ``known`` says whether the cluster answered."""
        ...

    def apply(self, due: Due) -> None:
        """Make a whole manifest live; nothing happens where nothing differs.  Raises Refused, Unavailable."""
        ...
