"""Tables for the rules of reading; editing is in test_yamltext_edits, invariants are in test_yamltext_properties."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from gitops_serving.core.errors import Invalid
from gitops_serving.core.yamltext import read

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


def refusal(source: bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(source)
    return caught.value


# reading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Yes", True),
        ("on", True),
        ("ON", True),
        ("y", True),
        ("true", True),
        ("no", False),
        ("off", False),
        ("N", False),
        ("yEs", "yEs"),
        ("~", None),
        ("null", None),
        ("", None),
        ("NULL", None),
        ("0", 0),
        ("12", 12),
        ("+12", 12),
        ("-12", -12),
        ("012", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0b101", -5),
        ("1_000", 1000),
        ("089", 89.0),
        ("1.0", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".5_0", ".5_0"),
        ("1e3", 1000.0),
        ("1.5E+2", 150.0),
        ("1e999", "1e999"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("0x1FFFFFFFFFFFFFFFF", "0x1FFFFFFFFFFFFFFFF"),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("=", "="),
        ("100m", "100m"),
        ("'yes'", "yes"),
        ('"12"', "12"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 1", 1.0),
        ("|\n  yes", "yes"),
    ],
)
def test_a_scalar_is_read_as_kubernetes_reads_it(text: str, value: Any) -> None:
    (document,) = read(f"a: {text}".encode())
    assert repr(document.value["a"]) == repr(value)


@pytest.mark.parametrize(
    ("text", "name"), [("on", "true"), ("n", "false"), ("1", "1"), ("0x10", "16"), ("'on'", "on"), ("<", "<")]
)
def test_a_key_is_a_text_as_in_json(text: str, name: str) -> None:
    assert read(f"{text}: x".encode())[0].value == {name: "x"}


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        (b"a: 1\nb: 2\na: 3\n", "duplicate-key", 3),
        (b'a: 1\n"a": 2\n', "duplicate-key", 2),
        (b"1: x\n'1': y\n", "duplicate-key", 2),
        (b"{a: 1, a: 2}", "duplicate-key", 1),
        (b"x: 1\n---\na: 1\na: 1\n", "duplicate-key", 4),
        (b"<<: {a: 1}\n<<: {b: 1}\n", "duplicate-key", 2),
        (b"a: \xff\n", "encoding", 1),
        (b"a: 1\nb: x\0y\n", "encoding", 2),
        ("a: 1\n".encode("utf-16"), "encoding", 1),
        ("a: 1\n".encode("utf-16-le"), "encoding", 1),
        ("a: 1 #\u0085b: 2\n".encode(), "encoding", 1),
        ("a: 1 #\u2028b: 2\n".encode(), "encoding", 1),
        ("a: 1 #\u2029b: 2\n".encode(), "encoding", 1),
        (b"a: 1\rb: 2\r\n", "encoding", 1),
        (b"a: 1\n\xef\xbb\xbfb: 2\n", "encoding", 2),
        (b"\xef\xbb\xbf\xef\xbb\xbfa: 1\n", "encoding", 1),
        (b"a: \x1b[0m\n", "encoding", 1),
        (b"a: !!python/object:os.system x\n", "syntax", 1),
        (b"a: !local x\n", "syntax", 1),
        (b"a: !!binary aGk=\n", "syntax", 1),
        (b"a: !!set {x}\n", "syntax", 1),
        (b"a: !!int x\n", "syntax", 1),
        (b"%TAG !e! tag:e,\n---\na: 1\n", "syntax", 1),
        (b"a: [1\n", "syntax", 2),
        (b"a: 1\n b: 2\n", "syntax", 2),
        (b"? [a]\n: b\n", "syntax", 1),
        (b"~: b\n", "syntax", 1),
        (b"<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> b\n", "syntax", 1),
        (b"a: 1\nb: {{ .Values.b }}\n", "template", 2),
        (b"a: 1\n{%- if b %}\nb: 1\n", "template", 2),
        (b"a: *b\n", "alias", 1),
        (b"a: &a [*a]\n", "alias", 1),
        (b"a: &a {b: *a}\n", "alias", 1),
        (b"a: &x 1\n---\nb: *x\n", "alias", 3),
        (b"a: 1\n<<: {a: 2}\n", "merge", 2),
        (b"<<: 1\n", "merge", 1),
        (b"a: " + b"9" * 65 + b"\n", "limits", 1),
        (b"a: 0x" + b"f" * 5000 + b"\n", "limits", 1),
        (b"a: 1" + b":59" * 5000 + b"\n", "limits", 1),
        (b"a: " + b"x" * 1024 * 1024, "limits", None),
        (b"k: &k x\na: [" + b"*k," * 201 + b"]", "limits", 2),
        (b"[" * 65 + b"]" * 65, "limits", 1),
        (b"- x\n" * 32_000, "limits", 32_000),
        (b"--- x\n" * 2_001, "limits", 2_001),
    ],
)
def test_what_readers_disagree_about_is_refused(source: bytes, code: str, line: int | None) -> None:
    error = refusal(source)
    assert (error.code, error.line) == (code, line)
    assert error.remedy


@pytest.mark.parametrize(
    "source",
    [
        b"[" * 64 + b"]" * 64,
        b"- x\n" * 31_999,
        b"--- x\n" * 2_000,
        b"k: &k x\na: [" + b"*k," * 200 + b"]",
        b"a: " + b"9" * 64,
        b"a: '" + b"9" * 5000 + b"'",
        b"a: 3" + b"f" * 127,
        b"\xef\xbb\xbfa: 1\r\nb: \xf0\x9f\x98\x80\r\n",
        b"a: '{{ not ours }}'\n",
    ],
)
def test_what_lies_within_the_limits_is_read(source: bytes) -> None:
    assert read(source)[0].value


def test_a_whole_fleet_in_one_file_is_read() -> None:
    """A limit that keeps hostile files from taking a second must not keep honest ones out."""
    env = "".join(f"      - {{name: VARIABLE_{number}, value: x}}\n" for number in range(14))
    service = f"kind: InferenceService\nspec:\n  predictor:\n    model:\n      env:\n{env}"
    documents = read("---\n".join([service] * 312).encode())
    assert len(documents) == 312
    assert documents[0].root.size > 80


def test_a_merge_that_all_readers_agree_on_is_applied() -> None:
    source = b"x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\n"
    assert read(source)[0].value["z"] == {"a": 9, "b": 2, "c": 4}


def test_the_values_of_two_aliases_are_two_values() -> None:
    value = read(b"a: &a {x: []}\nb: *a\n")[0].value
    value["a"]["x"].append(1)
    assert value["b"] == {"x": []}


def test_a_long_name_is_cut_in_the_message() -> None:
    assert len(str(refusal(b"a: *" + b"b" * 10_000))) < 200


BOMBS = {
    "brackets": "b'[' * 100_000",
    "braces": "b'{' * 100_000",
    "dashes": "b'- ' * 100_000",
    "question marks": "b'? ' * 100_000",
    "balanced": "b'a: ' + b'[' * 30_000 + b']' * 30_000",
    "aliases": "b'a0: &a0 x\\n' + b''.join(b'a%d: &a%d [%s]\\n' % (i, i, b','.join([b'*a%d' % (i - 1)] * 9)) "
    "for i in range(1, 10))",
    "merges": "b'a0: &a0 {k: 1, l: 2}\\n' + b''.join(b'a%d: &a%d\\n  <<: [*a%d, *a%d]\\n' % (i, i, i - 1, i - 1) "
    "for i in range(1, 40))",
    "a chain of depths": "b'- &a0 [[[[[[x]]]]]]\\n' + b''.join(b'- &a%d [[[[[*a%d]]]]]\\n' % (i, i - 1) "
    "for i in range(1, 150))",
    "tag directives": "b''.join(b'%%TAG !a%d! tag:x\\n' % i for i in range(40_000)) + b'---\\n'",
    "digits": "b'a: ' + b'9' * 500_000",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_once_and_the_process_lives(bomb: str) -> None:
    """A stock loader dies with a segmentation fault on the first of these, hence the process of its own."""
    program = f"""
