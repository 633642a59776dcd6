"""Reading a repository by its object database alone.

There is no work tree: a name in a repository never becomes a name on this
machine.  Even so only plain files with harmless names are shown; links,
submodules and names that another tool could stumble over are left out.  The
size of a content is looked up before it is read.

Trees are kept once decoded, by their id, so that the next commit of a fleet of
thousands costs only the folders that changed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pygit2
from pygit2.enums import ObjectType

from gitops_serving.core.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gitops_serving.ports import Tree

FOLDER = 0o040000
REGULAR = (0o100644, 0o100755, 0o100664)  # the last is what very old versions of Git wrote
READABLE_BYTES = 1024 * 1024  # a larger file is no manifest
DEPTH = 32
ENTRIES = 200_000  # twenty times the largest fleet measured; beyond it somebody plays tricks
KEPT_TREES = 50_000
DAMAGED = (KeyError, ValueError, OSError, TypeError, pygit2.GitError)  # what pygit2 raises for an unreadable object


class Entry(NamedTuple):
    """One line of a tree."""

    mode: int
    id: pygit2.Oid


class Objects:
    """The object database of one cache.  ``on_damage`` is told when something that has to be there cannot be read."""

    def __init__(self, repository: pygit2.Repository, on_damage: Callable[[], None]) -> None:
        self.repository = repository
        self._on_damage = on_damage
        self._odb = repository.odb
        self._trees: dict[pygit2.Oid, Mapping[str, Entry]] = {}

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn an object that cannot be read into Unavailable: the next fetch makes the cache anew."""
        try:
            yield
        except DAMAGED as error:
            self._on_damage()
            message = f"cannot read {what} in the local clone ({type(error).__name__}: {error})"
            raise Unavailable(f"{message}; the clone is made anew at the next fetch") from error

    def commit(self, ident: pygit2.Oid) -> pygit2.Commit:
        """Look up a commit that has to be there."""
        with self.reading(f"commit {ident}"):
            return self.repository[ident].peel(pygit2.Commit)

    def entries(self, tree: pygit2.Oid) -> Mapping[str, Entry]:
        """Decode a tree; unsafe and ambiguous names are left out."""
        known = self._trees.get(tree)
        if known is None:
            with self.reading(f"tree {tree}"):
                kind, data = self._odb.read(tree)
                if kind != ObjectType.TREE:
                    raise TypeError("it is no tree")
                known = decoded(data)
            if len(self._trees) >= KEPT_TREES:
                self._trees.clear()
            self._trees[tree] = known
        return known

    def find(self, tree: pygit2.Oid, path: str) -> Entry | None:
        """Find what is at a path, of whatever mode."""
        entry = Entry(FOLDER, tree)
        for name in path.split("/"):
            if entry.mode != FOLDER:
                return None
            below = self.entries(entry.id).get(name)
            if below is None:
                return None
            entry = below
        return entry

    def files(self, tree: pygit2.Oid, folder: str = "") -> Iterator[tuple[str, pygit2.Oid]]:
        """Walk the regular files below a tree, with their paths from the root on."""
        waiting, seen = [(folder, tree)], 0
        while waiting:
            prefix, ident = waiting.pop()
            entries = self.entries(ident)
            seen += len(entries)
            if seen > ENTRIES or prefix.count("/") > DEPTH:
                raise Refused(f"{prefix or 'the repository'} is too deep or too large to read; remove what is not ours")
            for name, entry in entries.items():
                if entry.mode == FOLDER:
                    waiting.append((f"{prefix}{name}/", entry.id))
                elif entry.mode in REGULAR:
                    yield prefix + name, entry.id

    def data(self, blob: pygit2.Oid) -> bytes | None:
        """Read a content of a readable size; None: it is larger."""
        with self.reading(f"blob {blob}"):
            kind, size = self._odb.read_header(blob)
            if kind != ObjectType.BLOB:
                raise TypeError("it is no blob")
            return self._odb.read(blob)[1] if size <= READABLE_BYTES else None

    def content(self, blob: str) -> bytes | None:
        """Read a content by the id that somebody wrote down; None: there is no such blob, or it is too large."""
        try:
            ident = pygit2.Oid(hex=blob)
        except ValueError:
            return None
        if len(blob) != 40 or ident not in self._odb:
            return None
        with self.reading(f"blob {blob}"):
            if self._odb.read_header(ident)[0] != ObjectType.BLOB:
                return None
        return self.data(ident)


