"""What holds for every file: the oracle is stock PyYAML and jsonpatch, never the product's own tree.

Two kinds of file are drawn: well-formed ones from an emitter below, with comments, quotes, braces, blocks, anchors,
several documents and every line end; and a soup of YAML's tokens, where most are no YAML at all.
The emitter avoids the few texts that PyYAML and Kubernetes read in two ways; the tables of test_yamltext hold those.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
import yaml
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from gitops_serving.core.errors import Invalid
from gitops_serving.core.yamltext import patch, read, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
wide = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYS = ["a", "b2", "model", "x/y", "t~z", '"q k"', "'s'", "é", "\U0001f600", "gitops.dev/rev"]
BARE = ["1", "0", "-7", "1.5", "true", "null", "~", "abc", "s3://m/x", "100m", "é \U0001f600", "a#b", "v w"]
QUOTED = ["'it''s'", '"a \\" # b"', '"1"', "'yes'", '"\\u00e9\\n"', "''"]
COMMENTS = ["", "", "", " # c", "   # é \U0001f600: x", " #"]
BLOCKS = [("|", ["x", "y"]), ("|-", ["x"]), ("|+", ["x", "", ""]), (">", ["x", "y", ""]), (">+", ["x", ""])]
NEW = [
    0,
    5,
    -1,
    2.5,
    True,
    None,
    "abc",
    "yes",
    "12:30",
    "1e3",
    "s3://m/2",
    "a: b #c",
    "it's",
    "é\U0001f600",
    "a\nb",
    "",
]
NEW_MAPS: list[dict[str, Any]] = [{}, {"gitops.dev/rev": "ab.3"}, {"n": "1", "k": 1, "m": None}]


def flow(draw: st.DrawFn, depth: int) -> str:
    """Write a value on one line."""
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind < 4:
        return draw(st.sampled_from([*BARE[:10], *QUOTED]))
    count = draw(st.integers(0, 3))
    if kind == 4:
        return "[" + ", ".join(flow(draw, depth - 1) for _ in range(count)) + "]"
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=count, max_size=count, unique=True))
    pad = draw(st.sampled_from(["", " "]))
    return "{" + pad + ", ".join(f"{key}: {flow(draw, depth - 1)}" for key in keys) + pad + "}"


def noise(draw: st.DrawFn, indent: int) -> list[str]:
    return draw(st.sampled_from([[], [], [], [], [""], [" " * indent + "# note"], ["# left", "", ""]]))


def value(draw: st.DrawFn, indent: int, depth: int, anchors: list[str]) -> list[str]:
    """Write what follows a key's colon: the rest of its line, and the lines below."""
    comment = draw(st.sampled_from(COMMENTS))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return [comment]
    if kind == 1:
        header, lines = draw(st.sampled_from(BLOCKS))
        return [f" {header}{comment}", *(" " * (indent + 2) + line if line else "" for line in lines)]
    if kind == 2 and depth:
        return [comment, *noise(draw, indent + 2), *mapping(draw, indent + 2, depth - 1, anchors)]
    if kind == 3 and depth:
        shift = draw(st.sampled_from([0, 2]))
        return [comment, *sequence(draw, indent + shift, depth - 1, anchors)]
    if kind == 4 and anchors:
        return [f" *{draw(st.sampled_from(anchors))}{comment}"]
    if kind == 5:
        anchors.append(f"n{len(anchors)}")
        name = anchors[-1]
        return [f" &{name} {flow(draw, 1)}{comment}"]
    if kind == 6:
        return [" one", " " * (indent + 1) + f"two{comment}"]
    gap = draw(st.sampled_from([" ", "   "]))
    return [gap + (flow(draw, 2) if kind == 7 else draw(st.sampled_from([*BARE, *QUOTED]))) + comment]


def mapping(draw: st.DrawFn, indent: int, depth: int, anchors: list[str]) -> list[str]:
    lines: list[str] = []
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)):
        first, *rest = value(draw, indent, depth, anchors)
        lines += [" " * indent + key + ":" + first, *rest, *noise(draw, indent)]
    return lines


def sequence(draw: st.DrawFn, indent: int, depth: int, anchors: list[str]) -> list[str]:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            first, *rest = mapping(draw, indent + 2, depth - 1, anchors)
            lines += [" " * indent + "- " + first.lstrip(" "), *rest]
        else:
            lines.append(" " * indent + "- " + flow(draw, 1) + draw(st.sampled_from(COMMENTS)))
    return lines


