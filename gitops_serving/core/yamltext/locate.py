"""Find the place that an operation is about, and refuse the places where an edit would reach further than it says.

An anchor that is referred to, an alias and a merge all make one text stand for several
places; so do they on the way to the place.  Decides where, never what is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.core.errors import Invalid

from .documents import item_at, pointer_tokens
from .nodes import Alias, Entry, Mapping, Scalar, Sequence
from .values import inherited

if TYPE_CHECKING:
    from .nodes import Node, Part

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


@dataclass(frozen=True, slots=True)
class Place:
    """A key in a mapping; ``entry`` is None if the mapping lacks it, ``above`` None if no key holds the mapping."""

    pointer: str
    name: str
    mapping: Mapping
    entry: Entry | None
    above: Entry | None


def locate(part: Part, pointer: str) -> Place:
    """Return the place of a pointer whose parent is a mapping; raise Invalid where there is none, or a shared one."""
    if not _POINTER.fullmatch(pointer):
        raise Invalid(f"{pointer!r} does not point at a key", code="path", remedy="write it as /key/key")
    *way, name = pointer_tokens(pointer)
    node, above = part.root, None
    for token in way:
        _refuse_shared(part, node, pointer)
        node, above = _step(node, token, pointer)
    _refuse_shared(part, node, pointer)
    if not isinstance(node, Mapping):
        raise _absent(node, pointer)
    return Place(pointer, name, node, node.find(name), above)


def refuse_shared_value(part: Part, pointer: str, entry: Entry) -> None:
    """Raise Invalid if the value about to go or to change is an alias, or if an alias refers into the entry."""
    node = entry.value
    if isinstance(node, Alias) or any(entry.key.start <= anchor <= node.end for anchor in part.referenced):
        raise _shared(pointer, node)


def _step(node: Node, token: str, pointer: str) -> tuple[Node, Entry | None]:
    if isinstance(node, Mapping):
        if entry := node.find(token):
            return entry.value, entry
        if token in inherited(node):
            raise merge(pointer, node)
    if isinstance(node, Sequence) and (item := item_at(node, token)):
        return item, None
    raise _absent(node, pointer)


def _refuse_shared(part: Part, node: Node, pointer: str) -> None:
    if isinstance(node, Alias) or node.start in part.referenced:
        raise _shared(pointer, node)


def _shared(pointer: str, node: Node) -> Invalid:
    return Invalid(
        f"{pointer} is shared with another place through an anchor",
        code="alias",
        line=node.line,
        remedy="write the value out in both places",
    )


def merge(pointer: str, node: Node) -> Invalid:
    """Return the complaint about a place that another mapping fills through ``<<``."""
    return Invalid(f"{pointer} comes from a merge", code="merge", line=node.line, remedy="write the merged keys out")


def _absent(node: Node, pointer: str) -> Invalid:
    what = "holds no mapping" if isinstance(node, Scalar) else "is not there"
    return Invalid(
        f"the parent of {pointer} {what}", code="path", line=node.line, remedy="add the parent mapping first"
    )
