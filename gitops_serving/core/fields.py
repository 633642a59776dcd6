"""Typed fields of the files that people write, and complaints about them.

A person who fixes one mistake only to be told of the next loses patience, so nothing
in here stops at the first: a reader that meets a wrong value files a complaint, with
its line and a remedy, and returns something usable, and ``finish`` refuses the file as
a whole.  Values that are returned beside a complaint therefore never reach anybody.

It knows the shapes that fields have and refuses to know any file's fields by name,
except the four that every file opens with.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

from . import yamltext
from .errors import Invalid, joined

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # what Kubernetes calls a DNS label
WRITE_NAME = "use at most 63 lower-case letters, digits and inner dashes"
API_VERSION = "gitops-serving.dev/v1alpha1"
MOST_COMPLAINTS = 50  # a guess: more than anybody reads at once, and a bound on what a hostile file can cost
LONGEST_ECHO = 40  # characters of a user's value that a message repeats
LONGEST = timedelta(days=30)  # a guess: whoever waits longer has forgotten what for
WRITE_DURATION = "write it like 90s, 5m, 2h or 1h30m"
WRITE_SHARE = "write it like 1% or 0.01"
WRITE_SECONDS = "write it like 250ms or 0.25"

_SPAN = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?", re.ASCII)
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)%", re.ASCII)

Known = TypeVar("Known", bound=str)


@dataclass(frozen=True, slots=True)
class Page:
    """One file while it is being read; the complaints are the only thing that grows."""

    path: str
    document: yamltext.Document
    complaints: list[Invalid]


@dataclass(frozen=True, slots=True)
class Field:
    """A value and its place: ``name`` for people (``spec.steps[1].dwell``), ``pointer`` for the document."""

    value: Any
    page: Page
    name: str = ""  # empty: the whole document
    _: KW_ONLY
    pointer: str = ""


def opening(source: bytes, path: str, kind: str) -> Field:
    """Read a file of one document of this kind; raise Invalid at once where it is no such thing."""
    try:
        documents = [each for each in yamltext.read(source) if each.value is not None]
    except Invalid as wrong:
        raise wrong.within(path) from wrong
    if not documents:
        raise Invalid("the file is empty", code="empty", path=path, line=1, remedy=f"write one {kind} in it")
    root = Field(documents[0].value, Page(path, documents[0], []))
    if len(documents) > 1:
        line = documents[1].line("")
        raise Invalid("a second document", code="duplicate", path=path, line=line, remedy=f"write one {kind} a file")
    if not isinstance(root.value, Mapping):
        complain(root, f"the document is {shown(root.value)}, not a mapping", f"write one {kind} in it", "type")
    else:
        _exactly(root, "apiVersion", API_VERSION)
        _exactly(root, "kind", kind)
    finish(root)
    return root


def _exactly(root: Field, key: str, wanted: str) -> None:
    """Check one of the two fields that say what a file is."""
    found = needed(root, key, f"write {key}: {wanted}")
    if found is not None and found.value != wanted:
        complain(found, f"{key} is {shown(found.value)}, not {wanted}", f"write {key}: {wanted}", "kind")


def finish(field: Field) -> None:
    """Raise all complaints about the file together, in the order of its lines, if there are any."""
    if field.page.complaints:
        _refuse(field.page)


def _refuse(page: Page) -> NoReturn:
    raise joined(sorted(page.complaints, key=lambda complaint: complaint.line or 0)).within(page.path)


def complain(field: Field, message: str, remedy: str, code: str) -> None:
    """File a complaint at the line of a field."""
    page = field.page
    page.complaints.append(Invalid(message, code=code, line=page.document.line(field.pointer), remedy=remedy))
    if len(page.complaints) >= MOST_COMPLAINTS:
        _refuse(page)


def shown(value: object) -> str:
    """Repeat a user's value in a message: briefly, on one line, and never what may hold a password."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**LONGEST_ECHO:
        return "a huge number"
    if isinstance(value, str) and ("://" in value or "@" in value):
        return "an address"
    words = repr(value)
    return words if len(words) <= LONGEST_ECHO else words[: LONGEST_ECHO - 3] + "..."


def opened(field: Field | None, known: Sequence[str], later: Sequence[str] = ()) -> Field | None:
    """Check that a field is a mapping of known keys; ``later`` are keys of the format that are not read yet."""
    if field is None:
        return None
    if not isinstance(field.value, Mapping):
        complain(
            field, f"{field.name} is {shown(field.value)}, not a mapping", f"known in it: {', '.join(known)}", "type"
        )
        return None
    for key in field.value:
        if key not in known:
            _unknown(child(field, key), key, known, later)
    return field


