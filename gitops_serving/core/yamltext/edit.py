"""Change a file and prove it: ``patch`` a few keys, ``replace`` one document.

The new text is read back in full, and the typed values of all documents are compared with what RFC 6902 says they
are, worked out by ``jsonpatch`` and not by the rules that made the text.  One difference, and nothing was changed.
Knows neither the file's name nor why somebody wants the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonpatch

from gitops_serving.core.errors import Invalid

from .documents import after_marker, parse, spans
from .locate import locate
from .nodes import Scalar, leaves
from .scalars import same
from .source import TEMPLATE, break_before, decode, line_at, short
from .splice import put, take
from .values import inherited, value_of

if TYPE_CHECKING:
    from .nodes import Part


def patch(source: bytes, operations: list[dict[str, Any]], document: int = 0) -> bytes:
    """Apply RFC 6902 ``add``, ``replace`` and ``remove`` of keys by changing only the bytes that must change.

    Values are scalars, or flat mappings of scalars.  All operations happen or none does; one that changes no value
    changes no byte.  Raises Invalid, and never returns a text whose meaning is not the patch's.
    """
    text, mark = decode(source)
    parts = parse(text)
    _pick(parts, document)
    _refuse_template(text, parts[document])
    expected = [value_of(part.root) for part in parts]
    changed, changed_parts = text, parts
    for operation in operations:
        _check(operation)
        changed, changed_parts = _apply(changed, changed_parts, operation, document)
    if changed is text:
        return source
    expected[document] = _patched(expected[document], operations)
    _prove(expected, changed_parts)
    return source[:mark] + changed.encode()


def replace(source: bytes, document: int, text: bytes) -> bytes:
    """Put another document's text in the place of one, leaving the bytes of all others as they are.

    A marker ``---`` on top of the new text is dropped where the file has one in that place already.
    """
    old, mark = decode(source)
    parts = parse(old)
    start, end = spans(old, parts)[_pick(parts, document)]
    new, new_mark = decode(text)
    if new == old[start:end] and (document > 0 or mark == new_mark):
        return source
    new_parts = parse(new)
    if len(new_parts) != 1:
        raise Invalid(
            f"the new text holds {len(new_parts)} documents", code="path", remedy="hand in one document at a time"
        )
    body = _fitted(old, start, end, new, new_parts[0])
    expected = [value_of(part.root) for part in parts]
    expected[document] = value_of(new_parts[0].root)
    changed = old[:start] + body + old[end:]
    _prove(expected, _read_back(changed))
    head = source[:mark] if document > 0 else text[:new_mark]
    return head + changed.encode()


def _pick(parts: tuple[Part, ...], document: int) -> int:
    if 0 <= document < len(parts):
        return document
    raise Invalid(f"there is no document {document}, the file has {len(parts)}", code="path", remedy="count from 0")


def _check(operation: object) -> None:
    match operation:
        case {"op": "add" | "replace", "path": str(), "value": _} | {"op": "remove", "path": str()}:
            return
    raise Invalid(
        f"the operation {short(str(operation))} is unknown or incomplete",
        code="path",
        remedy="use add, replace or remove with a path, and with a value where one is due",
    )


def _refuse_template(text: str, part: Part) -> None:
    """Raise Invalid for template marks in bare text; in quotes and blocks they are data, in comments only words."""
    for leaf in leaves(part.root):
        found = TEMPLATE.search(text, leaf.start, leaf.end) if isinstance(leaf, Scalar) and not leaf.style else None
        if found:
            raise Invalid(
                "the file is a template, not YAML",
                code="template",
                line=line_at(text, found.start()),
                remedy="commit the rendered manifest instead",
            )


def _apply(
    text: str, parts: tuple[Part, ...], operation: dict[str, Any], document: int
) -> tuple[str, tuple[Part, ...]]:
    part, name, pointer = parts[document], operation["op"], operation["path"]
    place = locate(part, pointer)
    if place.entry is None and name != "add" and place.name not in inherited(place.mapping):
        raise Invalid(
            f"there is nothing to {name} at {pointer}", code="path", line=place.mapping.line, remedy="check the path"
        )
    if name == "remove":
        splice = take(text, part, place)
    else:
        there = value_of(place.mapping)
        if place.name in there and same(there[place.name], operation["value"]):
            return text, parts
        splice = put(text, part, place, operation["value"])
    changed = splice.apply(text)
    return changed, _read_back(changed)


def _read_back(text: str) -> tuple[Part, ...]:
    try:
        return parse(decode(text.encode())[0])
    except (Invalid, UnicodeEncodeError) as error:
        raise Invalid(
            "the changed text can no longer be read", code="verify", remedy="make the change by hand"
        ) from error


def _patched(value: Any, operations: list[dict[str, Any]]) -> Any:
    try:
        return jsonpatch.apply_patch(value, operations, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise Invalid("the patch does not fit the document", code="path", remedy="check its paths") from error


def _prove(expected: list[Any], parts: tuple[Part, ...]) -> None:
    found = [value_of(part.root) for part in parts]
    if not same(found, expected):
        raise Invalid(
            "the changed text would mean something else than the change", code="verify", remedy="change it by hand"
        )


def _fitted(old: str, start: int, end: int, new: str, part: Part) -> str:
    """Make a text fit between two markers: no second marker above it, a line of its own, a line break below it."""
    if start > 0:
        if part.marker_end > part.marker_start:
            new = new[: part.marker_start] + new[after_marker(new, part) :]
        if old[start - 1] != "\n":
            new = break_before(old, start) + new
    if end < len(old) and new and not new.endswith("\n"):
        new += break_before(old, end)
    return new
