"""Bytes to text: the guards that come before any parser.

Every character refused here is read in two ways by two YAML readers, or stops
the parser later with a worse message.  Offsets in this package count code points
of the text, without a leading byte order mark, because libyaml's marks do.
Knows nothing of YAML beyond its lines.
"""

from __future__ import annotations

import re

from gitops_serving.core.errors import Invalid

LIMIT_BYTES = 1024 * 1024  # measured: a cap here keeps the slowest legal read well under a second
BOM = b"\xef\xbb\xbf"

# U+0085, U+2028 and U+2029 end a line in YAML 1.1 and not in 1.2: behind one of them a comment can hide a key.
_FOREIGN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)")
_CONFLICT = re.compile(r"^(?:<{7}|>{7}|\|{7}) ", re.MULTILINE)
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)  # libyaml compares each with all others: quadratic
TEMPLATE = re.compile(r"\{\{|\{%")


def decode(source: bytes) -> tuple[str, int]:
    """Return the text without its byte order mark, and the mark's length in bytes."""
    if len(source) > LIMIT_BYTES:
        raise Invalid(
            f"the file has {len(source)} bytes and the limit is {LIMIT_BYTES}", code="limits", remedy="split the file"
        )
    mark = len(BOM) if source.startswith(BOM) else 0
    try:
        text = source[mark:].decode()
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, mark + error.start) + 1
        raise Invalid(
            "the file is not UTF-8 text", code="encoding", line=line, remedy="save it in the encoding UTF-8"
        ) from error
    if found := _FOREIGN.search(text):
        raise Invalid(
            f"the character U+{ord(found[0]):04X} has no place in a YAML file",
            code="encoding",
            line=line_at(text, found.start()),
            remedy="remove it, or write it as an escape in double quotes",
        )
    if found := _CONFLICT.search(text):
        raise Invalid(
            "a merge conflict was left in the file",
            code="syntax",
            line=line_at(text, found.start()),
            remedy="resolve it and remove the markers",
        )
    if found := _TAG_DIRECTIVE.search(text):
        raise Invalid(
            "the directive %TAG is not supported",
            code="syntax",
            line=line_at(text, found.start()),
            remedy="write tags in full, or leave them out",
        )
    return text, mark


def line_at(text: str, offset: int) -> int:
    """Return the 1-based line of an offset."""
    return text.count("\n", 0, offset) + 1


def line_start(text: str, offset: int) -> int:
    """Return where the line of an offset begins."""
    return text.rfind("\n", 0, offset) + 1


def line_end(text: str, offset: int) -> int:
    """Return where the line of an offset ends, its line break included."""
    found = text.find("\n", offset)
    return len(text) if found < 0 else found + 1


def without_break(text: str, end: int) -> int:
    """Step back over the line break, if any, that ends just before an offset."""
    if text.endswith("\r\n", 0, end):
        return end - 2
    return end - 1 if text[end - 1 : end] == "\n" else end


def break_before(text: str, offset: int) -> str:
    """Return the line break in use just above an offset, or a plain one where there is none."""
    last = text.rfind("\n", 0, offset)
    return "\r\n" if last > 0 and text[last - 1] == "\r" else "\n"


def short(text: str) -> str:
    """Return a text of the user's, cut to what fits into a message."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