import time
from gitops_serving.core.errors import Invalid
from gitops_serving.core.yamltext import read
source = {bomb}
started = time.process_time()
try:
    read(source)
except Invalid as error:
    print(error.code, time.process_time() - started)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, seconds = done.stdout.split()
    assert code in {"limits", "syntax"}
    assert float(seconds) < 0.1


# documents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "texts", "values"),
    [
        (b"", [b""], [None]),
        (b"# only\n", [b"# only\n"], [None]),
        (b"# head\n---\na: 1\n...\n", [b"# head\n---\na: 1\n...\n"], [{"a": 1}]),
        (b"a: 1\n---\nb: 2\n", [b"a: 1\n", b"b: 2\n"], [{"a": 1}, {"b": 2}]),
        (b"a: 1\n--- # b\n# c\n---\nb: 2", [b"a: 1\n", b"# c\n", b"b: 2"], [{"a": 1}, None, {"b": 2}]),
        (b"a: 1\n---", [b"a: 1\n", b""], [{"a": 1}, None]),
        (b"---\n---\n", [b"---\n", b""], [None, None]),
        (b"a: |+\n  x\n\n---\n--- |\n y\n", [b"a: |+\n  x\n\n", b"", b" |\n y\n"], [{"a": "x\n\n"}, None, "y\n"]),
        (b"a: 1\r\n---\r\nb: 2\r\n", [b"a: 1\r\n", b"b: 2\r\n"], [{"a": 1}, {"b": 2}]),
        (b"a: 1\n...\n%YAML 1.1\n---\nb: 2\n", [b"a: 1\n", b"b: 2\n"], [{"a": 1}, {"b": 2}]),
        (b"---\n---\n# c\n...\n# d\n", [b"---\n", b"# c\n"], [None, None]),
        (
            "\ufeffa: \U0001f600\n---\nb: é\n---\n- c\n".encode(),
            ["\ufeffa: \U0001f600\n".encode(), "b: é\n".encode(), b"- c\n"],
            [{"a": "\U0001f600"}, {"b": "é"}, ["c"]],
        ),
    ],
)
def test_a_span_is_the_text_between_the_separators(source: bytes, texts: list[bytes], values: list[Any]) -> None:
    documents = read(source)
    assert [source[each.start : each.end] for each in documents] == texts
    assert [each.value for each in documents] == values


