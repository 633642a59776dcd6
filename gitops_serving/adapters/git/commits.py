"""Writing a commit without a work tree or an index: the trees along the path, and nothing else.

A commit is a function of its parent, its files, its message, its author and its
time; so equal decisions make equal ids, and pushing one twice is harmless.
Nothing is visible to anybody until the branch is moved, which is not done here.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

import pygit2

from gitops_serving.core.errors import Refused

from .objects import FOLDER, REGULAR, Entry, safe_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.core.model import Change

    from .objects import Objects

AUTHOR = re.compile(r"(?P<name>[^<>\n\0]*[^<>\s\0]) <(?P<address>[^<>\s\0]+)>\Z")
NEW_FILE = 0o100644


def committed(objects: Objects, parent: pygit2.Oid, change: Change) -> pygit2.Oid:
    """Write one change on top of a commit; raises Refused for what cannot be a commit."""
    for path in change.files:
        if not safe_path(path):
            raise Refused(f"cannot write {path!r}: the path is not safe in a repository; rename the service or file")
    author = signed(change)
    root = objects.commit(parent).tree_id
    with objects.reading(f"what commit {parent} holds"):
        tree = planted(objects, root, {tuple(path.split("/")): data for path, data in change.files.items()})
        return objects.repository.create_commit(None, author, author, change.message, tree, [parent])


def signed(change: Change) -> pygit2.Signature:
    """Make the author of a change, who is its committer too."""
    match = AUTHOR.match(change.author)
    why = "the author is not 'Name <address>', or the message holds a NUL or is no text"
    if match is not None and "\0" not in change.message and encodable(change.message + change.author):
        seconds = int(change.at.astimezone(UTC).timestamp())
        try:
            return pygit2.Signature(match["name"], match["address"], seconds, 0, "utf-8")
        except (ValueError, pygit2.GitError) as error:
            why = str(error)
    raise Refused(f"cannot commit the change of {change.service} as {change.author!r}: {why}; correct it")


def encodable(text: str) -> bool:
    """Tell whether a text has an encoding at all."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def planted(objects: Objects, tree: pygit2.Oid | None, files: Mapping[tuple[str, ...], bytes]) -> pygit2.Oid:
    """Write a tree that differs from another in some files; everything else keeps its bytes and its mode."""
    repository = objects.repository
    builder = repository.TreeBuilder(tree) if tree is not None else repository.TreeBuilder()
    present = objects.entries(tree) if tree is not None else {}
    below: dict[str, dict[tuple[str, ...], bytes]] = {}
    for (name, *rest), data in files.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = data
        else:
            mode = kept_mode(name, present.get(name), REGULAR, NEW_FILE)
            builder.insert(name, repository.create_blob(data), mode)
    for name, inner in below.items():
        entry = present.get(name)
        mode = kept_mode(name, entry, (FOLDER,), FOLDER)
        builder.insert(name, planted(objects, None if entry is None else entry.id, inner), mode)
    return builder.write()


def kept_mode(name: str, entry: Entry | None, fitting: tuple[int, ...], otherwise: int) -> int:
    """Keep the mode of what is there; refuse to replace a link, a submodule, or a folder by a file."""
    if entry is None:
        return otherwise
    if entry.mode not in fitting:
        raise Refused(f"cannot write {name!r}: the repository holds a link or something of another kind; remove it")
    return entry.mode