def _unknown(field: Field, key: str, known: Sequence[str], later: Sequence[str]) -> None:
    """Complain about a key, with the nearest known one where there is one."""
    near = difflib.get_close_matches(key[:LONGEST_ECHO], known, n=1)
    if key in later:
        remedy = "remove it, this version does not read it yet"
    elif near:
        remedy = f"write {near[0]}, or remove it"
    else:
        remedy = f"remove it; known here: {', '.join(known)}"
    complain(field, f"unknown field {field.name}", remedy, "unknown-field")


def child(parent: Field, key: str) -> Field:
    """Find a field that is known to be there."""
    said = key if shown(key) == f"'{key}'" else shown(key)  # as it is, unless it needs care
    pointer = f"{parent.pointer}/{key.replace('~', '~0').replace('/', '~1')}"
    return Field(parent.value[key], parent.page, f"{parent.name}.{said}" if parent.name else said, pointer=pointer)


def optional(parent: Field | None, key: str) -> Field | None:
    """Find a field that may be absent; a key without a value is a mistake and not an absence."""
    if parent is None or key not in parent.value:
        return None
    found = child(parent, key)
    if found.value is None:
        complain(found, f"{found.name} has no value", "give it one, or remove the line", "empty")
        return None
    return found


def needed(parent: Field | None, key: str, remedy: str) -> Field | None:
    """Find a field that must be there; no complaint where its parent is already wrong."""
    if parent is not None and key not in parent.value:
        name = f"{parent.name}.{key}" if parent.name else key
        complain(parent, f"{name} is missing", remedy, "missing")
    return optional(parent, key)


def items(field: Field | None, remedy: str) -> list[Field]:
    """Take a list apart that must hold something."""
    if field is None:
        return []
    if not isinstance(field.value, list | tuple):
        complain(field, f"{field.name} is {shown(field.value)}, not a list", remedy, "type")
        return []
    if not field.value:
        complain(field, f"{field.name} is an empty list", remedy, "empty")
    return [
        Field(value, field.page, f"{field.name}[{number}]", pointer=f"{field.pointer}/{number}")
        for number, value in enumerate(field.value)
    ]


def text(field: Field | None, rule: Callable[[str], object], remedy: str) -> str:
    """Read a text that a rule accepts."""
    if field is None:
        return ""
    if not isinstance(field.value, str):
        complain(field, f"{field.name} is {shown(field.value)}, not a text", remedy, "type")
        return ""
    if not rule(field.value):
        complain(field, f"{field.name} cannot be {shown(field.value)}", remedy, "range")
    return field.value


def name(field: Field | None) -> str:
    """Read the name of something, as strict as Kubernetes is about most names."""
    return text(field, NAME.fullmatch, WRITE_NAME)


def names(field: Field | None) -> tuple[str, ...]:
    """Read a list of different names."""
    found = items(field, "write a list such as [fraud, search]")
    unique(found)
    return tuple(name(each) for each in found)


def metadata(root: Field) -> Field | None:
    """Open the metadata of a file and check its labels and annotations, which other tools read."""
    found = opened(needed(root, "metadata", "add metadata with a name"), ("name", "labels", "annotations"))
    texts(optional(found, "labels"))
    texts(optional(found, "annotations"))
    return found


def texts(field: Field | None) -> Mapping[str, str]:
    """Read a mapping of texts to texts, as labels and annotations are."""
    if field is None:
        return {}
    if not isinstance(field.value, Mapping):
        complain(field, f"{field.name} is {shown(field.value)}, not a mapping", "give it names with texts", "type")
        return {}
    for key, value in field.value.items():
        if not isinstance(value, str):
            wrong = child(field, key)
            complain(wrong, f"{wrong.name} is {shown(value)}, not a text", "put it in quotes", "type")
    return {key: value for key, value in field.value.items() if isinstance(value, str)}


def choice(field: Field | None, allowed: Sequence[Known]) -> Known | None:
    """Read one of a few words; None where it is none of them, since nothing can be guessed from it."""
    if field is None:
        return None
    for word in allowed:
        if field.value == word:
            return word
    said = field.value if isinstance(field.value, str) else ""
    near = difflib.get_close_matches(said[:LONGEST_ECHO], allowed, n=1)
    remedy = f"write {near[0]}" if near else f"write {listed(allowed)}"
    complain(field, f"{field.name} cannot be {shown(field.value)}", remedy, "range")
    return None


def unique(found: Sequence[Field]) -> None:
    """Complain about every text that stands in a list, or in the entries of one, a second time."""
    seen: dict[str, str] = {}
    for field in found:
        if isinstance(field.value, str) and seen.setdefault(field.value, field.name) != field.name:
            message = f"{field.name} is {shown(field.value)}, as {seen[field.value]} is"
            complain(field, message, "rename or remove one of them", "duplicate")


