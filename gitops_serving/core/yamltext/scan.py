"""Text to trees, from the parser's events and under limits.

Stock loaders recurse in C and copy nothing, so that deep brackets kill the process
and a few aliases stand for gigabytes.  Events do neither: what is counted here is
counted before anything of that size exists.  Knows how big things may be; what they
mean is for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import yaml

from gitops_serving.core.errors import Invalid

from .nodes import Alias, Entry, Mapping, Part, Scalar, Sequence
from .scalars import PREFIX, resolve
from .source import TEMPLATE, line_at, short

if TYPE_CHECKING:
    from .nodes import Node

LIMIT_DEPTH = 64
LIMIT_NODES = 32_000  # three hundred services of a hundred nodes each; measured: the slowest such file takes 0.3 s
LIMIT_DOCUMENTS = 2_000
LIMIT_ALIASES = 200
LIMIT_EXPANDED = 200_000  # nodes once every alias is written out


class _Mark(NamedTuple):
    """Where an event's text is; the line and the column are those of its start, counted from 1."""

    start: int
    end: int
    line: int
    column: int


_TOP = _Mark(0, 0, 1, 1)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen."""

    event: yaml.CollectionStartEvent
    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class _Progress:
    """What is known of the stream so far; anchors live as long as their document."""

    parts: list[Part] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)  # None: the node is still open
    referenced: set[int] = field(default_factory=set)
    marker: _Mark = _TOP
    root: Node | None = None
    nodes: int = 0
    aliases: int = 0
    expanded: int = 0


def scan(text: str) -> tuple[Part, ...]:
    """Return the documents of a text, none if it has only comments; raise Invalid at the first limit or fault."""
    progress = _Progress()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            _step(progress, event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        reason = getattr(error, "problem", None) or "the text cannot be read"
        fault = Invalid(f"not YAML: {reason}", code="syntax", line=line, remedy="correct the syntax")
        raise _perhaps_template(text, fault) from error
    except Invalid as error:
        raise _perhaps_template(text, error) from error.__cause__
    return tuple(progress.parts)


def _perhaps_template(text: str, fault: Invalid) -> Invalid:
    found = TEMPLATE.search(text) if fault.code == "syntax" else None
    if found is None:
        return fault
    return Invalid(
        "the file is a template, not YAML",
        code="template",
        line=line_at(text, found.start()),
        remedy="commit the rendered manifest instead",
    )


def _step(progress: _Progress, event: yaml.Event) -> None:
    match event:
        case yaml.ScalarEvent():
            _add(progress, _scalar(event), event.anchor)
        case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
            _open(progress, event)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            opened = progress.stack.pop()
            _add(progress, _close(opened, _mark(event).end), opened.event.anchor, is_counted=True)
        case yaml.AliasEvent():
            _add(progress, _alias(progress, event), None)
        case yaml.DocumentStartEvent():
            progress.anchors.clear()
            progress.referenced.clear()
            progress.marker = _mark(event)
            if len(progress.parts) >= LIMIT_DOCUMENTS:
                _too_many(f"more than {LIMIT_DOCUMENTS} documents", progress.marker.line)
        case yaml.DocumentEndEvent():
            progress.parts.append(_part(progress, _mark(event).start if event.explicit else None))
        case _:
            pass  # the stream's own start and end say nothing


def _part(progress: _Progress, closed: int | None) -> Part:
    root, marker = progress.root, progress.marker
    assert root is not None
    if isinstance(root, Scalar) and root.start == root.end:
        # the parser marks an empty document where the next thing is; a person looks for its marker
        root = replace(root, start=marker.end, end=marker.end, line=marker.line, column=marker.column)
    return Part(root, marker.start, marker.end, closed=closed, referenced=frozenset(progress.referenced))


def _count(progress: _Progress, line: int) -> None:
    progress.nodes += 1
    if progress.nodes > LIMIT_NODES:
        _too_many(f"more than {LIMIT_NODES} nodes", line)


def _add(progress: _Progress, node: Node, anchor: str | None, *, is_counted: bool = False) -> None:
    """Hang a finished node into the tree, after the budgets have been asked."""
    if not is_counted:
        _count(progress, node.line)
    if len(progress.stack) + node.height > LIMIT_DEPTH:
        _too_many(f"more than {LIMIT_DEPTH} levels", node.line)
    if progress.expanded + node.size > LIMIT_EXPANDED:
        _too_many(f"more than {LIMIT_EXPANDED} nodes once its aliases are written out", node.line)
    if anchor is not None:
        progress.anchors[anchor] = node
    if progress.stack:
        progress.stack[-1].children.append(node)
    else:
        progress.root = node
        progress.expanded += node.size


def _open(progress: _Progress, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
    line = _mark(event).line
    _count(progress, line)
    if len(progress.stack) >= LIMIT_DEPTH:
        _too_many(f"more than {LIMIT_DEPTH} levels", line)
    wanted = PREFIX + ("map" if isinstance(event, yaml.MappingStartEvent) else "seq")
    if event.tag not in {None, wanted}:
        raise Invalid(f"the tag {short(event.tag)} is unknown", code="syntax", line=line, remedy="leave the tag out")
    if event.anchor is not None:
        progress.anchors[event.anchor] = None
    progress.stack.append(_Open(event))


def _close(opened: _Open, end: int) -> Node:
    event, children = opened.event, opened.children
    size, height = 1, 1
    for child in children:
        size += child.size
        height = max(height, child.height + 1)
    start, after, line, column = _mark(event)
    if not event.flow_style and children:
        end = children[-1].end
    if isinstance(event, yaml.SequenceStartEvent):
        return Sequence(start, end, line, column=column, items=tuple(children), size=size, height=height)
    return Mapping(
        start,
        end,
        line,
        column=column,
        entries=_entries(children),
        brace=max(after - 1, 0) if event.flow_style else -1,
        is_decorated=event.anchor is not None or event.tag is not None,
        size=size,
        height=height,
    )


def _entries(children: list[Node]) -> tuple[Entry, ...]:
    entries: dict[tuple[str, bool], Entry] = {}
    for key, value in zip(children[::2], children[1::2], strict=True):
        if not isinstance(key, Scalar):
            raise Invalid("a key is not a text", code="syntax", line=key.line, remedy="write a text as the key")
        name = _name(key)
        first = entries.setdefault((name, key.is_merge), Entry(name, key, value))
        if first.key is not key:
            raise Invalid(
                f"the key {short(name)} stands twice in one mapping, first in line {first.key.line}",
                code="duplicate-key",
                line=key.line,
                remedy="remove one of them",
            )
    return tuple(entries.values())


def _name(key: Scalar) -> str:
    """Return a key as the decoder of Kubernetes hands it to JSON: ``on`` is the key "true" there."""
    match key.value:
        case str():
            return key.value
        case bool():
            return "true" if key.value else "false"
        case int():
            return str(key.value)
        case _:
            raise Invalid("a key is not a text", code="syntax", line=key.line, remedy="put it in quotes")


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    start, end, tag = event.start_mark, event.end_mark, event.tag
    assert start is not None
    assert end is not None
    plain, line = not event.style, start.line + 1
    return Scalar(
        start.index,
        end.index,
        line,
        column=start.column + 1,
        style=event.style or "",
        value=resolve(event.value, line=line, plain=plain, tag=tag),
        is_merge=plain and tag is None and event.value == "<<",
        is_decorated=event.anchor is not None or tag is not None,
    )


def _alias(progress: _Progress, event: yaml.AliasEvent) -> Alias:
    start, end, line, column = _mark(event)
    progress.aliases += 1
    if progress.aliases > LIMIT_ALIASES:
        _too_many(f"more than {LIMIT_ALIASES} aliases", line)
    name = str(event.anchor)
    target = progress.anchors.get(name)
    if target is None:
        reason = "contains itself" if name in progress.anchors else "has no anchor above it"
        raise Invalid(f"the alias {short(name)} {reason}", code="alias", line=line, remedy="write the value out")
    progress.referenced.add(target.start)
    return Alias(start, end, line, column=column, target=target)


def _mark(event: yaml.Event) -> _Mark:
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    return _Mark(start.index, end.index, start.line + 1, start.column + 1)


def _too_many(what: str, line: int) -> NoReturn:
    raise Invalid(f"the file has {what}", code="limits", line=line, remedy="split or simplify the file")
