"""A branch in memory: the port ``Repository`` without Git, for simulations and tests.

It promises what the real adapter promises, and passes the same contract suite:
an append is a compare-and-swap, equal decisions make equal commit ids, and a
lost answer is settled before anything is raised.  Faults are plain attributes
that a test sets.  It knows nothing of Git's formats but one: a blob's id is the
real one, so that ids may be compared with those of a real repository.

A fetch costs one attribute look-up, because a simulation does hundreds of
thousands of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gitops_serving.core.errors import Conflict, Refused, Unavailable
from gitops_serving.core.model import Commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gitops_serving.core.model import Change

READABLE_BYTES = 1024 * 1024  # as in the adapter: a larger file is no manifest
SOMEBODY = "Ann Example <ann@example.invalid>"


@dataclass(frozen=True, slots=True)
class Logged:
    """One commit and what it did to the files: path -> (before, after), None where there was or is no file."""

    id: str
    author: str
    at: datetime
    message: str
    files: Mapping[str, tuple[bytes | None, bytes | None]]


class FakeTree:
    """The files of one commit; treat it as immutable."""

    __slots__ = ("_blobs", "_files", "_listed", "commit")

    def __init__(self, commit: str, files: Mapping[str, bytes], blobs: Mapping[str, str]) -> None:
        self.commit = commit
        self._files = files
        self._blobs = blobs
        self._listed: dict[str, tuple[str, ...]] = {}

    def paths(self, under: str = "") -> Sequence[str]:
        """List the files below a folder, sorted."""
        listed = self._listed.get(under)
        if listed is None:
            folder = f"{under.strip('/')}/" if under.strip("/") else ""
            listed = self._listed[under] = tuple(sorted(path for path in self._files if path.startswith(folder)))
        return listed

    def read(self, path: str) -> bytes | None:
        """Read a file; None: there is none, or it is larger than a manifest may be."""
        data = self._files.get(path)
        return data if data is not None and len(data) <= READABLE_BYTES else None

    def blob(self, path: str) -> str | None:
        """The id that Git gives to the file's content."""
        return self._blobs.get(path)

    def with_files(self, commit: str, files: Mapping[str, bytes | None]) -> FakeTree:
        """Make the next commit's tree; None deletes."""
        contents, blobs = dict(self._files), dict(self._blobs)
        for path, data in files.items():
            if data is None:
                contents.pop(path, None)
                blobs.pop(path, None)
            else:
                contents[path] = data
                blobs[path] = blob_id(data)
        return FakeTree(commit, contents, blobs)


class FakeRepository:
    """One branch, with the faults that a test asks for.

    ``down``: why nothing answers (fetch, append: Unavailable).  ``refuses``: what a hook says (append: Refused).
    ``before_append``: called once, inside the next append and before its compare: somebody who pushes first.
    ``after_append``: called once, after the next append has landed: a crash, or somebody who pushes on top.
    ``lose_answer``: how many of the next appends land without an answer, which a fetch then settles.
    ``lose_answer_and_fetch``: how many of the next appends land while the caller is told Unavailable.
    ``log``: all commits, oldest first, the one of the constructor's files among them.
    ``pushes``: how many appends reached the branch.
    """

    def __init__(self, files: Mapping[str, bytes], at: datetime) -> None:
        self.down: str | None = None
        self.refuses: str | None = None
        self.before_append: Callable[[], object] | None = None
        self.after_append: Callable[[], object] | None = None
        self.lose_answer = 0
        self.lose_answer_and_fetch = 0
        self.settled = 0  # how many lost answers a fetch has settled
        self.pushes = 0
        self.log: list[Logged] = []
        self._contents: dict[str, bytes] = {}
        self._head = FakeTree("", {}, {})
        self._commit(files, message="first commit", author=SOMEBODY, at=at)

    @property
    def head(self) -> FakeTree:
        """The branch as it is, whatever fault is set: for assertions."""
        return self._head

    def fetch(self) -> FakeTree:
        """Return the tree at the head."""
        if self.down is not None:
            raise Unavailable(f"fetching the fake repository: {self.down}; it is tried again at the next tick")
        return self._head

    def append(self, onto: str, changes: Sequence[Change]) -> FakeTree:
        """Add one commit per change on top of ``onto``, all or none."""
        self.fetch()
        if self.before_append is not None:
            competing, self.before_append = self.before_append, None
            competing()
        if self._head.commit != onto:
            raise Conflict(f"the branch is at {self._head.commit[:12]} and not at {onto[:12]}; fetch and decide again")
        if not changes:
            return self._head
        for path in (path for change in changes for path in change.files):
            if not {"", ".", "..", ".git"}.isdisjoint(path.split("/")):
                raise Refused(
                    f"cannot write {path!r}: the path is not safe in a repository; rename the service or file"
                )
        if self.refuses is not None:
            raise Refused(f"the fake repository refused the push: {self.refuses}; ask whoever guards the branch")
        for change in changes:
            self._commit(change.files, message=change.message, author=change.author, at=change.at)
        self.pushes += 1
        return self._answered()

    def _answered(self) -> FakeTree:
        """Give the answer to an append that landed, or lose it."""
        mine = self._head
        if self.after_append is not None:
            following, self.after_append = self.after_append, None
            following()
        if self.lose_answer_and_fetch:
            self.lose_answer_and_fetch -= 1
            raise Unavailable("the answer to the push was lost and a fetch failed; the next fetch tells what happened")
        if self.lose_answer:
            self.lose_answer -= 1
            self.settled += 1
        return mine

    def history(self, path: str) -> Iterator[Commit]:
        """Walk the commits that changed a file, newest first."""
        for logged in reversed(self.log):
            if path in logged.files:
                yield Commit(logged.id, logged.author, logged.at, logged.message)

    def content(self, blob: str) -> bytes | None:
        """Read what any commit ever held, by its blob id."""
        data = self._contents.get(blob)
        return data if data is not None and len(data) <= READABLE_BYTES else None

    def push(
        self,
        files: Mapping[str, bytes | None],
        *,
        message: str = "a person's commit",
        author: str = SOMEBODY,
        at: datetime | None = None,
    ) -> str:
        """Commit as somebody else, whatever fault is set; None deletes.  ``at`` defaults to the time of the head."""
        return self._commit(files, message=message, author=author, at=at or self.log[-1].at)

    def _commit(self, files: Mapping[str, bytes | None], *, message: str, author: str, at: datetime) -> str:
        """Move the head on by one commit."""
        before = self._head
        when = at.astimezone(UTC).replace(microsecond=0)  # Git keeps whole seconds
        changed = {
            path: (before._files.get(path), data)  # noqa: SLF001 - the tree is this module's own
            for path, data in files.items()
            if before._files.get(path) != data  # noqa: SLF001 - the tree is this module's own
        }
        written = {path: None if data is None else blob_id(data) for path, data in sorted(files.items())}
        ident = digest_of([before.commit, written, message, author, when.isoformat()])
        self._head = before.with_files(ident, files)
        self._contents.update({blob_id(data): data for data in files.values() if data is not None})
        self.log.append(Logged(ident, author, when, message, changed))
        return ident


def blob_id(data: bytes) -> str:
    """Compute the id that Git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def digest_of(parts: object) -> str:
    """Compute an id of 40 hex digits, as long as one of Git's."""
    return hashlib.sha1(json.dumps(parts).encode(), usedforsecurity=False).hexdigest()
