"""A decision to a change: which bytes, which record, which entry.

Record and manifest change in one commit, always.  A manifest changes in its owned
fields only, spliced into the user's own text, or is put back from the bytes that
the record kept.  Whatever newer push stands at the head stays there untouched.

Nothing here asks why: that was `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from . import exact, ledger, manifest, yamltext
from .due import cluster_names
from .errors import Invalid
from .explain import ACTIONS, evidence, explain, step_of
from .found import parse
from .ledger import Entry, Record, Rejected
from .model import (
    Abort,
    Adopt,
    Canary,
    Change,
    Decision,
    Drop,
    Owned,
    Past,
    Promote,
    Refuse,
    Repair,
    Request,
    Settle,
    Shift,
    Stable,
    Wait,
)
from .rollout import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Place, Situation


class Files(Protocol):
    """The part of a tree that changes are made from."""

    def read(self, path: str) -> bytes | None:
        """Read a file; None: there is none."""
        ...

    def blob(self, path: str) -> str | None:
        """The id of a file's content."""
        ...


@dataclass(frozen=True, slots=True)
class Overlay:
    """A tree with the changes before this one laid over it, so that two services in one file both land."""

    tree: Files
    files: Mapping[str, bytes]

    def read(self, path: str) -> bytes | None:
        """Read the newest content of a file."""
        return self.files[path] if path in self.files else self.tree.read(path)

    def blob(self, path: str) -> str | None:
        """The id of a content that is already in the repository."""
        return None if path in self.files else self.tree.blob(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A change in the making."""

    record: Record
    file: bytes | None  # the manifest's file; None: it stays
    revision: str  # whom the move is about
    before: int | None = None
    weight: int | None = None


def fold(
    decided: Iterable[tuple[Decision, Situation]], tree: Files
) -> tuple[list[Change], list[Situation], dict[str, Invalid]]:
    """Propose all changes of a tick, each on what the one before leaves; adoptions share one commit.

    Returns the changes, the situations that they move, and what is wrong with those that cannot be written.
    """
    files: dict[str, bytes] = {}
    changes: list[Change] = []
    moved: list[Situation] = []
    wrong: dict[str, Invalid] = {}
    for decision, seen in decided:
        try:
            change = propose(decision, seen, Overlay(tree, files))
        except Invalid as error:
            wrong[seen.rollout.service] = error.within(seen.rollout.place.path)
            continue
        if change is not None:
            files = {**files, **change.files}
            changes.append(change)
            moved.append(seen)
    adopted = [c for c in changes if ledger.read_trailers(c.message).get("Action") == "adopt"]
    if len(adopted) > 1:
        changes = [_together(adopted), *(change for change in changes if change not in adopted)]
    return changes, moved, wrong


def _together(adopted: list[Change]) -> Change:
    """Make one commit of many adoptions; nothing restarts, so nobody needs to revert one of them."""
    first = adopted[0]
    environment = ledger.read_trailers(first.message)["Environment"]
    names = "".join(f"- {change.service}\n" for change in adopted)
    message = (
        f"rollout({environment}): adopt, {len(adopted)} services\n\nThe cluster runs what Git holds.\n\n{names}\n"
        f"Rollout-Environment: {environment}\nRollout-Action: adopt\n"
    )
    files = {path: content for change in adopted for path, content in change.files.items()}
    return replace(first, service=environment, files=files, message=message)


def propose(decision: Decision, seen: Situation, tree: Files) -> Change | None:
    """Turn a decision into the files and the message of one commit; None: nothing changes."""
    if isinstance(decision, Wait):
        return None
    seen = replace(seen, now=seen.now.replace(microsecond=0))  # as the record will have it
    rollout, place = seen.rollout, seen.rollout.place
    path = ledger.record_path(seen.environment, rollout.service)
    source = tree.read(path)
    record = (
        read_record(source, path, seen.environment)
        if source is not None
        else Record(service=rollout.service, environment=seen.environment)
    )
    draft = _draft(decision, seen, tree, record)
    action = ACTIONS[type(decision)]
    record = replace(_without_old_hold(draft.record, seen), last=(action, draft.revision, seen.now))
    files = {path: ledger.write_record(record)}
    if draft.file is not None and draft.file != tree.read(place.path):
        files[place.path] = draft.file
    canary, stable = cluster_names(rollout, seen.live, draft.revision)
    entry = Entry(
        service=rollout.service,
        action=action,
        step=step_of(seen, draft.weight or 0),
        weight_before=draft.before,
        weight=draft.weight,
        revision=draft.revision,
        environment=seen.environment,
        canary=canary,
        stable=stable,
        policy=f"{seen.policy.name}@{seen.policy.digest}" if seen.policy else "",
        because=explain(decision, seen),
        details=evidence(seen),
    )
    return Change(
        service=rollout.service,
        files=files,
        message=entry.message(),
        author=f"gitops-serving <gitops-serving@{seen.environment}.invalid>",
        at=seen.now,
    )


def _draft(decision: Decision, seen: Situation, tree: Files, record: Record) -> _Draft:
    """Say what a decision does to record and manifest."""
    match decision:
        case Adopt():
            return _adopt(seen, tree, record)
        case Shift(weight=weight) if record.canary and record.canary.revision == seen.rollout.wanted:
            return _shift(weight, seen, tree, record, record.canary)
        case Shift(weight=weight):
            return _admit(weight, seen, tree, record)
        case Promote():
            return _promote(seen, tree, record)
        case Abort():
            return _abort(decision, seen, tree, record)
        case Refuse():
            return _refuse(seen, tree, record)
        case Drop():
            return _drop(decision, seen, tree, record)
        case Repair():
            file = _with_owned(tree, seen.rollout.place, seen.rollout.expected[1])
            return _Draft(record=record, file=file, revision=seen.rollout.wanted)
        case Settle():
            return _settle(seen, tree, record)
        case Wait():
            raise AssertionError("waiting changes nothing")


def _adopt(seen: Situation, tree: Files, record: Record) -> _Draft:
    rollout, live = seen.rollout, seen.live
    label = rollout.owned.label
    number = exact.number_of(label) if label else 0
    stable = Stable(rollout.wanted, label, live.rolled, live.uid)
    record = replace(
        record, stable=stable, stable_text=_text(tree, rollout.place), admissions=max(record.admissions, number)
    )
    return _Draft(record=record, file=None, revision=rollout.wanted)


def _admit(weight: int, seen: Situation, tree: Files, record: Record) -> _Draft:
    rollout = seen.rollout
    number = record.admissions + 1
    label = f"{rollout.wanted}.{number}"
    record = replace(
        record,
        canary=Canary(revision=rollout.wanted, label=label, weight=weight, started=seen.now, since=seen.now),
        canary_text=_text(tree, rollout.place),
        policy=f"{seen.policy.name}@{seen.policy.digest}" if seen.policy else "",
        admissions=number,
        settling=False,
        asked=None,
    )
    file = _with_owned(tree, rollout.place, Owned(weight, label))
    return _Draft(record=record, file=file, revision=rollout.wanted, before=0, weight=weight)


def _shift(weight: int, seen: Situation, tree: Files, record: Record, canary: Canary) -> _Draft:
    obeyed = weight == 100 and record.asked is not None and record.asked.what is Request.PROMOTE
    left = Past(canary.weight, canary.since, _whole(seen.rollout.held_for))
    record = replace(
        record,
        canary=replace(canary, weight=weight, since=seen.now, held=timedelta(), past=(*canary.past, left)),
        asked=None if obeyed else record.asked,
    )
    file = _with_owned(tree, seen.rollout.place, Owned(weight, canary.label))
    return _Draft(record=record, file=file, revision=canary.revision, before=canary.weight, weight=weight)


def _promote(seen: Situation, tree: Files, record: Record) -> _Draft:
    canary, stable, rollout = record.canary, record.stable, seen.rollout
    assert canary is not None
    assert stable is not None
    at_rest = Owned(None, canary.label)
    file = None
    if rollout.wanted == canary.revision:  # else the head holds a newer push
        file = _with_owned(tree, rollout.place, at_rest)
        text = _span(file, rollout.place.document)
    else:
        text = _owned_text(record, record.canary_text, at_rest)
    record = replace(
        record,
        previous=stable.revision,
        stable=Stable(canary.revision, canary.label, seen.live.rolled, seen.live.uid),
        stable_text=text,
        canary=None,
        canary_text="",
        policy="",
        asked=None,
    )
    return _Draft(record=record, file=file, revision=canary.revision)


def _abort(decision: Abort, seen: Situation, tree: Files, record: Record) -> _Draft:
    canary = record.canary
    assert canary is not None
    if decision.rejects:
        record = _rejecting(record, seen, tree, canary, decision.because)
    record = _restoring(record, seen)
    return _Draft(
        record=record,
        file=_stable_file(record, seen, tree),
        revision=canary.revision,
        before=canary.weight,
        weight=0,
    )


def _refuse(seen: Situation, tree: Files, record: Record) -> _Draft:
    canary = record.canary
    record = replace(record, asked=None) if canary is None else _restoring(record, seen)
    return _Draft(
        record=record,
        file=_stable_file(record, seen, tree),
        revision=seen.rollout.wanted,
        before=canary.weight if canary else None,
        weight=0 if canary else None,
    )


def _drop(decision: Drop, seen: Situation, tree: Files, record: Record) -> _Draft:
    canary, stable = record.canary, record.stable
    assert canary is not None
    assert stable is not None
    if decision.rejects:
        record = _rejecting(record, seen, tree, canary, decision.because)
    number = record.admissions + 1
    record = replace(
        _nothing_on_trial(record),
        stable=replace(stable, label=f"{stable.revision}.{number}", name=None),
        admissions=number,
        settling=False,
    )
    return _Draft(record=record, file=None, revision=canary.revision, before=canary.weight, weight=0)


def _settle(seen: Situation, tree: Files, record: Record) -> _Draft:
    stable, rollout, live = record.stable, seen.rollout, seen.live
    assert stable is not None
    name = live.names.get(stable.label or stable.revision)
    record = replace(record, settling=False, stable=replace(stable, name=name, uid=live.uid))
    newer = rollout.wanted != stable.revision
    file = None if newer else _with_owned(tree, rollout.place, Owned(None, stable.label))
    return _Draft(record=record, file=file, revision=stable.revision)


def _restoring(record: Record, seen: Situation) -> Record:
    """Take the canary out; where anything of it reached the cluster, restore stable under a fresh label, at 0."""
    stable, live = record.stable, seen.live
    assert stable is not None
    untouched = (
        live.known
        and (live.content, live.template) == (stable.revision, Owned(None, stable.label))
        and live.latest == live.baseline == stable.revision
    )
    record = _nothing_on_trial(record)
    if untouched:
        return replace(record, settling=False)
    number = record.admissions + 1
    fresh = replace(stable, label=f"{stable.revision}.{number}", name=None)
    return replace(record, stable=fresh, admissions=number, settling=True)


def _nothing_on_trial(record: Record) -> Record:
    return replace(record, canary=None, canary_text="", policy="", asked=None)


def _rejecting(record: Record, seen: Situation, tree: Files, canary: Canary, because: str) -> Record:
    """Remember the revision, and in which record its manifest can still be read."""
    blob = tree.blob(ledger.record_path(seen.environment, seen.rollout.service))
    return ledger.reject(record, Rejected(canary.revision, blob, seen.now, ledger.one_line(because)))


def _without_old_hold(record: Record, seen: Situation) -> Record:
    """Forget a hold that is over, but not how long it held the present weight."""
    if record.hold is None or seen.rollout.held:
        return record
    canary = record.canary
    same = canary is not None and seen.rollout.canary is not None and canary.since == seen.rollout.canary.since
    if canary is not None and same:
        canary = replace(canary, held=_whole(seen.rollout.held_for))
    return replace(record, hold=None, canary=canary)


def _whole(span: timedelta) -> timedelta:
    """Leave out parts of a second, which no record has."""
    return timedelta(seconds=int(span.total_seconds()))


def _stable_file(record: Record, seen: Situation, tree: Files) -> bytes:
    """Write the head's file with the stable manifest in its place; a head that is stable keeps its bytes."""
    stable, rollout = record.stable, seen.rollout
    assert stable is not None
    owned = Owned(0 if record.settling else None, stable.label)
    if rollout.wanted == stable.revision:
        return _with_owned(tree, rollout.place, owned)
    text = _owned_text(record, record.stable_text, owned).encode()
    return yamltext.replace(_source(tree, rollout.place), rollout.place.document, text)


def _owned_text(record: Record, text: str, owned: Owned) -> str:
    """Give the text of a manifest that the record holds these owned fields."""
    source = text.encode()
    try:
        return yamltext.patch(source, manifest.edits(parse(source)[0].value, owned)).decode()
    except Invalid as error:
        raise Invalid(
            f"line {error.line} of the manifest that the record holds cannot be worked with: {error.message}",
            code=error.code,
            path=ledger.record_path(record.environment, record.service),
            remedy=f"push the stable manifest back in another form: {error.remedy}",
        ) from error


def _with_owned(tree: Files, place: Place, owned: Owned) -> bytes:
    """Give the manifest at a place these owned fields, and leave every other byte of its file."""
    source = _source(tree, place)
    return yamltext.patch(source, manifest.edits(parse(source)[place.document].value, owned), place.document)


def _source(tree: Files, place: Place) -> bytes:
    source = tree.read(place.path)
    if source is None:
        raise Invalid("the file is gone", code="missing", path=place.path, remedy="bring it back")
    return source


def _text(tree: Files, place: Place) -> str:
    return _span(_source(tree, place), place.document)


def _span(source: bytes, document: int) -> str:
    found = parse(source)[document]
    return source[found.start : found.end].decode()
