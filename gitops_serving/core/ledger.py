"""The record of one service, and the entry that each change of it leaves behind.

The tree says what is, the message says why: state is read from the record file
alone, so a squashed, reworded or shallow history never changes what happens
next.  The record holds the stable manifest's own text, because the branch's head
may hold a newer one and history may be gone.  Trailers are for people, pages and
`git log --grep`.

A record that does not read back to the same value is never written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import yaml

from . import exact, yamltext
from .errors import Invalid
from .exact import Part
from .model import Canary, Hold, Past, Request, Stable

if TYPE_CHECKING:
    from datetime import datetime

API_VERSION, KIND = "gitops-serving.dev/v1alpha1", "RolloutRecord"
KEPT_REJECTIONS = 20  # the newest; older ones may be tried again


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that is refused until a person asks for a retry."""

    revision: str
    blob: str | None  # of the record that still held its manifest
    at: datetime
    because: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it stands in the record: for one revision, by one person."""

    what: Request
    revision: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that is remembered of one service."""

    service: str
    environment: str
    stable: Stable | None = None
    stable_text: str = ""  # the manifest's own text, byte for byte
    canary: Canary | None = None
    canary_text: str = ""
    policy: str = ""  # name@digest, when the canary was admitted
    previous: str | None = None
    admissions: int = 0  # the N of the labels
    settling: bool = False
    hold: Hold | None = None
    asked: Asked | None = None
    rejected: tuple[Rejected, ...] = ()
    last: tuple[str, str, datetime] | None = None  # action, revision, instant


class _Literal(str):
    """A text that is best read as a block."""

    __slots__ = ()


class _Rows(list[Any]):
    """A list that is best read on one line."""


class _Dumper(yaml.CSafeDumper):
    """The emitter of records."""


_AMBIGUOUS = re.compile(  # some YAML reader may take it for a number or a boolean: 12e345678901, 0o17, n
    r"([0-9eE_.:+-]+|[-+]?0o[0-7_]+|[yYnN])\Z"
)


def _represent_text(dumper: Any, text: str) -> Any:
    style = "'" if _AMBIGUOUS.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(
    _Literal, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)
_Dumper.add_representer(
    _Rows, lambda dumper, rows: dumper.represent_sequence("tag:yaml.org,2002:seq", rows, flow_style=True)
)


def record_path(environment: str, service: str) -> str:
    """Say where the record of a service stands."""
    return f"rollouts/{environment}/{service}.yaml"