def whole(field: Field | None, least: int, most: int, default: int) -> int:
    """Read a whole number between two bounds, both included."""
    if field is None:
        return default
    remedy = f"write a whole number from {least} to {most}"
    if isinstance(field.value, bool) or not isinstance(field.value, int):
        complain(field, f"{field.name} is {shown(field.value)}, not a whole number", remedy, "type")
        return default
    if not least <= field.value <= most:
        complain(field, f"{field.name} is {shown(field.value)}", remedy, "range")
    return field.value


def flag(field: Field | None, *, default: bool) -> bool:
    """Read true or false."""
    if field is None:
        return default
    if not isinstance(field.value, bool):
        complain(field, f"{field.name} is {shown(field.value)}", "write true or false", "type")
        return default
    return field.value


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: a, b or c."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def duration(words: str) -> timedelta:
    """Read ``90s``, ``5m``, ``2h`` or ``1h30m``: positive, whole seconds, 30 days at most; else raise Invalid."""
    found = _whole_seconds(words)
    if found is None:
        raise Invalid(f"{shown(words)} is not a duration", code="type", remedy=WRITE_DURATION)
    if not timedelta() < found <= LONGEST:
        bounds = f"choose from 1s to {format_duration(LONGEST)}"
        raise Invalid(f"{shown(words)} is no possible duration", code="range", remedy=bounds)
    return found


def format_duration(span: timedelta) -> str:
    """Write a duration as ``duration`` reads it; parts of a second, which it does not read, as ``250ms``."""
    milliseconds = round(abs(span) / timedelta(milliseconds=1))
    sizes = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    parts = []
    for unit, size in sizes.items():
        count, milliseconds = divmod(milliseconds, size)
        parts += [f"{count}{unit}"] if count else []
    return ("-" if span < timedelta() and parts else "") + ("".join(parts) or "0s")


def _span(words: str) -> timedelta | None:
    """Read hours, minutes, seconds and milliseconds in this order, of any length."""
    found = _SPAN.fullmatch(words)
    if found is None or not words:
        return None
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def _whole_seconds(words: object) -> timedelta | None:
    """Read what people write for durations, which have no parts of a second."""
    return _span(words) if isinstance(words, str) and not words.endswith("ms") else None


def span(field: Field | None, default: timedelta, most: timedelta = LONGEST) -> timedelta:
    """Read a duration of at least a second."""
    if field is None:
        return default
    found = _whole_seconds(field.value)
    if found is None:
        complain(field, f"{field.name} is {shown(field.value)}, not a duration", WRITE_DURATION, "type")
        return default
    if not timedelta() < found <= most:
        bounds = f"choose from 1s to {format_duration(most)}"
        complain(field, f"{field.name} is {shown(field.value)}", bounds, "range")
    return found


def share(field: Field | None, most: float, least: float = 0.0) -> float:
    """Read ``1%`` or ``0.01``; a bare number above 1 is refused, since it was meant as percent."""
    if field is None:
        return 0.0
    found = number(field.value)
    if isinstance(field.value, str) and (percent := _PERCENT.fullmatch(field.value)):
        found = float(Decimal(percent[1]).scaleb(-2))
    elif found is not None and found > 1:
        complain(field, f"{field.name} is {shown(field.value)} without a percent sign", f"write {found:g}%", "range")
        return 0.0
    if found is None:
        complain(field, f"{field.name} is {shown(field.value)}, not a percentage", WRITE_SHARE, "type")
        return 0.0
    if not least <= found <= most:
        bounds = f"choose from {least * 100:g}% to {most * 100:g}%"
        complain(field, f"{field.name} is {shown(field.value)}", bounds, "range")
    return found


def seconds(field: Field | None, least: timedelta, most: timedelta) -> float:
    """Read ``250ms``, ``1s`` or a number of seconds."""
    if field is None:
        return 0.0
    found = number(field.value)
    if isinstance(field.value, str) and (words := _span(field.value)) is not None:
        found = words / timedelta(seconds=1)
    if found is None:
        complain(field, f"{field.name} is {shown(field.value)}, not a time", WRITE_SECONDS, "type")
        return 0.0
    if not least.total_seconds() <= found <= most.total_seconds():
        bounds = f"choose from {format_duration(least)} to {format_duration(most)}"
        complain(field, f"{field.name} is {shown(field.value)}", bounds, "range")
    return found


def is_time(words: str) -> bool:
    """Whether a text is written as a time, parts of a second included."""
    return _span(words) is not None


def number(value: object) -> float | None:
    """Take a finite number as it is; None: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 10**LONGEST_ECHO:
        return None
    return float(value) if math.isfinite(value) else None
