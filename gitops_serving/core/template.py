r"""Queries with gaps: PromQL in which a revision, a namespace or a window is still to be filled in.

People write these templates, and what fills the gaps comes from manifests and from the
cluster, so neither is trusted.  A value goes into a quoted string that follows a label
and an operator, and nowhere else, and is escaped for the very quotes and the operator it
stands behind: whatever it holds, it cannot leave its matcher.  (The quote that is *not*
in use must stay as it is: Prometheus refuses ``\'`` between double quotes.)  The one gap
outside of quotes is the window, and that must be a duration.

A counter is read raw and series by series, because only then is a restarted pod seen as
what it is; so its template may hold no range and no aggregation.

No PromQL is parsed here: this module knows strings, comments and what stands before a
string, and leaves everything else to Prometheus.  That the shipped templates are valid
is for tests to prove, with a real parser and a real server.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from . import fields
from .errors import Invalid, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .fields import Field

REVISION, NAMESPACE, SERVICE, WINDOW = "revision", "namespace", "service", "window"
KNOWN = (REVISION, "baseline", NAMESPACE, SERVICE, WINDOW)
OF_COUNTERS = tuple(name for name in KNOWN if name != WINDOW)
OF_DETECTION = (NAMESPACE, SERVICE)
LONGEST = 4000  # characters, a guess: whoever needs more wants a recording rule
CACHED = 1024  # templates whose parts are kept
REACH = 100  # characters before a string in which its label is looked for: no more, or a hostile file could stall us

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|(?P<comment>\#[^\n]*)|(?P<code>[^"'`\#]+)|.""",
    re.DOTALL,
)
_GAP = re.compile(r"\{\{([^{}]*)\}\}")
_MATCHER = re.compile(r"(?P<label>[A-Za-z_][A-Za-z0-9_]*)?\s*(?P<operator>=~|!~|!=|=)\s*\Z")
_REGEX_SIGN = re.compile(r"[\\.+*?()|\[\]{}^$]")
_DURATION = re.compile(r"[1-9][0-9]{0,6}(?:ms|[smhd])")
_RANGE = re.compile(r"\[")
_AGGREGATION = re.compile(
    r"\b(?:sum|avg|count|group|min|max|stddev|stdvar|topk|bottomk|quantile|count_values|histogram_\w+)"
    r"\s*(?:\(|by\b|without\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A place to be filled in, and what surrounds it."""

    name: str
    quote: str = ""  # of the string it stands in; empty: it stands in none
    label: str = ""  # that the string is matched against; empty: none
    operator: str = ""  # that matches it; empty: the string is no matcher's
    escaped: bool = False  # a backslash before it would change what is filled in


@dataclass(frozen=True, slots=True)
class Template:
    """A query taken apart: texts and gaps in turn, its code without strings, and what is wrong with it."""

    parts: tuple[str | Gap, ...]
    code: str
    wrong: tuple[Invalid, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps alone."""
        return tuple(part for part in self.parts if isinstance(part, Gap))


@lru_cache(maxsize=CACHED)
def taken_apart(template: str) -> Template:
    """Find the gaps of a template, and everything that can be wrong with them."""
    parts: list[str | Gap] = []
    wrong: list[Invalid] = []
    code, string = "", ""
    for token in _TOKEN.finditer(template):
        found = token[0]
        if token["string"]:
            matcher = _MATCHER.search(code[-REACH:])
            label = (matcher["label"] or string[1:-1]) if matcher else ""
            parts += _pieces(found, quote=found[0], label=label, operator=matcher["operator"] if matcher else "")
            code, string = f'{code}""', found
        elif token["code"] or token["comment"]:
            parts += _pieces(found)
            code += found if token["code"] else "\n"
        else:
            wrong.append(_complaint(f"a {found} is never closed", "close the string"))
            break
    wrong += [complaint for part in parts if isinstance(part, Gap) and (complaint := _misplaced(part))]
    if any("{{" in part or "}}" in part for part in parts if isinstance(part, str)):
        wrong.append(_complaint("a placeholder is not closed", "write it like {{ revision }}"))
    return Template(tuple(parts), code, tuple(wrong))


def _pieces(text: str, *, quote: str = "", label: str = "", operator: str = "") -> list[str | Gap]:
    """Split one token at its placeholders."""
    pieces = _GAP.split(text)
    return [
        Gap(
            name=piece.strip(),
            quote=quote,
            label=label,
            operator=operator,
            escaped=_escapes("".join(pieces[:number:2]), operator),
        )
        if number % 2
        else piece
        for number, piece in enumerate(pieces)
    ]


def _escapes(before: str, operator: str) -> bool:
    """Tell whether what stands before a gap would change what the value's first character means.

    A lone backslash would; in a regular expression any does, since the string's escapes and its own are two layers.
    """
    slashes = len(before) - len(before.rstrip("\\"))
    return slashes > 0 or "\\Q" in before if operator.endswith("~") else slashes % 2 == 1


def _misplaced(gap: Gap) -> Invalid | None:
    """Say what is wrong with a gap where it stands; None: nothing."""
    shown = f"{{{{ {gap.name} }}}}" if len(gap.name) <= fields.LONGEST_ECHO else "a placeholder"
    if gap.name not in KNOWN:
        near = difflib.get_close_matches(gap.name[: fields.LONGEST_ECHO], KNOWN, n=1)
        known = ", ".join(f"{{{{ {name} }}}}" for name in KNOWN)
        return _complaint(f"{shown} is unknown", f"write {{{{ {near[0]} }}}}" if near else f"known are {known}")
    if gap.name == WINDOW:
        return _complaint(f"{shown} stands in quotes", f"write [{shown}]") if gap.quote else None
    if not gap.operator:
        return _complaint(f"{shown} stands in no matcher", f'write it like label="{shown}"')
    if gap.escaped:
        return _complaint(f"a backslash stands before {shown}, and would change what is filled in", "remove it")
    if gap.quote == "`":
        return _complaint(f"{shown} stands in backquotes, where nothing can be escaped", "use double quotes")
    return None


def _complaint(message: str, remedy: str) -> Invalid:
    return Invalid(message, code="template", remedy=remedy)


# -- filling in ------------------------------------------------------------------------------------------------------


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill in a template; raise Invalid where it is wrong, a value is missing, or the window is no duration.

    Promised: a value is matched as it is, a regular expression's signs included, whatever it holds.
    """
    found = taken_apart(template)
    if found.wrong:
        raise joined(list(found.wrong))
    return "".join(part if isinstance(part, str) else _filled(part, values) for part in found.parts)


def _filled(gap: Gap, values: Mapping[str, str]) -> str:
    """Write a value as its surroundings need it."""
    if gap.name not in values:
        raise _complaint(f"{{{{ {gap.name} }}}} has no value here", "remove it from this query")
    value = values[gap.name]
    if not gap.quote:
        if not _DURATION.fullmatch(value):
            raise _complaint(f"{fields.shown(value)} is no window", "choose a duration such as 90s")
        return value
    if gap.operator.endswith("~"):
        value = _REGEX_SIGN.sub(r"\\\g<0>", value)
    return _quoted(value, gap.quote)


@lru_cache(maxsize=CACHED)
def _quoted(value: str, quote: str) -> str:
    """Escape a value for its quotes; the same few names are asked about at every look."""
    return "".join(_escaped(sign, quote) for sign in value)


def _escaped(sign: str, quote: str) -> str:
    """Write one character inside a string; what is not plain ASCII goes by number, so that no lexer stumbles."""
    if sign in ("\\", quote):
        return f"\\{sign}"
    if " " <= sign <= "~":
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


# -- reading, with complaints ----------------------------------------------------------------------------------------


def counter(field: Field | None) -> str:
    """Read the template of a raw counter, or of a histogram's buckets."""
    return _read(field, OF_COUNTERS, _about_counters)


def gauge(field: Field | None) -> str:
    """Read the template of a gauge: any expression about one revision."""
    return _read(field, KNOWN, _about_revisions)


def detection(field: Field | None) -> str:
    """Read the template of a query that returns something where a source is there."""
    return _read(field, OF_DETECTION, lambda _: ())


def _about_revisions(found: Template) -> tuple[Invalid, ...]:
    """Complain where nothing tells revisions apart."""
    if any(gap.name == REVISION and gap.operator in ("=", "=~") for gap in found.gaps):
        return ()
    return (_complaint("no label tells revisions apart", 'match one of them with "{{ revision }}"'),)


def _about_counters(found: Template) -> tuple[Invalid, ...]:
    """Complain where something is done to counters before their increments are taken."""
    wrong = list(_about_revisions(found))
    remedy = "write the bare counter; increments are taken series by series, over the right window"
    if _RANGE.search(found.code):
        wrong.append(_complaint("a counter is read over a range", remedy))
    if _AGGREGATION.search(found.code):
        wrong.append(_complaint("counters are put together, so that a restart of one cannot be seen", remedy))
    return tuple(wrong)


def _read(field: Field | None, known: Collection[str], rule: Callable[[Template], tuple[Invalid, ...]]) -> str:
    """Read a template, filing every complaint about it at the field's line."""
    if field is None:
        return ""
    template = fields.text(field, str.strip, "write one PromQL expression")
    if not template.strip():
        return ""
    if len(template) > LONGEST:
        fields.complain(
            field, f"{field.name} is {len(template)} characters long", f"write at most {LONGEST}", "template"
        )
        return ""
    found = taken_apart(template)
    wrong = [*found.wrong, *rule(found)]
    for gap in dict.fromkeys(found.gaps):
        if gap.name in KNOWN and gap.name not in known:
            remedy = f"known here: {', '.join(f'{{{{ {name} }}}}' for name in known)}"
            wrong.append(_complaint(f"{{{{ {gap.name} }}}} has no value here", remedy))
    for each in wrong:
        fields.complain(field, f"{field.name}: {each.message}", each.remedy, each.code)
    return template


def labels(template: str, name: str) -> frozenset[str]:
    """List the labels that must equal a value, so that a source's own word on them can be checked."""
    gaps = taken_apart(template).gaps
    return frozenset(gap.label for gap in gaps if gap.name == name and gap.operator in ("=", "=~"))
