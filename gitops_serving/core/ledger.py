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
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml

from . import yamltext
from .errors import Invalid
from .model import Canary, Hold, Past, Request, Stable

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Read a record; raise Invalid if somebody damaged it."""
    try:
        document = yamltext.read(source)[0]
    except Invalid as error:
        raise error.within(path) from error
    try:
        record = _record(document.value, environment)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
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


def _record(value: Mapping[str, Any], environment: str) -> Record:
    """Build a record from its parsed file."""
    if value["kind"] != KIND or value["apiVersion"] != API_VERSION:
        raise ValueError(f"not a {KIND} of {API_VERSION}")
    metadata = value["metadata"]
    stable, canary = value.get("stable"), value.get("canary")
    hold, asked, last = value.get("hold"), value.get("asked"), value.get("last")
    return Record(
        service=f"{metadata['namespace']}/{metadata['name']}",
        environment=environment,
        stable=stable
        and Stable(str(stable["revision"]), stable.get("label"), stable.get("clusterRevision"), stable.get("uid")),
        stable_text=stable["manifest"] if stable else "",
        canary=canary and _canary(canary),
        canary_text=canary["manifest"] if canary else "",
        policy=canary.get("policy", "") if canary else "",
        previous=value["previous"]["revision"] if value.get("previous") else None,
        admissions=int(value["admissions"]),
        settling=value.get("settling", False) is True,
        hold=hold
        and Hold(
            by=hold["by"],
            at=_instant(hold["at"]),
            reason=hold.get("reason", ""),
            until=_instant(hold["until"]) if "until" in hold else None,
        ),
        asked=asked and Asked(Request(asked["what"]), asked["revision"], asked["by"], _instant(asked["at"])),
        rejected=tuple(
            Rejected(r["revision"], r.get("blob"), _instant(r["at"]), r["because"]) for r in value.get("rejected", ())
        ),
        last=last and (last["action"], last["revision"], _instant(last["at"])),
    )


def _canary(value: Mapping[str, Any]) -> Canary:
    return Canary(
        revision=value["revision"],
        label=value["label"],
        weight=_weight(value),
        started=_instant(value["started"]),
        since=_instant(value["since"]),
        held=_held(value),
        past=tuple(Past(_weight(each), _instant(each["since"]), _held(each)) for each in value.get("past", ())),
    )


def _weight(value: Mapping[str, Any]) -> int:
    weight = value["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= 100:
        raise ValueError(f"canary.weight {weight!r} is not from 1 to 100")
    return weight


def _held(value: Mapping[str, Any]) -> timedelta:
    return timedelta(seconds=int(value.get("held", 0)))


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at.astimezone(UTC)


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
