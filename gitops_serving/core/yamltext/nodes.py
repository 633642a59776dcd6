"""The light tree: what stands where, in code points.

A ``start`` is where the node's own first character is, its anchor and tag included;
an ``end`` is just behind its last character.  Unlike the parser's own end mark, that of a
block collection is the end of its last leaf, not of the blanks and comments behind it.
An alias is a node of its own: a composed tree would put it where its anchor is.
Nobody changes a node.  They are not frozen nevertheless: a file has tens of thousands, and making a frozen one
takes twice as long.
Knows nothing of pointers, patches and documents' separators.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Scalar:
    """A text, with its value as the decoder of Kubernetes reads it."""

    start: int
    end: int
    line: int
    _: KW_ONLY
    column: int
    style: str  # "" where plain, else one of ' " | >
    value: Any
    is_merge: bool  # the key "<<", plain and without a tag
    is_decorated: bool  # it has an anchor or a tag
    size: ClassVar[int] = 1
    height: ClassVar[int] = 1


@dataclass(slots=True)
class Alias:
    """A reference to an anchor, where it is written."""

    start: int
    end: int
    line: int
    _: KW_ONLY
    column: int
    target: Node

    @property
    def size(self) -> int:
        """How many nodes it stands for."""
        return self.target.size

    @property
    def height(self) -> int:
        """How deep the nodes are that it stands for."""
        return self.target.height


@dataclass(slots=True)
class Sequence:
    """A list of nodes, block or flow."""

    start: int
    end: int
    line: int
    _: KW_ONLY
    column: int
    items: tuple[Node, ...]
    size: int
    height: int


@dataclass(slots=True)
class Entry:
    """A key and its value; ``name`` is the key as JSON would have it."""

    name: str
    key: Scalar
    value: Node


@dataclass(slots=True)
class Mapping:
    """Entries in the order of the text; ``brace`` is the offset of the opening one, -1 in block style."""

    start: int
    end: int
    line: int
    _: KW_ONLY
    column: int
    entries: tuple[Entry, ...]
    brace: int
    is_decorated: bool
    size: int
    height: int

    @property
    def flow(self) -> bool:
        """Whether it is written in braces."""
        return self.brace >= 0

    def find(self, name: str) -> Entry | None:
        """Return the entry of that name written here; merged ones are not."""
        return next((entry for entry in self.entries if entry.name == name and not entry.key.is_merge), None)


Node: TypeAlias = Scalar | Alias | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a stream.

    The marker runs from its first directive, or its ``---``, to just behind the ``---``; both offsets are those of
    the root where there is none.  ``closed`` is the offset of a ``...`` that ends it, None if it has none.
    ``referenced`` holds the starts of the nodes that some alias refers to.
    """

    root: Node
    marker_start: int
    marker_end: int
    _: KW_ONLY
    closed: int | None
    referenced: frozenset[int]


def leaves(node: Node) -> Iterator[Scalar | Alias]:
    """Yield every scalar and alias below a node, keys included, in the order of the text."""
    match node:
        case Mapping():
            for entry in node.entries:
                yield entry.key
                yield from leaves(entry.value)
        case Sequence():
            for item in node.items:
                yield from leaves(item)
        case _:
            yield node


def last_leaf(node: Node) -> Node:
    """Return the node whose end is the end of this one: the last leaf, or the last thing in brackets."""
    while True:
        match node:
            case Mapping(brace=-1, entries=(*_, last)):
                node = last.value
            case Sequence(items=(*_, item)) if item.end == node.end:
                node = item
            case _:
                return node
