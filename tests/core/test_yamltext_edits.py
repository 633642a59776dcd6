"""Tables for the rules of patching and replacing, byte by byte."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gitops_serving.core.errors import Invalid
from gitops_serving.core.yamltext import patch, read, replace

SERVICE = b"""\
# who: the fraud team
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: scorer   # the name
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: 's3://models/fraud/1'  # uri
    # the end of the predictor

  transformer:
    containers:
      - name: kserve-container
        image: x/y:1
"""
WEIGHT = "/spec/predictor/canaryTrafficPercent"


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def drop(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


def refusal(source: bytes, *operations: dict[str, Any]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        patch(source, list(operations))
    return caught.value


# patching -----------------------------------------------------------------------------------------------------------

EDITS = {
    "replace": (b"a: 1\n", put("/a", 2), b"a: 2\n"),
    "replace keeps single quotes": (b"a: 'x' # c\n", put("/a", "it's"), b"a: 'it''s' # c\n"),
    "replace keeps double quotes": (b'a:   "x"\n', put("/a", "y"), b'a:   "y"\n'),
    "replace drops quotes from no text": (b"a: '1'\n", put("/a", 2), b"a: 2\n"),
    "replace quotes what needs it": (b"a: x\n", put("/a", "yes"), b'a: "yes"\n'),
    "replace keeps a gap": (b"a:   1   # c\n", put("/a", 100), b"a:   100   # c\n"),
    "replace behind an idle anchor": (b"a: &x 1\n", put("/a", 2), b"a: &x 2\n"),
    "replace in a list item": (b"- a: 1\n  b: 2\n", put("/0/b", 3), b"- a: 1\n  b: 3\n"),
    "replace in braces": (b"{a: 1, b: 2}\n", put("/a", "x,y"), b'{a: "x,y", b: 2}\n'),
    "replace in JSON": (b'{"a": 1}\n', put("/a", "x"), b'{"a": "x"}\n'),
    "replace by a mapping": (b"a: 1 # c\n", put("/a", {"b": 1}), b"a: {b: 1} # c\n"),
    "replace by null": (b"a: 1\n", put("/a", None), b"a: null\n"),
    "replace keeps CRLF": (b"a: 1\r\nb: 2\r\n", put("/a", 3), b"a: 3\r\nb: 2\r\n"),
    "replace behind BOM and emoji": (
        "\ufeffx: \U0001f600é\na: 1\n".encode(),
        put("/a", 2),
        "\ufeffx: \U0001f600é\na: 2\n".encode(),
    ),
    "replace below a template's mark in a comment": (b"# {{- x }}\na: 1\n", put("/a", 2), b"# {{- x }}\na: 2\n"),
    "replace beside a template": (b"a: 1\n---\nb: x{{ y }}\n", put("/a", 2), b"a: 2\n---\nb: x{{ y }}\n"),
    "replace a merged value": (
        b"x: &x {a: 1}\nz:\n  <<: *x\n",
        put("/z/a", 2),
        b"x: &x {a: 1}\nz:\n  <<: *x\n  a: 2\n",
    ),
    "fill": (b"a: # c\nb: 1\n", put("/a", 2), b"a: 2 # c\nb: 1\n"),
    "fill at the end": (b"a:", put("/a", 2), b"a: 2"),
    "fill in braces": (b'{"a": , b: 1}', put("/a", 2), b'{"a": 2 , b: 1}'),
    "add": (b"a:\n  b: 1\nc: 2\n", add("/a/d", 3), b"a:\n  b: 1\n  d: 3\nc: 2\n"),
    "add on a key replaces": (b"a: 1\n", add("/a", 2), b"a: 2\n"),
    "add below a comment at the line's end": (b"a: 1 # c\n# d\n\n", add("/b", 2), b"a: 1 # c\nb: 2\n# d\n\n"),
    "add without a last newline": (b"a: 1\r\nb: 2", add("/c", 3), b"a: 1\r\nb: 2\r\nc: 3"),
    "add with CRLF": (b"a: 1\r\n# c\r\n", add("/b", 2), b"a: 1\r\nb: 2\r\n# c\r\n"),
    "add below a block": (b"a: |\n  x\n\n\nc: 1\n", add("/c", 2), b"a: |\n  x\n\n\nc: 2\n"),
    "add behind a clipped block": (b"a: |\n  x\n\n\n", add("/b", 2), b"a: |\n  x\nb: 2\n\n\n"),
    "add behind a kept block": (b"a: |+\n  x\n\n\n", add("/b", 2), b"a: |+\n  x\n\n\nb: 2\n"),
    "add behind a folded kept block": (b"a: >2+\n  x\n\n# c\n", add("/b", 2), b"a: >2+\n  x\n\nb: 2\n# c\n"),
    "add behind an empty value": (b"a:\n# c\n", add("/b", 2), b"a:\nb: 2\n# c\n"),
    "add behind a list": (b"a:\n- 1\n- x: 2\n", add("/b", 2), b"a:\n- 1\n- x: 2\nb: 2\n"),
    "add in a list item": (b"- - a: 1\n- 2\n", add("/0/0/b", 2), b"- - a: 1\n    b: 2\n- 2\n"),
    "add behind lines of text": (b"a: 'x\n\n  y'\n", add("/b", 2), b"a: 'x\n\n  y'\nb: 2\n"),
    "add before the document's end": (b"a: 1\n...\n", add("/b", 2), b"a: 1\nb: 2\n...\n"),
    "add a mapping": (b"a: 1\n", add("/l", {"x.y/z": "a.3", "n": "3"}), b'a: 1\nl: {x.y/z: a.3, "n": "3"}\n'),
    "add an empty mapping": (b"a: 1\n", add("/l", {}), b"a: 1\nl: {}\n"),
    "add in braces": (b"a: {b: 1 } # c\n", add("/a/c", "x:y"), b'a: {b: 1, c: "x:y" } # c\n'),
    "add in JSON": (b'{"b": 1}', add("/c", {"d": "e"}), b'{"b": 1, "c": {"d": "e"}}'),
    "add in empty JSON": (b'{"b": {}}', add("/b/c", "d"), b'{"b": {"c": "d"}}'),
    "add in empty braces": (b"a: { }\n", add("/a/b", 1), b"a: {b: 1}\n"),
    "add in braces on lines": (b"a: {\n  b: 1 # c\n}\n", add("/a/c", 2), b"a: {\n  b: 1, c: 2 # c\n}\n"),
    "remove": (b"# a\na: 1 # c\n# b\nb: 2\n", drop("/a"), b"# a\n# b\nb: 2\n"),
    "remove the last": (b"a: 1\nb: 2", drop("/b"), b"a: 1\n"),
    "remove with CRLF": (b"a: 1\r\nb: 2\r\n", drop("/a"), b"b: 2\r\n"),
    "remove a mapping": (b"a:\n  x: 1\n  y: [\n    2 ]\nb: 2\n", drop("/a"), b"b: 2\n"),
    "remove a block": (b"a: |\n  x\n\nb: 2\n", drop("/a"), b"\nb: 2\n"),
    "remove behind a dash": (b"- a: 1 # c\n  b: 2\n", drop("/0/a"), b"- b: 2\n"),
    "remove inside a list item": (b"- a: 1\n  b: 2\n", drop("/0/b"), b"- a: 1\n"),
    "remove first in braces": (b"{a: 1, b: 2}", drop("/a"), b"{b: 2}"),
    "remove last in braces": (b"{a: 1, b: 2 }", drop("/b"), b"{a: 1 }"),
    "remove the only key": (b"a: # c\n  # d\n  b: 1 # e\nc: 2\n", drop("/a/b"), b"a: {} # c\n  # d\nc: 2\n"),
    "remove the only key in braces": (b"a: { b: 1 }\n", drop("/a/b"), b"a: {}\n"),
    "remove the only key of an item": (b"- a: 1 # c\n- 2\n", drop("/0/a"), b"- {}\n- 2\n"),
    "remove the only key of all": (b"a: 1\n", drop("/a"), b"{}\n"),
    "remove below an idle anchor": (b"a: &x\n  b: 1\n", drop("/a/b"), b"a: &x\n  {}\n"),
}


@pytest.mark.parametrize(("source", "operation", "result"), EDITS.values(), ids=EDITS)
def test_a_patch_writes_exactly_these_bytes(source: bytes, operation: dict[str, Any], result: bytes) -> None:
    assert patch(source, [operation]) == result


def test_a_rollout_changes_its_lines_and_no_other_byte() -> None:
    operations = [
        add(WEIGHT, 5),
        add("/spec/predictor/labels", {"gitops-serving.dev/revision": "ab.3"}),
        put("/spec/predictor/model/storageUri", "s3://models/fraud/2"),
    ]
    result = SERVICE.replace(
        b"    # the end", b"    canaryTrafficPercent: 5\n    labels: {gitops-serving.dev/revision: ab.3}\n    # the end"
    ).replace(b"fraud/1", b"fraud/2")
    assert patch(SERVICE, operations) == result


def test_an_equal_value_changes_no_byte() -> None:
    source = b"a: 0x10\nb: {c: 'x'}\nd: &d [1]\ne: *d\n"
    assert patch(source, [add("/a", 16), put("/b", {"c": "x"}), add("/e", [1]), put("/b/c", "x")]) is source


@pytest.mark.parametrize(("old", "new"), [("1", True), ("1", 1.0), ("true", 1), ("1.0", 1), ("'1'", 1), ("null", "")])
def test_an_equal_value_of_another_type_is_another_value(old: str, new: Any) -> None:
    result = patch(f"a: {old}\n".encode(), [put("/a", new)])
    assert repr(read(result)[0].value["a"]) == repr(new)


def test_all_operations_happen_or_none() -> None:
    assert refusal(SERVICE, add(WEIGHT, 5), drop("/spec/nothing")).code == "path"
    there_and_back = [add(WEIGHT, 5), put(WEIGHT, 25), drop(WEIGHT)]
    assert patch(SERVICE, there_and_back) == SERVICE


def test_only_the_document_asked_for_is_patched() -> None:
    source = b"a: 1\n---\na: 1\n---\na: 1\n"
    assert patch(source, [put("/a", 2)], document=1) == b"a: 1\n---\na: 2\n---\na: 1\n"
    with pytest.raises(Invalid) as caught:
        patch(source, [put("/a", 2)], document=3)
    assert caught.value.code == "path"


@pytest.mark.parametrize(
    "text",
    [
        *("y", "No", "on", "~", "", "null", "1", "0x1f", "0o17", "1_000", "12:30", "1e3", "2024-01-31", ".inf", "="),
        *("<<", " a", "a ", "a: b", "a #b", "a:", "- a", "?", "*a", "&a", "!a", "%a", "@a", "`a", "[a", "{a", "a\nb"),
        *("a\tb", "'", '"', "\\", "\x00\x1b\x7f", "\u0085\u2028\ufeff", "é\U0001f600", "s3://a/b", "3fa9", "{{ x }}"),
    ],
)
@pytest.mark.parametrize("old", [b"a: x\n", b"a: 'x'\n", b'a: "x"\n', b"{a: x}\n", b'{"a": "x"}\n'])
def test_any_text_comes_back_as_it_was_written(old: bytes, text: str) -> None:
    changed = patch(old, [put("/a", text), add("/m", {text: text})])
    assert read(changed)[0].value == {"a": text, "m": {text: text}}
    assert changed.isascii() or text == "é\U0001f600"


REFUSALS = {
    "a value that is an alias": (b"a: &a 1\nb: *a\n", put("/b", 2), "alias"),
    "a value that is referred to": (b"a: &a 1\nb: *a\n", put("/a", 2), "alias"),
    "a way through an alias": (b"a: &a {x: 1}\nb: *a\n", put("/b/x", 2), "alias"),
    "a way through an anchor": (b"a: &a {x: 1}\nb: *a\n", add("/a/y", 2), "alias"),
    "an anchor in what goes": (b"a:\n  x: &a 1\nb: *a\n", drop("/a"), "alias"),
    "a key out of a merge": (b"a: &a {x: 1}\nb:\n  <<: *a\n  y: 1\n", drop("/b/x"), "merge"),
    "a key that hides a merged one": (b"a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n", drop("/b/x"), "merge"),
    "a way through a merge": (b"a: &a {x: {y: 1}}\nb:\n  <<: *a\n", put("/b/x/y", 2), "merge"),
    "a block scalar": (b"a: |\n  x\n", put("/a", "y"), "not-scalar"),
    "a text on two lines": (b"a: x\n  y\n", put("/a", "y"), "not-scalar"),
    "a mapping": (b"a:\n  b: 1\n", put("/a", 1), "not-scalar"),
    "a list": (b"a: [1]\n", put("/a", 1), "not-scalar"),
    "a tag": (b"a: !!str 1\n", put("/a", "2"), "not-scalar"),
    "a list as the value": (b"a: 1\n", add("/b", [1]), "not-scalar"),
    "a nested value": (b"a: 1\n", add("/b", {"c": {}}), "not-scalar"),
    "a number without end": (b"a: 1\n", put("/a", float("inf")), "not-scalar"),
    "a comment inside what goes": (b"a:\n  b: 1\n  # c\n  d: 2\ne: 3\n", drop("/a"), "not-scalar"),
    "a line break in braces": (b"{\n  a: 1,\n  b: 2\n}\n", drop("/b"), "not-scalar"),
    "a comment in empty braces": (b"a: { # c\n  }\n", add("/a/b", 1), "syntax"),
    "a pair in a list": (b"[a: 1]", add("/0/b", 2), "syntax"),
    "a question mark": (b"? a\n", put("/a", 2), "syntax"),
    "a comment below a dash": (b"- a: 1\n  # c\n  b: 2\n", drop("/0/a"), "not-scalar"),
    "a template in bare text": (b"a: 1\nb: x{{ y }}\n", put("/a", 2), "template"),
    "a duplicate key elsewhere": (b"a: 1\n---\nb: 1\nb: 2\n", put("/a", 2), "duplicate-key"),
    "a parent that is missing": (b"a: {}\n", add("/b/c", 1), "path"),
    "a parent that is a text": (b"a: 1\n", add("/a/b", 1), "path"),
    "a parent that is null": (b"a:\n", add("/a/b", 1), "path"),
    "a key that is missing": (b"a: 1\n", put("/b", 1), "path"),
    "a key that is gone": (b"a: 1\n", drop("/b"), "path"),
    "an item of a list": (b"a: [1]\n", put("/a/0", 2), "path"),
    "a list beyond its end": (b"a: [{}]\n", add("/a/1/b", 2), "path"),
    "an index with a zero": (b"a: [{}, {}]\n", add("/a/01/b", 2), "path"),
    "a document of comments": (b"# a\n", add("/a", 1), "path"),
    "the whole document": (b"a: 1\n", put("", {}), "path"),
    "a pointer without a slash": (b"a: 1\n", put("a", 1), "path"),
    "a pointer with a bare tilde": (b"a: 1\n", put("/~a", 1), "path"),
    "a template in a bare key": (b"x{{ y }}: 1\na: 1\n", put("/a", 2), "template"),
    "another operation": (b"a: 1\n", {"op": "move", "from": "/a", "path": "/b"}, "path"),
    "no value": (b"a: 1\n", {"op": "add", "path": "/b"}, "path"),
    "no path": (b"a: 1\n", {"op": "remove"}, "path"),
    "half a character": (b"a: 1\n", put("/a", "\ud800"), "verify"),
    "an integer beyond the decoder": (b"a: 1\n", put("/a", 2**64), "verify"),
    "a block without its last newline": (b"a: |\n  x", add("/b", 1), "verify"),
    "a comment that a block would take in": (b"a: |\n  x\nb: 1\n  # c\nc: 1\n", drop("/b"), "verify"),
}


@pytest.mark.parametrize(("source", "operation", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_doubtful_patch_is_refused_by_its_code(source: bytes, operation: dict[str, Any], code: str) -> None:
    error = refusal(source, operation)
    assert error.code == code
    assert error.remedy


@pytest.mark.parametrize("operation", ["x", None, ["op"], {"op": ["add"], "path": "/a", "value": 1}])
def test_what_is_no_operation_is_refused_and_raises_nothing_else(operation: Any) -> None:
    """An operation that was a text raised AttributeError."""
    assert refusal(b"a: 1\n", operation).code == "path"


def test_a_patch_of_a_service_costs_a_few_milliseconds_of_cpu() -> None:
    """The target is 2 ms; the bound leaves room for a busy machine."""

    def cost() -> float:
        started = time.process_time()
        patch(SERVICE, [add(WEIGHT, 5)])
        return time.process_time() - started

    assert min(cost() for _ in range(20)) < 0.005


# replacing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "document", "text", "result"),
    [
        (b"a: 1\n", 0, b"b: 2", b"b: 2"),
        (b"a: 1\n---\nb: 2\n---\nc: 3\n", 1, b"# new\nx: 9\n", b"a: 1\n---\n# new\nx: 9\n---\nc: 3\n"),
        (b"a: 1\n---\nb: 2\n", 0, b"x: 9", b"x: 9\n---\nb: 2\n"),
        (b"a: 1\r\n---\r\nb: 2\r\n", 0, b"x: 9", b"x: 9\r\n---\r\nb: 2\r\n"),
        (b"a: 1\n---\nb: 2", 1, b"# head\n---\nx: 9\n", b"a: 1\n---\n# head\nx: 9\n"),
        (b"a: 1\n---\nb: 2\n", 0, b"# head\n---\nx: 9\n", b"# head\n---\nx: 9\n---\nb: 2\n"),
        (b"a: 1\n---", 1, b"x: 9\n", b"a: 1\n---\nx: 9\n"),
        (b"a: 1\n--- |\n x\n---\nb: 1\n", 1, b"x: 9\n", b"a: 1\n---\nx: 9\n---\nb: 1\n"),
        (b"\xef\xbb\xbfa: 1\n---\nb: 2\n", 1, b"\xef\xbb\xbfx: 9\n", b"\xef\xbb\xbfa: 1\n---\nx: 9\n"),
        (b"\xef\xbb\xbfa: 1\n---\nb: 2\n", 0, b"x: 9\n", b"x: 9\n---\nb: 2\n"),
        (b"a: 1\n", 0, b"\xef\xbb\xbfa: 1\n", b"\xef\xbb\xbfa: 1\n"),
        (b"a: 1\n---\nb: 2\n", 1, b"", b"a: 1\n---\n"),
    ],
)
def test_a_document_is_put_in_the_place_of_another(source: bytes, document: int, text: bytes, result: bytes) -> None:
    assert replace(source, document, text) == result


@pytest.mark.parametrize(
    ("source", "document", "text", "code"),
    [
        (b"a: 1\n", 1, b"b: 2\n", "path"),
        (b"a: 1\n", 0, b"b: 2\n---\nc: 3\n", "path"),
        (b"a: 1\n", 0, b"b: [\n", "syntax"),
        (b"a: 1\n---\nb: 2\n", 0, b"# only a comment\n", "verify"),
        (b"a: 1\n---\nb: 2\n", 0, b"x: |\n  y", "verify"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(source: bytes, document: int, text: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        replace(source, document, text)
    assert caught.value.code == code