class GitTree:
    """The files of one commit, read when they are asked for."""

    __slots__ = ("_listed", "_objects", "_root", "commit")

    def __init__(self, objects: Objects, commit: str, root: pygit2.Oid) -> None:
        self.commit = commit
        self._objects = objects
        self._root = root
        self._listed: dict[str, Sequence[str]] = {}

    def paths(self, under: str = "") -> Sequence[str]:
        """List the regular files below a folder, sorted."""
        folder = under.strip("/")
        listed = self._listed.get(folder)
        if listed is None:
            entry = self._objects.find(self._root, folder) if folder else Entry(FOLDER, self._root)
            if entry is None or entry.mode != FOLDER:
                listed = ()
            else:
                found = self._objects.files(entry.id, f"{folder}/" if folder else "")
                listed = tuple(sorted(path for path, _ in found))
            self._listed[folder] = listed
        return listed

    def read(self, path: str) -> bytes | None:
        """Read a regular file; None: there is none, or it is larger than a manifest may be."""
        entry = self._objects.find(self._root, path)
        return self._objects.data(entry.id) if entry is not None and entry.mode in REGULAR else None

    def blob(self, path: str) -> str | None:
        """The id of a regular file's content."""
        entry = self._objects.find(self._root, path)
        return str(entry.id) if entry is not None and entry.mode in REGULAR else None

    def differing(self, other: GitTree) -> Iterator[str]:
        """Walk the regular files that differ; folders of equal ids are not even looked into."""
        yield from differing(self._objects, self._root, other._root)


def changed_paths(old: Tree, new: Tree) -> Sequence[str]:
    """List the regular files that came, went or changed between two trees, sorted."""
    if isinstance(old, GitTree) and isinstance(new, GitTree):
        return tuple(sorted(new.differing(old)))
    both = {*old.paths(), *new.paths()}
    return tuple(sorted(path for path in both if old.blob(path) != new.blob(path)))


def differing(objects: Objects, one: pygit2.Oid, other: pygit2.Oid, prefix: str = "") -> Iterator[str]:
    """Compare two trees by the ids of what they hold."""
    left, right = objects.entries(one), objects.entries(other)
    for name in left.keys() | right.keys():
        a, b = left.get(name), right.get(name)
        if a == b:
            continue
        if a is not None and b is not None and a.mode == b.mode == FOLDER:
            yield from differing(objects, a.id, b.id, f"{prefix}{name}/")
            continue
        if a is not None and b is not None and a.id == b.id and a.mode in REGULAR and b.mode in REGULAR:
            continue  # made executable: its bytes are the same
        found = {prefix + name} if any(e is not None and e.mode in REGULAR for e in (a, b)) else set()
        for entry in (a, b):
            if entry is not None and entry.mode == FOLDER:
                found.update(path for path, _ in objects.files(entry.id, f"{prefix}{name}/"))
        yield from found


def decoded(data: bytes) -> Mapping[str, Entry]:
    """Decode a tree's own bytes: ``mode name NUL id``, over and over."""
    entries: dict[str, Entry] = {}
    twice: set[str] = set()
    at = 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, _, raw = data[at:end].partition(b" ")
        at = end + 21
        name = safe_name(raw)
        if name is None:
            continue
        if name in entries:
            twice.add(name)
        entries[name] = Entry(int(mode, 8), pygit2.Oid(raw=data[end + 1 : at]))
    for name in twice:
        del entries[name]  # nobody can tell which of them another tool would take
    return entries


def safe_name(raw: bytes) -> str | None:
    """Decode one part of a path; None: it is not text, or it means something else somewhere."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if name in {"", ".", ".."} or name.lower() == ".git" or "/" in name or "\\" in name:
        return None
    return name if name.isprintable() else None


def safe_path(path: str) -> bool:
    """Tell whether every part of a path is a harmless name."""
    return all(safe_name(name.encode("utf-8", "surrogatepass")) is not None for name in path.split("/"))