@pytest.mark.parametrize(
    ("pointer", "line", "column"),
    [
        ("", 2, 1),
        ("/kind", 3, 1),
        ("/metadata/name", 5, 3),
        ("/spec", 6, 1),
        ("/spec/predictor/model/modelFormat/name", 10, 21),
        ("/spec/predictor/model/storageUri", 11, 7),
        ("/spec/predictor/canaryTrafficPercent", 7, 3),
        ("/spec/transformer/containers/0", 16, 9),
        ("/spec/transformer/containers/0/image", 17, 9),
        ("/spec/transformer/containers/1", 15, 5),
        ("/spec/transformer/containers/x", 15, 5),
        ("/nothing/at/all", 2, 1),
    ],
)
def test_a_pointer_leads_to_its_line_or_to_that_of_its_parent(pointer: str, line: int, column: int) -> None:
    (document,) = read(SERVICE)
    assert (document.line(pointer), document.column(pointer)) == (line, column)


def test_lines_count_from_the_top_of_the_file_in_every_document() -> None:
    documents = read(b"# 1\na: 2\n---\n# 4\n\nb~/c: {d: 6}\n---\n# 8")
    assert [each.line() for each in documents] == [2, 6, 7]
    assert documents[1].line("/b~0~1c/d") == 6


def test_a_pointer_goes_through_an_alias_to_the_text_it_stands_for() -> None:
    (document,) = read(b"a: &a\n  b: 1\nc: *a\n")
    assert (document.line("/c"), document.line("/c/b")) == (3, 2)
