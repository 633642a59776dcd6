"""What the tree says of every service: manifests and records, read into rollouts.

One bad file never stops the others: what is wrong with a service is its value here,
and nothing is raised.  A head that cannot be read stops what is new, and never the
watch over a canary that is on trial.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import exact, found, ledger, manifest
from .errors import Invalid, joined
from .found import parse
from .model import UNREADABLE, Owned, Place, Rollout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .found import Broken, Files, Found
    from .ledger import Record

WAS_STABLE = "it was stable before"  # why a revision needs no trial; the ledger is searched for it too


def read_rollouts(tree: Files, environment: str, now: datetime) -> dict[str, Rollout | Invalid]:
    """Read every service of an environment; one bad file never stops the others."""
    manifests, broken = found.manifests(tree, f"clusters/{environment}/")
    records = _records(tree, environment)
    result: dict[str, Rollout | Invalid] = {}
    for service in sorted(manifests.keys() | records.keys()):
        record = records.get(service) or ledger.Record(service=service, environment=environment)
        if isinstance(record, Invalid):
            result[service] = record
            continue
        try:
            result[service] = _rollout(record, manifests.get(service, []), broken, now)
        except Exception as fault:  # noqa: BLE001 -- a record nobody thought of is this service's trouble alone
            path = ledger.record_path(environment, service)
            result[service] = ledger.damaged(path, f"{type(fault).__name__}: {fault}")
    for path, file in broken.items():  # one that held nobody we know of is named after its place
        result.setdefault(_named(path), file.error)
    return result


def _named(path: str) -> str:
    """Say which service a file is about, going by where it stands."""
    return "/".join(path.rsplit(".", 1)[0].split("/")[-2:])


def _records(tree: Files, environment: str) -> dict[str, Record | Invalid]:
    """Read the records of an environment; a damaged one stops its own service only."""
    folder = f"rollouts/{environment}/"
    records: dict[str, Record | Invalid] = {}
    for path in tree.paths(folder):
        service = path.removeprefix(folder).removesuffix(".yaml")
        if not path.endswith(".yaml") or service.count("/") != 1:
            continue  # somebody's notes
        try:
            records[service] = read_record(tree.read(path) or b"", path, environment)
        except Invalid as error:
            records[service] = error
    return records


@lru_cache(maxsize=8192)
def read_record(source: bytes, path: str, environment: str) -> Record:
    """Read a record, and make sure that its manifests are those of the revisions that it names."""
    record = ledger.read_record(source, path, environment)
    for named, text in ((record.stable, record.stable_text), (record.canary, record.canary_text)):
        if named is None:
            continue
        try:
            same = [(f.service, f.revision) for f in found.scan(text.encode())] == [(record.service, named.revision)]
        except Invalid:
            same = False
        if not same:
            raise ledger.damaged(path, f"the manifest in it is not that of {named.revision}")
    return record


def _rollout(
    record: Record, manifests: list[tuple[str, Found]], broken: Mapping[str, Broken], now: datetime
) -> Rollout | Invalid:
    """Make one service of its record and its manifest; an invalid head stops what is new, never the watch."""
    path, head = manifests[0] if manifests else ("", None)
    error = _unfound(record, broken) if head is None else _complaint(record, manifests)
    subject = record.canary.revision if record.canary else head.revision if head else UNREADABLE
    asked = record.asked.what if record.asked and record.asked.revision == subject else None
    rollout = replace(_recorded(record, Place(path, head.number if head else 0), now), asked=asked)
    if error is not None or head is None:
        error = error or Invalid("no manifest", code="missing")
        return unread(rollout, error) if record.stable else error
    return replace(
        rollout,
        wanted=head.revision,
        owned=head.owned,
        direct=_direct(record, head.revision, head.document.value),
        documents={**rollout.documents, head.revision: head.document.value},
    )


def unread(rollout: Rollout, error: Invalid) -> Rollout:
    """Keep what the record says, and nothing of the head: nothing new begins, and what is on trial is watched."""
    asked = rollout.asked if rollout.canary else None
    invalid = rollout.invalid or error
    return replace(rollout, wanted=UNREADABLE, owned=Owned(), direct=None, asked=asked, invalid=invalid)


def _unfound(record: Record, broken: Mapping[str, Broken]) -> Invalid:
    """Say why a service has no manifest: with the cause of every file that nobody can read and that may hold it."""
    likeness = {path: _likeness(record, path, file.source) for path, file in broken.items()}
    likely = sorted(broken, key=likeness.__getitem__, reverse=True)
    held = [path for path in likely if any(likeness[path][:2])]
    if held:
        certain = likeness[held[0]][0]
        return joined([broken[path].error for path in (held[:1] if certain else held)])
    return Invalid(
        f"the manifest of {record.service} is not in Git"
        + (", unless in a file that cannot be read" if broken else ""),
        code="missing",
        remedy="bring it back; the service keeps running meanwhile",
        others=tuple(broken[path].error for path in likely),
    )


def _likeness(record: Record, path: str, source: bytes) -> tuple[bool, bool, int]:
    """Say how likely a file held a service: by its place, by the name in it, by the lines that it shares with it."""
    name = record.service.partition("/")[2]
    known = {line for text in (record.stable_text, record.canary_text) for line in text.encode().splitlines()}
    named = re.search(rb"\bname[\"']?:\s*[\"']?" + re.escape(name.encode()) + rb"(?![-\w.])", source) is not None
    return _named(path) == record.service, named, len(known.intersection(source.splitlines()))


def _complaint(record: Record, manifests: list[tuple[str, Found]]) -> Invalid | None:
    """Say what is wrong with a service at the head; None: nothing."""
    (path, head), *others = manifests
    if others:
        other = others[0]
        return Invalid(
            f"{record.service} is defined twice, here and at {other[0]}:{other[1].document.line('')}",
            code="conflict",
            path=path,
            line=head.document.line(""),
            remedy="remove one of the two",
        )
    error = head.invalid or _foreign_owned(record, head) or _uncovered(record, head)
    return error and error.within(path)


def _foreign_owned(record: Record, head: Found) -> Invalid | None:
    """A new service has no weight, which KServe would ignore, and no label of another revision."""
    if record.stable is not None:
        return None
    line, owned = head.document.line, head.owned
    if owned.weight is not None:
        message = "a new service has a weight, which KServe would ignore"
        return Invalid(message, code="weight", line=line(manifest.WEIGHT_POINTER), remedy="remove canaryTrafficPercent")
    own = owned.label is None or (exact.LABEL.fullmatch(owned.label) and owned.label.startswith(head.revision))
    if not own:
        message = "a new service has the label of another revision"
        return Invalid(message, code="label", line=line(manifest.LABEL_POINTER), remedy=f"remove {manifest.LABEL}")
    return None


def _uncovered(record: Record, head: Found) -> Invalid | None:
    """A changed component that no weight covers would get all traffic at once."""
    if record.stable is None:
        return None
    stable = parse(record.stable_text.encode())[0].value
    component = manifest.other_component_changed(stable, head.document.value)
    if component is None:
        return None
    return Invalid(
        f"spec.{component} changed, and a weight covers the predictor alone",
        code="component",
        line=head.document.line(f"/spec/{component}"),
        remedy="leave it as it was; only the predictor can be rolled out so far",
    )


def _recorded(record: Record, place: Place, now: datetime) -> Rollout:
    """Everything that the record alone says."""
    hold = record.hold
    return Rollout(
        service=record.service,
        wanted=UNREADABLE,
        stable=record.stable,
        canary=record.canary,
        settling=record.settling,
        rejected=frozenset(r.revision for r in record.rejected),
        held=hold is not None and (hold.until is None or hold.until > now),
        held_for=_held_for(record, now),
        previous=record.previous,
        place=place,
        documents=_texts(record),
    )


def _held_for(record: Record, now: datetime) -> timedelta:
    """How long the present weight has been held, holds that are over included."""
    canary, hold = record.canary, record.hold
    if canary is None:
        return timedelta()
    if hold is None:
        return canary.held
    end = min(now, hold.until) if hold.until else now
    return canary.held + max(end - max(hold.at, canary.since), timedelta())


def _texts(record: Record) -> dict[str, Mapping[str, Any]]:
    """Parse the manifests that the record holds."""
    texts = {}
    if record.canary:
        texts[record.canary.revision] = parse(record.canary_text.encode())[0].value
    if record.stable:
        texts[record.stable.revision] = parse(record.stable_text.encode())[0].value
    return texts


def _direct(record: Record, wanted: str, value: Mapping[str, Any]) -> str | None:
    """Say why a revision needs no trial, if it needs none."""
    if record.stable is None or wanted == record.stable.revision or record.canary is not None:
        return None
    if wanted == record.previous:
        return WAS_STABLE
    if manifest.only_scaling_differs(parse(record.stable_text.encode())[0].value, value):
        return "only its scaling changed"
    return None