@st.composite
def files(draw: st.DrawFn, max_documents: int = 3) -> bytes:
    lines: list[str] = [*noise(draw, 0)]
    for number in range(draw(st.integers(1, max_documents))):
        body = draw(st.integers(0, 9))
        if number:
            lines.append(draw(st.sampled_from(["---", "---", "--- # next", "...\n---"])))
        elif body == 0 or draw(st.booleans()):  # comments alone are a document only below a marker
            lines.append("---")
        if body == 0:
            lines.append("# nothing here")
        elif body == 1:
            lines.append(flow(draw, 3))
        else:
            lines += mapping(draw, 0, 3, [])
    text = "\n".join(lines) + draw(st.sampled_from(["\n", "\n", ""]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + text.encode()


SOUP = ["a", "b", ": ", ":", "- ", "\n", "\n", "\n  ", "\n  ", "\n    ", "{", "}", "[", "]", ", ", " ", "# c", "'", '"']
SOUP += [
    "---\n",
    "...\n",
    "\n--- ",
    "? ",
    "&x ",
    "*x",
    "<<: ",
    "|\n",
    "|+\n",
    ">-\n",
    "1",
    "\r\n",
    "\t",
    "é",
    "a: ",
    "b: 1\n",
]
SOUP += ["k: {a: 1}\n", "  c: 'd'\n", "!!str ", "%YAML 1.1\n", "\ufeff", "a: 1\n", "- a: 1\n", "  b: 2\n", "\\"]
LINES = ["a: 1", "b:", "  c: 2", "  - d: 1", "    e: |", "      x", "", "# c", "  # c", "f: {g: 1}", "- a: 1", "  b: 2"]
LINES += [
    "k: 'x",
    "  y'",
    "---",
    "...",
    "? q",
    ": r",
    "h: &x {i: 1}",
    "j: *x",
    "  <<: *x",
    "m: |+",
    "n: >-",
    "   z # t",
]
LINES += [
    "o: [",
    "  1 ]",
    "p: {",
    "  s: 1 # c",
    "}",
    "t: u",
    "    v",
    "'w' : 1",
    "l: &y",
    "  -",
    "  'n':",
    "- - a: 1",
    "- b: 2",
]
soups = st.lists(st.sampled_from(SOUP), max_size=14).map(lambda tokens: "".join(tokens).encode())
stews = st.builds(
    lambda lines, ends, last: ends.join([*lines, last] if last is not None else lines).encode(),
    st.lists(st.sampled_from(LINES), min_size=1, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", None]),
)


def stock(source: bytes) -> list[Any]:
    """Return the documents as PyYAML has them; a file without any counts as one that is empty."""
    return list(yaml.safe_load_all(source)) or [None]


def typed(value: Any) -> Any:
    """Make values comparable with their types: 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return {key: typed(each) for key, each in value.items()}
    return [typed(each) for each in value] if isinstance(value, list) else (type(value), repr(value))


def pointers(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every place in a plain value, parents first."""
    yield prefix, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from pointers(each, f"{prefix}/{str(key).replace('~', '~0').replace('/', '~1')}")


@st.composite
def edits(draw: st.DrawFn, source: bytes) -> tuple[int, dict[str, Any]]:
    """Draw an operation on some mapping of the file, on a key that is there or on a new one."""
    documents = stock(source)
    mappings = [
        (number, pointer, each)
        for number, document in enumerate(documents)
        for pointer, each in pointers(document)
        if isinstance(each, dict)
    ]
    assume(mappings)
    number, pointer, parent = draw(st.sampled_from(mappings))
    keys = [str(key).replace("~", "~0").replace("/", "~1") for key in parent]
    name = draw(st.sampled_from([*keys, "new", "on", "new~1key"]))
    path = f"{pointer}/{name}"
    if name in keys and draw(st.integers(0, 2)) == 0:
        return number, {"op": "remove", "path": path}
    new = draw(st.sampled_from([*NEW, *NEW_MAPS]))
    return number, {"op": "replace" if name in keys else "add", "path": path, "value": new}


def changed_lines(before: bytes, after: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the lines between the common head and the common tail."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return old[head : len(old) - tail], new[head : len(new) - tail]


def line_ends(text: bytes) -> set[bytes]:
    return {line[len(line.rstrip(b"\r\n")) :] for line in text.splitlines(keepends=True)} - {b""}


def attempt(source: bytes, operations: list[dict[str, Any]], number: int = 0) -> bytes | Invalid:
    """Return the patched file, or the complaint."""
    try:
        result = patch(source, operations, number)
    except Invalid as error:
        event(f"refused: {error.code}")
        return error
    event("patched")
    return result


@wide
@given(files())
def test_a_file_means_what_stock_readers_say(source: bytes) -> None:
    assert [typed(each.value) for each in read(source)] == typed(stock(source))


@wide
@given(st.one_of(files(), soups, stews))
def test_a_span_alone_means_the_same_document(source: bytes) -> None:
    try:
        documents = read(source)
    except Invalid:
        event("refused")
        return
    assert documents[0].start == 0
    assert source[documents[-1].end :][:3] in {b"", b"..."}
    for each in documents:
        (alone,) = read(source[each.start : each.end])
        assert typed(alone.value) == typed(each.value)
    for before, after in pairwise(documents):
        *above, marker = source[before.end : after.start].splitlines()
        assert marker.startswith(b"---")
        assert not above or above[0].startswith((b"%", b"..."))


@quick
@given(files())
def test_a_line_shows_the_key_it_is_asked_for(source: bytes) -> None:
    lines = source.decode().split("\n")
    for document in read(source):
        for pointer, _ in pointers(document.value):
            key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
            line = lines[document.line(pointer) - 1].removeprefix("\ufeff")
            assert key.isdecimal() or key in line[document.column(pointer) - 1 :]


@wide
@given(st.data())
def test_a_patch_means_what_jsonpatch_says_and_touches_its_lines_only(data: st.DataObject) -> None:
    source = data.draw(files())
    number, operation = data.draw(edits(source))
    result = attempt(source, [operation], number)
    if isinstance(result, Invalid):
        assert result.code in {"alias", "not-scalar", "verify"}, result
        # the proof steps in only where a block would get the last line's break, or a comment
        assert result.code != "verify" or b"|" in source or b">" in source, result
        return
    event(operation["op"])
    documents = stock(source)
    documents[number] = jsonpatch.apply_patch(documents[number], [operation])
    assert typed(stock(result)) == typed(documents)
    removed, added = changed_lines(source, result)
    at_end = bool(removed) and not removed[-1].endswith(b"\n")
    match operation["op"]:
        case "add":
            in_line = len(removed) == 1 and len(added) == 1
            assert in_line or (len(removed), len(added)) == ((1, 2) if at_end else (0, 1))
        case "replace":
            assert len(removed) == len(added) <= 1
        case _:
            assert len(added) <= 1 or b"{}" in added[0]
            assert len(removed) >= len(added)
    assert line_ends(result) <= (line_ends(source) or {b"\n"})


@settings(wide, max_examples=700)
@given(st.data())
def test_a_soup_is_refused_or_patched_as_jsonpatch_says(data: st.DataObject) -> None:
    source = data.draw(st.one_of(soups, stews))
    try:
        documents = stock(source)
    except (yaml.YAMLError, ValueError, TypeError):
        event("no YAML to the oracle")
        return
    number, operation = data.draw(edits(source))
    result = attempt(source, [operation], number)
    if isinstance(result, Invalid):
        return
    documents[number] = jsonpatch.apply_patch(documents[number], [operation])
    assert typed(stock(result)) == typed(documents)


@quick
@given(st.data())
def test_several_operations_are_one_patch_and_a_second_run_changes_nothing(data: st.DataObject) -> None:
    source = data.draw(files(max_documents=1))
    _, first = data.draw(edits(source))
    _, second = data.draw(edits(source))
    assume(first["path"] != second["path"])
    result = attempt(source, [first, second])
    if isinstance(result, Invalid):
        return
    assert typed(stock(result)) == typed([jsonpatch.apply_patch(stock(source)[0], [first, second])])
    again = [each for each in (first, second) if each["op"] != "remove"]
    if len(again) == 2 and not second["path"].startswith(first["path"]):
        assert patch(result, again) == result


@quick
@given(files(), st.data())
def test_a_document_replaced_by_itself_changes_no_byte(source: bytes, data: st.DataObject) -> None:
    documents = read(source)
    number = data.draw(st.integers(0, len(documents) - 1))
    assert replace(source, number, source[documents[number].start : documents[number].end]) == source


@quick
@given(files(), files(max_documents=1), st.data())
def test_a_replaced_document_leaves_the_bytes_of_the_others(source: bytes, text: bytes, data: st.DataObject) -> None:
    documents = read(source)
    number = data.draw(st.integers(0, len(documents) - 1))
    try:
        result = replace(source, number, text)
    except Invalid as error:
        event(f"refused: {error.code}")
        # a block at the end of a text without its line break, or nothing but comments in front of a marker
        wrong = [error] if error.code != "verify" else []
        assert not wrong
        return
    event("replaced")
    wanted = stock(source)
    (wanted[number],) = stock(text)
    assert typed(stock(result)) == typed(wanted)
    assert result.startswith(source[: documents[number].start])
    assert result.endswith(source[documents[number].end :])


@pytest.mark.parametrize("depth", [1, 5, 20])
def test_the_oracle_itself_tells_types_apart(depth: int) -> None:
    """Guard the guard: a comparison that took 1 for true would prove nothing."""
    left: Any = 1
    right: Any = True
    for _ in range(depth):
        left, right = {"a": [left]}, {"a": [right]}
    assert left == right
    assert typed(left) != typed(right)
