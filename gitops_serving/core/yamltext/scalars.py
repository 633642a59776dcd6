"""What a scalar means, and how a new one is written.

Reading follows the decoder of Kubernetes (sigs.k8s.io/yaml on go-yaml v2), since
that is who reads the file in the end: ``yes``, ``no``, ``on``, ``off``, ``y`` and
``n`` are booleans as in YAML 1.1; a leading zero, ``0o``, ``0x`` and ``0b`` make
an integer; underscores are dropped from numbers; ``1:30`` and dates are strings.
A bare key ``y`` is therefore the key "true", as it is in the cluster.
Writing trusts no reader: a string goes out plain only if none of them could take
it for anything else.  Knows nothing of places and marks.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from gitops_serving.core.errors import Invalid

from .source import short

LIMIT_NUMBER = 64
PREFIX = "tag:yaml.org,2002:"

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([1-9][0-9]*|0))")
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NUMERIC = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|[0-9._:]+(?:[eE][-+]?[0-9_]+)?)")

_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}

_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*")
_PLAIN_BLOCK = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def resolve(text: str, *, line: int, plain: bool = True, tag: str | None = None) -> Any:
    """Return the value of a scalar's text; raise Invalid for a tag outside the core and for an endless number."""
    if tag is None:
        return _plain(text, line) if plain else text
    name = tag.removeprefix(PREFIX)
    if name == tag or name not in {"str", *_TYPES}:
        raise Invalid(f"the tag {short(tag)} is unknown", code="syntax", line=line, remedy="leave the tag out")
    if name == "str":
        return text
    value = _plain(text, line)
    if type(value) not in _TYPES[name]:
        raise Invalid(f"the text is no {name}, as its tag claims", code="syntax", line=line, remedy="drop the tag")
    return float(value) if name == "float" else value


def _plain(text: str, line: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if len(text) > LIMIT_NUMBER and _NUMERIC.fullmatch(text):
        raise Invalid(
            f"a number has {len(text)} characters and the limit is {LIMIT_NUMBER}",
            code="limits",
            line=line,
            remedy="put it in quotes if it is meant as a text",
        )
    return _number(text)


def _number(text: str) -> int | float | str:
    if text[0] != ".":
        digits = text.replace("_", "")
        integer = _integer(digits)
        if integer is not None:
            return integer
    else:
        digits = text  # go-yaml keeps the underscores here, so that the text is no number
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return text if math.isinf(number) else number
    return text


def _integer(digits: str) -> int | None:
    """Return the integer if it fits the 64 bits of the decoder; a decimal that does not fit is a float to it."""
    found = _INTEGER.fullmatch(digits)
    if found is None:
        return None
    sign, written = found[1], found.lastindex or len(_BASES)  # the group that matched: 2 is the first base's
    number = int(found[written], _BASES[written - 2])
    number = -number if sign == "-" else number
    highest = 2**63 if sign else 2**64
    return number if -(2**63) <= number < highest else None


def same(left: Any, right: Any) -> bool:
    """Compare two plain values with their types: ``1``, ``1.0`` and ``true`` are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    return bool(left == right)


def write(value: Any, *, style: str = "", flow: bool = False, as_json: bool = False) -> str:
    """Write a scalar, or a small mapping of scalars, on one line.

    ``style`` is the quote that a string keeps; inside ``flow`` fewer texts may stay plain; ``as_json`` keeps JSON JSON.
    """
    if isinstance(value, dict):
        pairs = (
            f"{_string(str(key), '', flow=True, as_json=as_json)}: {_scalar(each, '', flow=True, as_json=as_json)}"
            for key, each in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    return _scalar(value, style, flow=flow, as_json=as_json)


def _scalar(value: Any, style: str, *, flow: bool, as_json: bool) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            mantissa, exponent, power = repr(value).partition("e")
            return mantissa + (".0" if exponent and "." not in mantissa else "") + exponent + power
        case str():
            return _string(value, style, flow=flow, as_json=as_json)
        case _:
            raise Invalid(
                f"a value of type {type(value).__name__} cannot be written in place",
                code="not-scalar",
                remedy="patch with a text, a finite number, a boolean, null, or a flat mapping of these",
            )


def _string(value: str, style: str, *, flow: bool, as_json: bool) -> str:
    pattern = _PLAIN if flow else _PLAIN_BLOCK
    if not (style or as_json) and pattern.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    if style == "'" and not _BREAKS.search(value):
        return "'" + value.replace("'", "''") + "'"
    # json.dumps with ASCII only would write surrogate pairs, which YAML does not join
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
