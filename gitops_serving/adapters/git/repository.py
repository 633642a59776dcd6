"""The port ``Repository``: fetch, append, history and content of one branch.

The hard part is a push without an answer.  It is settled by what the branch
looks like afterwards, and by nothing else:

    our commit is on the branch   it landed
    the branch did not move       a late request may still land, so the very same commit is pushed
                                  once more; that is harmless whichever of the two wins
    anything else                 it can never land, for the server compares with where it was:
                                  Conflict, decide again
    the fetch fails too           nobody knows: Unavailable; equal decisions make equal commits, so
                                  the next tick's push settles it

One thread uses an object; two processes, or two objects, never share a cache
folder (see ``cache``).
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import SortMode

from gitops_serving.core.errors import Conflict, GitopsServingError, Misnamed, Unavailable
from gitops_serving.core.model import Commit

from .cache import Cache, sound
from .command import LocalPush
from .commits import committed
from .objects import REGULAR, GitTree, Objects, safe_path
from .remote import Credentials, parse_remote
from .transport import Told, Transport, moved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gitops_serving.core.model import Change

TIMEOUT_SECONDS = 20.0  # one wait for a server; a guess between a slow host and a thread that hangs


class GitRepository:
    """One branch of a repository, seen from its server.  ``close`` gives its cache folder free."""

    def __init__(
        self,
        url: str,
        branch: str,
        cache_dir: Path,
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        remote = parse_remote(url)
        if not pygit2.reference_is_valid_name(f"refs/heads/{branch}") or branch.startswith("-"):
            raise Misnamed(f"{branch!r} cannot be the name of a branch; correct it")
        self._transport = Transport(remote, branch, credentials or Credentials(), timeout_seconds)
        local = None if remote.path is None else LocalPush(remote.path, branch, timeout_seconds)
        self._pusher: LocalPush | Transport = local or self._transport
        self._cache = Cache(cache_dir, remote.url, branch)
        self._objects: Objects | None = None
        self._head: GitTree | None = None

    def close(self) -> None:
        """Give the cache folder free; a later call takes one again."""
        self._objects = self._head = None
        self._cache.close()

    def fetch(self) -> GitTree:
        """Return the tree at the branch's head; raises Unavailable, Refused."""
        return self._tree(self._fetched())

    def append(self, onto: str, changes: Sequence[Change]) -> GitTree:
        """Add one commit per change on top of ``onto``, all or none, in one push."""
        objects, base = self._base(onto)
        if not changes:
            head = self._fetched()
            if head != base:
                raise moved(self._transport.where, base, head)
            return self._tree(base)
        mine = base
        for change in changes:
            mine = committed(objects, mine, change)
        told = self._push(objects, base, mine)
        if told.outcome != "landed":
            self._settle(base, mine, told)
        return self._tree(mine)

    def history(self, path: str) -> Iterator[Commit]:
        """Walk the commits that changed a file, newest first, as of the last fetch."""
        head = pygit2.Oid(hex=(self._head or self.fetch()).commit)
        objects = self._store()
        with objects.reading("the history"):
            for commit in objects.repository.walk(head, SortMode.TOPOLOGICAL | SortMode.TIME):
                here = blob_at(commit, path)
                before = [blob_at(parent, path) for parent in commit.parents] or [None]
                if all(here != there for there in before):
                    yield described(commit)

    def content(self, blob: str) -> bytes | None:
        """Read a file's content by its id; None: not in the repository as of the last fetch, or too large."""
        if self._head is None:
            self.fetch()
        return self._store().content(blob)

    def _store(self) -> Objects:
        """Open the cache's objects; what was known of another cache is forgotten."""
        repository = self._cache.repository()
        if self._objects is None or self._objects.repository is not repository:
            self._objects, self._head = Objects(repository, self._doubt), None
        return self._objects

    def _doubt(self) -> None:
        self._cache.suspect = True

    def _fetched(self) -> pygit2.Oid:
        """Bring the branch into the cache; a damaged cache is made anew, once."""
        objects = self._store()
        try:
            return self._transport.fetch(objects.repository)
        except GitopsServingError:
            if sound(objects.repository) and not self._cache.suspect:
                raise
        self._doubt()
        return self._transport.fetch(self._store().repository)

    def _tree(self, commit: pygit2.Oid) -> GitTree:
        """Show a commit's tree; the same object as long as the head does not move, so that nothing is listed twice."""
        objects = self._store()
        if self._head is None or self._head.commit != str(commit):
            root = objects.commit(commit).tree_id
            objects.entries(root)
            self._head = GitTree(objects, str(commit), root)
        return self._head

    def _base(self, onto: str) -> tuple[Objects, pygit2.Oid]:
        """Find the commit that was decided about; one that no fetch brings is not on the branch."""
        objects = self._store()
        try:
            base = pygit2.Oid(hex=onto)
        except ValueError:
            raise Conflict(f"{onto!r} is no commit of {self._transport.where}; fetch and decide again") from None
        if base not in objects.repository.odb:
            head = self._fetched()
            if head != base:
                raise moved(self._transport.where, onto, head)
            objects = self._store()
        return objects, base

    def _push(self, objects: Objects, base: pygit2.Oid, mine: pygit2.Oid) -> Told:
        if not self._descends(objects, mine, base):
            raise Conflict(f"commit {mine} does not stand on {base}; fetch and decide again")
        return self._pusher.push(objects.repository, base, mine)

    def _settle(self, base: pygit2.Oid, mine: pygit2.Oid, told: Told) -> None:
        """Find out what became of a push; returns if it landed, and raises otherwise."""
        for once_more in (True, False):
            try:
                head = self._fetched()
            except GitopsServingError as error:
                unsettled = f"nobody knows whether commit {str(mine)[:12]} landed: {told.error}"
                raise Unavailable(f"{unsettled} (then: {error})") from error
            objects = self._store()
            if head == mine or self._descends(objects, head, mine):
                return
            if head != base:
                raise moved(self._transport.where, base, head)
            if told.outcome != "unknown" or not once_more or mine not in objects.repository.odb:
                raise told.error
            try:
                told = self._push(objects, base, mine)
            except Conflict as late:  # the first request may have landed just now
                told = Told("unknown", late)
            if told.outcome == "landed":
                return

    def _descends(self, objects: Objects, head: pygit2.Oid, mine: pygit2.Oid) -> bool:
        with objects.reading("the history"):
            return mine in objects.repository.odb and objects.repository.descendant_of(head, mine)


def blob_at(commit: pygit2.Commit, path: str) -> pygit2.Oid | None:
    """Find a file's content in one commit of a long walk; nothing is kept of it."""
    if safe_path(path):
        with suppress(KeyError):
            entry = commit.tree[path]
            return entry.id if entry.filemode in REGULAR else None
    return None


def described(commit: pygit2.Commit) -> Commit:
    """Show a commit; people write names and messages in many encodings."""
    name = commit.author.raw_name.decode("utf-8", "replace")
    address = commit.author.raw_email.decode("utf-8", "replace")
    at = datetime.fromtimestamp(commit.commit_time, UTC)
    return Commit(str(commit.id), f"{name} <{address}>", at, commit.raw_message.decode("utf-8", "replace"))
