"""Read a file as documents: values for the program, spans and lines for people.

The only document of a file is the whole file.  Among several, a document's span is its text without the ``---``
above and below it and without the ``...`` that may close it, so that it can be cut out, kept elsewhere and put back;
the first one keeps what stands at the top of the file.  Refuses to know what a document is about.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from .nodes import Alias, Mapping, Node, Part, Scalar, Sequence
from .scan import scan
from .source import decode, line_end
from .values import value_of

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

_REST = re.compile(r"[ \t]*(?:#.*)?\r?\n?")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")  # as in RFC 6901: no sign, no leading zero
_EMPTY = Scalar(0, 0, 1, column=1, style="", value=None, is_merge=False, is_decorated=False)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, and its bytes ``source[start:end]``.

    ``value`` holds dict, list, str, int, float, bool and None as Kubernetes would decode them, and None for a
    document of comments.
    """

    value: Any
    start: int
    end: int
    _: KW_ONLY
    root: Node = field(repr=False, compare=False)

    def line(self, pointer: str = "") -> int:
        """Return the 1-based line of an RFC 6901 pointer's key or item, or of its nearest parent that is there."""
        return _nearest(self.root, pointer).line

    def column(self, pointer: str = "") -> int:
        """Return the 1-based column that goes with ``line``, in characters."""
        return _nearest(self.root, pointer).column


def read(source: bytes) -> tuple[Document, ...]:
    """Read a YAML stream, at least one document; raise Invalid for whatever is unsafe, ambiguous or not YAML."""
    text, mark = decode(source)
    parts = parse(text)
    found = []
    offset, done = 0, mark
    for part, (start, end) in zip(parts, spans(text, parts), strict=True):
        first = done + _bytes(text, offset, start)
        offset, done = end, first + _bytes(text, start, end)
        found.append(Document(value_of(part.root), first if start else 0, done, root=part.root))
    return tuple(found)


def parse(text: str) -> tuple[Part, ...]:
    """Scan a text; one without any document has one that is empty."""
    return scan(text) or (Part(_EMPTY, 0, 0, closed=None, referenced=frozenset()),)


def spans(text: str, parts: Several[Part]) -> list[tuple[int, int]]:
    """Return the spans of all documents, in code points."""
    if len(parts) == 1:
        return [(0, len(text))]
    starts = [0, *(after_marker(text, part) for part in parts[1:])]
    ends = [*(part.marker_start for part in parts[1:]), len(text)]
    closed = [end if part.closed is None else part.closed for part, end in zip(parts, ends, strict=True)]
    return list(zip(starts, closed, strict=True))


def after_marker(text: str, part: Part) -> int:
    """Return where the text behind a ``---`` begins: on the next line, unless content stands on the same one."""
    end = line_end(text, part.marker_end)
    return end if _REST.fullmatch(text, part.marker_end, end) else part.marker_end


def pointer_tokens(pointer: str) -> list[str]:
    """Split an RFC 6901 pointer."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def item_at(sequence: Sequence, token: str) -> Node | None:
    """Return the item that a pointer's token names."""
    index = int(token) if _INDEX.fullmatch(token) else len(sequence.items)
    return sequence.items[index] if index < len(sequence.items) else None


def _bytes(text: str, start: int, end: int) -> int:
    return end - start if text.isascii() else len(text[start:end].encode())


def _nearest(root: Node, pointer: str) -> Node:
    """Follow a pointer as far as it goes; a key stands for its value, since that is the line a person looks for."""
    shown, node = root, root
    for token in pointer_tokens(pointer):
        node = node.target if isinstance(node, Alias) else node
        match node:
            case Mapping() if entry := node.find(token):
                shown, node = entry.key, entry.value
            case Sequence() if item := item_at(node, token):
                shown = node = item
            case _:
                break
    return shown
