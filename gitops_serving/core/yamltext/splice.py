"""One operation to one splice: which span of the text goes, and what stands there instead.

Each rule answers for one shape of YAML and refuses the shapes beside it.  The caller proves the result anyway; the
rules exist so that the proof never has to fail.

A mapping that loses its only key becomes ``{}``: nothing would read back as null, which is another value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving.core.errors import Invalid

from .layout import (
    after_colon,
    below,
    follows_a_dash,
    indentation,
    is_block,
    is_empty,
    odd,
    refuse_comments,
    starts_its_line,
)
from .locate import Place, merge, refuse_shared_value
from .nodes import Entry, Mapping, Part, Scalar
from .scalars import write
from .source import break_before, line_start, without_break
from .values import inherited

if TYPE_CHECKING:
    from .nodes import Node

_ANCHOR = re.compile(r"&[^ \t\r\n]+[ \t]+")


@dataclass(frozen=True, slots=True)
class Splice:
    """Put ``new`` in place of ``text[start:end]``."""

    start: int
    end: int
    new: str

    def apply(self, text: str) -> str:
        """Return the text with the span exchanged."""
        return text[: self.start] + self.new + text[self.end :]


def put(text: str, part: Part, place: Place, value: Any) -> Splice:
    """Give a key a new value, or a mapping a new key."""
    if isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values()):
        raise Invalid(f"the value for {place.pointer} is nested", code="not-scalar", remedy="patch one level at a time")
    if place.entry is not None:
        return _rewrite(text, part, place, place.entry, value)
    pair = _pair(place, value)
    if place.mapping.flow:
        return _insert_in_braces(text, place.mapping, pair)
    return _insert_line(text, place.mapping, pair)


def take(text: str, part: Part, place: Place) -> Splice:
    """Remove a key with its value."""
    mapping, entry = place.mapping, place.entry
    if place.name in inherited(mapping):
        raise merge(place.pointer, mapping)
    assert entry is not None
    refuse_shared_value(part, place.pointer, entry)
    is_only = len(mapping.entries) == 1
    if mapping.flow:
        return _on_one_line(text, Splice(*_braces(text, mapping), "") if is_only else _pair_out(text, mapping, entry))
    return _empty_block(text, place, entry) if is_only else _take_lines(text, mapping, entry)


def _rewrite(text: str, part: Part, place: Place, entry: Entry, value: Any) -> Splice:
    node = entry.value
    refuse_shared_value(part, place.pointer, entry)
    if is_empty(node):
        start = after_colon(text, entry.key)
        return Splice(start, start, " " + _written(place, value))
    start = _bare_start(text, place, node)
    style = node.style if isinstance(node, Scalar) and isinstance(value, str) else ""
    return Splice(start, node.end, _written(place, value, style))


def _bare_start(text: str, place: Place, node: Node) -> int:
    """Return where the text of a one-line scalar begins, its anchor passed over."""
    if isinstance(node, Scalar) and not is_block(node) and "\n" not in text[node.start : node.end]:
        found = _ANCHOR.match(text, node.start) if node.is_decorated else None
        start = found.end() if found else node.start
        if start < node.end and text[start] not in "!&":
            return start
    raise Invalid(
        f"the value at {place.pointer} is not a text on one line",
        code="not-scalar",
        line=node.line,
        remedy="edit it by hand, or write it as a bare value on one line",
    )


def _is_json(place: Place) -> bool:
    """Tell whether a mapping in braces is written as JSON, going by its first key or the key that holds it."""
    keys = [entry.key for entry in place.mapping.entries] + ([place.above.key] if place.above else [])
    return place.mapping.flow and bool(keys) and keys[0].style == '"'


def _written(place: Place, value: Any, style: str = "") -> str:
    return write(value, style=style, flow=place.mapping.flow, as_json=_is_json(place))


def _pair(place: Place, value: Any) -> str:
    return f"{write(place.name, flow=True, as_json=_is_json(place))}: {_written(place, value)}"


def _insert_line(text: str, mapping: Mapping, pair: str) -> Splice:
    """Write a new line below the mapping's last value and above the comments and blank lines that follow."""
    line = indentation(text, mapping) + pair
    at = below(text, mapping)
    line_break = break_before(text, at)
    new = line + line_break if text[at - 1] == "\n" else line_break + line
    return Splice(at, at, new)


def _insert_in_braces(text: str, mapping: Mapping, pair: str) -> Splice:
    start, end = _braces(text, mapping)
    if not mapping.entries:
        if text[start:end].strip(" \t"):
            raise odd(text, start, "an empty mapping holds a comment or a line break")
        return Splice(start, end, pair)
    last = mapping.entries[-1]
    if is_empty(last.value):
        raise odd(text, last.key.start, "the last key of a mapping in braces has no value")
    return Splice(last.value.end, last.value.end, f", {pair}")


def _braces(text: str, mapping: Mapping) -> tuple[int, int]:
    """Return the span between the braces; a pair in a list, ``[a: 1]``, has none."""
    if text[mapping.brace] != "{" or text[mapping.end - 1] != "}":
        raise odd(text, mapping.start, "a mapping in a list has no braces")
    return mapping.brace + 1, mapping.end - 1


def _take_lines(text: str, mapping: Mapping, entry: Entry) -> Splice:
    start, end = entry.key.start, below(text, _last(entry))
    refuse_comments(text, entry.value, start, end)
    if starts_its_line(text, start):
        return Splice(line_start(text, start), end, "")
    if entry is not mapping.entries[0] or not follows_a_dash(text, start):
        raise odd(text, start, "a key does not begin its line")
    following = mapping.entries[1].key.start
    if text[end:following].strip():
        raise Invalid(
            "a comment stands below the first key of a list item",
            code="not-scalar",
            line=entry.key.line,
            remedy="remove or move the comment first",
        )
    return Splice(start, following, "")


def _last(entry: Entry) -> Node:
    """Return what ends an entry: a value that nobody wrote may be marked anywhere behind its key."""
    return entry.key if is_empty(entry.value) and entry.value.end < entry.key.end else entry.value


def _pair_out(text: str, mapping: Mapping, entry: Entry) -> Splice:
    """Take a pair and one comma from between the braces."""
    _braces(text, mapping)
    index = mapping.entries.index(entry)
    if index == 0:
        return Splice(entry.key.start, mapping.entries[1].key.start, "")
    before = mapping.entries[index - 1]
    return Splice(max(before.key.end, before.value.end), max(entry.key.end, entry.value.end), "")


def _on_one_line(text: str, splice: Splice) -> Splice:
    """Let a removal in braces pass only on one line, so that it cannot meet a comment."""
    if "\n" in text[splice.start : splice.end]:
        raise Invalid(
            "the key to remove stands next to a line break in braces",
            code="not-scalar",
            remedy="remove it by hand, or put the mapping on one line",
        )
    return splice


def _empty_block(text: str, place: Place, entry: Entry) -> Splice:
    """Write ``{}`` behind the colon that holds the mapping, or in place of the only key if there is none."""
    start, end = entry.key.start, below(text, _last(entry))
    refuse_comments(text, entry.value, start, end)
    if place.above is not None and not place.mapping.is_decorated and starts_its_line(text, start):
        colon = after_colon(text, place.above.key)
        return Splice(colon, end, " {}" + text[colon : line_start(text, start)])
    if not (starts_its_line(text, start) or follows_a_dash(text, start)):
        raise odd(text, start, "a key does not begin its line")
    return Splice(start, without_break(text, end), "{}")