def instant(at: datetime) -> str:
    """Write an instant in whole seconds, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_record(record: Record) -> bytes:
    """Write a record as YAML that reads back to the same value."""
    for literal in (True, False):  # a text that no block can hold is quoted instead
        text = yaml.dump(
            _plain(record, literal=literal), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000
        )
        heading = f"# Written by gitops-serving. State of {record.service} in {record.environment}.\n"
        source = (heading + text).encode()
        try:
            same = read_record(source, record_path(record.environment, record.service), record.environment) == record
        except Invalid:
            same = False
        if same:
            return source
    raise Invalid(
        f"the record of {record.service} would not read back", code="record", remedy="please report the manifest"
    )


def _plain(record: Record, *, literal: bool) -> dict[str, Any]:
    """Turn a record into mappings and texts, leaving out what is empty."""
    text = _Literal if literal else str
    namespace, name = record.service.split("/")
    plain: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
    }
    if record.stable is not None:
        plain["stable"] = _filled(
            revision=record.stable.revision,
            label=record.stable.label,
            clusterRevision=record.stable.name,
            uid=record.stable.uid,
            manifest=text(record.stable_text),
        )
    if record.previous is not None:
        plain["previous"] = {"revision": record.previous}
    if (canary := record.canary) is not None:
        plain["canary"] = _filled(
            revision=canary.revision,
            label=canary.label,
            weight=canary.weight,
            started=instant(canary.started),
            since=instant(canary.since),
            held=_whole_seconds(canary.held),
            past=_Rows(
                _filled(weight=p.weight, since=instant(p.since), held=_whole_seconds(p.held)) for p in canary.past
            )
            or None,
            policy=record.policy or None,
            manifest=text(record.canary_text),
        )
    plain["admissions"] = record.admissions
    if record.settling:
        plain["settling"] = True
    if (hold := record.hold) is not None:
        plain["hold"] = _filled(
            by=hold.by,
            at=instant(hold.at),
            reason=hold.reason or None,
            until=instant(hold.until) if hold.until else None,
        )
    if (asked := record.asked) is not None:
        plain["asked"] = {
            "what": asked.what.value,
            "revision": asked.revision,
            "by": asked.by,
            "at": instant(asked.at),
        }
    if record.rejected:
        plain["rejected"] = [
            _filled(revision=r.revision, blob=r.blob, at=instant(r.at), because=r.because) for r in record.rejected
        ]
    if record.last is not None:
        action, revision, at = record.last
        plain["last"] = {"action": action, "revision": revision, "at": instant(at)}
    return plain


def _whole_seconds(span: timedelta) -> int | None:
    return int(span.total_seconds()) or None


def _filled(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def read_record(source: bytes, path: str, environment: str) -> Record:
    """Read a record; raise Invalid if somebody damaged it, in whatever way."""
    try:
        documents = yamltext.read(source)
    except Invalid as error:
        raise error.within(path) from error
    try:
        record = _record(documents, environment)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise damaged(path, str(error)) from error
    if record_path(environment, record.service) != path:
        raise damaged(path, f"it is that of {record.service}")
    return record


def damaged(path: str, why: str) -> Invalid:
    """Say that somebody damaged a record, and what helps."""
    return Invalid(
        f"the record is damaged ({why})",
        code="record",
        path=path,
        remedy="restore the file from the commit before; gitops-serving writes it, people only read it",
    )


def _record(documents: tuple[yamltext.Document, ...], environment: str) -> Record:
    """Build a record from its parsed file; raises ValueError for anything that we would not have written."""
    value = documents[0].value
    if len(documents) > 1 or not isinstance(value, Mapping):
        raise ValueError("it is not one mapping")
    whole = Part(value)
    if (value.get("kind"), value.get("apiVersion")) != (KIND, API_VERSION):
        raise ValueError(f"not a {KIND} of {API_VERSION}")
    metadata, stable, canary, previous = (whole.part(key) for key in ("metadata", "stable", "canary", "previous"))
    hold, asked, last = (whole.part(key) for key in ("hold", "asked", "last"))
    if metadata is None:
        raise ValueError("metadata is missing")
    record = Record(
        service=f"{metadata.text('namespace')}/{metadata.text('name')}",
        environment=environment,
        stable=_stable(stable) if stable else None,
        stable_text=stable.text("manifest") if stable else "",
        canary=_canary(canary) if canary else None,
        canary_text=canary.text("manifest") if canary else "",
        policy=(canary.perhaps("policy") or "") if canary else "",
        previous=previous.text("revision", exact.REVISION) if previous else None,
        admissions=whole.whole("admissions", 0),
        settling=whole.flag("settling"),
        hold=_hold(hold) if hold else None,
        asked=_asked(asked) if asked else None,
        rejected=tuple(_rejected(each) for each in whole.parts("rejected")),
        last=_last(last) if last else None,
    )
    _check(record)
    return record


def _last(part: Part) -> tuple[str, str, datetime]:
    return part.text("action"), part.text("revision", exact.REVISION), part.instant("at")


def _check(record: Record) -> None:
    """Hold the fields against each other: a label that is given twice, or to another, is one nobody can trust."""
    for named in (record.stable, record.canary):
        if named is None or named.label is None:
            continue
        if named.label.partition(".")[0] != named.revision:
            raise ValueError(f"the label {named.label} is not that of {named.revision}")
        if exact.number_of(named.label) > record.admissions:
            raise ValueError(f"the label {named.label} is beyond the {record.admissions} admissions")
    if record.stable is None and (record.canary is not None or record.settling):
        raise ValueError("it has no stable revision to return to")


def _stable(part: Part) -> Stable:
    return Stable(
        part.text("revision", exact.REVISION),
        part.perhaps("label", exact.LABEL),
        part.perhaps("clusterRevision"),
        part.perhaps("uid"),
    )


def _canary(part: Part) -> Canary:
    return Canary(
        revision=part.text("revision", exact.REVISION),
        label=part.text("label", exact.LABEL),
        weight=part.whole("weight", 1, 100),
        started=part.instant("started"),
        since=part.instant("since"),
        held=_held(part),
        past=tuple(
            Past(each.whole("weight", 1, 100), each.instant("since"), _held(each)) for each in part.parts("past")
        ),
    )


def _held(part: Part) -> timedelta:
    return timedelta(seconds=part.whole("held", 0) if "held" in part.value else 0)


def _hold(part: Part) -> Hold:
    return Hold(
        by=part.text("by"),
        at=part.instant("at"),
        reason=part.perhaps("reason") or "",
        until=part.instant("until") if "until" in part.value else None,
    )


def _asked(part: Part) -> Asked:
    return Asked(Request(part.text("what")), part.text("revision", exact.REVISION), part.text("by"), part.instant("at"))


def _rejected(part: Part) -> Rejected:
    return Rejected(
        part.text("revision", exact.REVISION),
        part.perhaps("blob", exact.BLOB),
        part.instant("at"),
        part.text("because"),
    )


def reject(record: Record, rejected: Rejected) -> Record:
    """Remember a rejection; the oldest one beyond twenty is forgotten."""
    others = tuple(r for r in record.rejected if r.revision != rejected.revision)
    return replace(record, rejected=(*others, rejected)[-KEPT_REJECTIONS:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger: a move, its weights and its reason."""

    service: str
    action: str
    step: str
    weight_before: int | None  # None: the move has no weights
    weight: int | None
    revision: str
    environment: str
    canary: str = ""  # the cluster's name of the revision on trial, by which its series are found later
    stable: str = ""  # likewise of what it is compared with
    policy: str = ""  # name@digest
    because: str
    details: tuple[str, ...] = ()  # one line a measurement

    def message(self) -> str:
        """Write the entry as a commit message whose last paragraph is trailers."""
        moved = "" if self.weight is None else f", {self.weight_before}% -> {self.weight}%"
        trailers = {
            "Service": self.service,
            "Environment": self.environment,
            "Action": self.action,
            "Step": self.step,
            "Weight": "" if self.weight is None else str(self.weight),
            "Revision": self.revision,
            "Canary": self.canary,
            "Stable": self.stable,
            "Policy": self.policy,
        }
        details = "".join(f"- {one_line(detail)}\n" for detail in self.details)
        return (
            f"rollout({self.service}): {self.action}{moved}\n"
            f"\n{one_line(self.because)}\n"
            + (f"\n{details}" if details else "")
            + "\n"
            + "".join(f"Rollout-{key}: {one_line(value)}\n" for key, value in trailers.items() if value)
        )


def one_line(text: str) -> str:
    """Fold a text to one printable line, so that it cannot pose as a trailer or steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:900]


def read_trailers(message: str) -> dict[str, str]:
    """Read the ``Rollout-`` trailers of a message's last paragraph; empty: not one of our entries."""
    paragraph = message.strip().rsplit("\n\n", 1)[-1]
    found: dict[str, str] = {}
    for line in paragraph.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key.startswith("Rollout-"):
            if key[8:] in found:
                return {}  # two equal keys: not written by us
            found[key[8:]] = value
    return found
