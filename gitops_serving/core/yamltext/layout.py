"""Measure the text around a node: where its lines end, what its mapping is indented by, where comments are.

Every measure is exact or raises ``Invalid``: an odd layout is left to its author.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeGuard

from gitops_serving.core.errors import Invalid

from .nodes import Scalar, last_leaf, leaves
from .source import line_at, line_end, line_start

if TYPE_CHECKING:
    from .nodes import Mapping, Node

_TAIL = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n?")
_COLON = re.compile(r"[ \t]*:")
_BLANKS = re.compile(r" *")
_DASHES = re.compile(r" *(?:- +)*")
_HEADER = re.compile(r"[|>][-+0-9]*")
_OWN_LINE_COMMENT = re.compile(r"\n[ \t]*#")


def odd(text: str, offset: int, what: str) -> Invalid:
    """Return the complaint about a layout that is not edited."""
    return Invalid(what, code="syntax", line=line_at(text, offset), remedy="edit this place by hand")


def is_block(node: Node) -> TypeGuard[Scalar]:
    """Tell whether a node is a block scalar."""
    return isinstance(node, Scalar) and node.style in {"|", ">"}


def is_empty(node: Node) -> TypeGuard[Scalar]:
    """Tell whether a node is a value that nobody wrote."""
    return isinstance(node, Scalar) and node.start == node.end


def below(text: str, node: Node) -> int:
    """Return the start of the line below a node's last one, its end-of-line comment passed over.

    The blank lines below a block scalar count as its own only if it keeps them.
    """
    leaf = last_leaf(node)
    end = leaf.end
    if is_block(leaf):
        header = _HEADER.search(text, leaf.start)
        if header is not None and "+" in header[0]:
            return end
        end = leaf.start + len(text[leaf.start : end].rstrip(" \t\r\n"))
    after = line_end(text, end)
    if not _TAIL.fullmatch(text, end, after):
        raise odd(text, end, "something else stands on the last line of a value")
    return after


def after_colon(text: str, key: Scalar) -> int:
    """Return the offset just behind a key's colon; raise Invalid for a ``?`` key."""
    found = _COLON.match(text, key.end)
    if found is None:
        raise odd(text, key.start, "a key has no colon on its line")
    return found.end()


def indentation(text: str, mapping: Mapping) -> str:
    """Return the blanks in front of the keys of a block mapping."""
    key = mapping.entries[0].key
    if not _DASHES.fullmatch(text, line_start(text, key.start), key.start):
        raise odd(text, key.start, "a mapping does not begin with a bare key")
    return " " * (key.column - 1)


def starts_its_line(text: str, offset: int) -> bool:
    """Tell whether only blanks stand in front of an offset in its line."""
    return _BLANKS.fullmatch(text, line_start(text, offset), offset) is not None


def follows_a_dash(text: str, offset: int) -> bool:
    """Tell whether an offset is the first thing in the item of a block sequence."""
    return not starts_its_line(text, offset) and _DASHES.fullmatch(text, line_start(text, offset), offset) is not None


def refuse_comments(text: str, node: Node, start: int, end: int) -> None:
    """Raise Invalid if a comment stands on a line of its own between two offsets around a node."""
    offset = start
    for leaf in (*leaves(node), None):
        stop = leaf.start if leaf is not None else end
        if _OWN_LINE_COMMENT.search(text, offset, stop):
            raise Invalid(
                "a comment stands inside what is to be removed",
                code="not-scalar",
                line=line_at(text, start),
                remedy="remove or move the comment first",
            )
        offset = leaf.end if leaf is not None else end
