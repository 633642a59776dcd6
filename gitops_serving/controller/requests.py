"""A person's word, as a commit: hold, resume, promote, abort, retry.

The verbs write the record and nothing else, by the same compare-and-swap as the
controller; what follows from them is decided at the next tick.  The author of the
commit is the audit.  Each change is made anew on the tree it lands on, so a verb
never overwrites what it has not read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.core import ledger, yamltext
from gitops_serving.core.errors import Conflict, Invalid
from gitops_serving.core.ledger import Asked, Entry, Record
from gitops_serving.core.model import UNREADABLE, Change, Hold, Request, Rollout
from gitops_serving.core.rollout import read_record, read_rollouts

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gitops_serving.ports import Repository, Tree

TRIES = 3  # of a commit that loses the race


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Who says something about which service, and when."""

    environment: str
    service: str
    by: str  # "Name <address>"
    at: datetime
    reason: str = ""


def commit(repository: Repository, make: Callable[[Tree], Change]) -> Change:
    """Append a person's change; on a lost race make it anew.  Raises Conflict after three lost races."""
    for _ in range(TRIES - 1):
        tree = repository.fetch()
        change = make(tree)
        try:
            repository.append(tree.commit, [change])
        except Conflict:
            continue
        return change
    tree = repository.fetch()
    change = make(tree)
    repository.append(tree.commit, [change])
    return change


def hold(word: Word, tree: Tree, until: datetime | None = None) -> Change:
    """Stop progress of a service, a new revision's start too; an abort is never stopped."""
    record, rollout = _read(word, tree)
    if until is not None and until <= word.at:
        raise Invalid("the hold would end in the past", code="until", remedy="give a later instant")
    if record.hold is not None and rollout.held:
        raise Invalid(
            f"{word.service} is held already by {record.hold.by} since {ledger.instant(record.hold.at)}",
            code="held",
            remedy="resume it first",
        )
    record = _with_held(record, rollout)
    held = Hold(
        by=ledger.one_line(word.by), at=_at(word), reason=ledger.one_line(word.reason), until=until and _whole(until)
    )
    said = f" until {ledger.instant(until)}" if until else ""
    return _change(word, replace(record, hold=held), "hold", rollout, f"Progress is held{said}.")


def resume(word: Word, tree: Tree) -> Change:
    """Let a held service go on; the time that it was held does not count as silence."""
    record, rollout = _read(word, tree)
    if record.hold is None:
        raise Invalid(f"{word.service} is not held", code="not-held", remedy="there is nothing to resume")
    record = replace(_with_held(record, rollout), hold=None)
    return _change(word, record, "resume", rollout, "Progress goes on.")


def ask(word: Word, tree: Tree, what: Request) -> Change:
    """Ask for promote or abort of the revision on trial, or promote of the wanted one while none is."""
    record, rollout = _read(word, tree)
    if record.canary is not None:
        revision = record.canary.revision
    elif what is Request.PROMOTE and rollout.wanted in rollout.rejected:
        raise Invalid(
            f"revision {rollout.wanted} of {word.service} was rejected", code="rejected", remedy="ask for a retry first"
        )
    elif what is Request.PROMOTE and rollout.stable and rollout.wanted not in (rollout.stable.revision, UNREADABLE):
        revision = rollout.wanted
    else:
        raise Invalid(
            f"nothing of {word.service} is on trial",
            code="idle",
            remedy="push a new revision first; see `get rollouts`",
        )
    record = replace(record, asked=Asked(what, revision, ledger.one_line(word.by), _at(word)))
    said = {Request.PROMOTE: "be given all traffic", Request.ABORT: "be aborted"}[what]
    return _change(word, record, f"ask-{what.value}", rollout, f"Revision {revision} is to {said}.", revision=revision)


def retry(word: Word, tree: Tree, content: Callable[[str], bytes | None], revision: str | None = None) -> Change:
    """Bring a rejected manifest back to the head and forget that it was rejected.

    ``content`` reads a blob by its id; ``revision`` defaults to the newest rejection.
    """
    record, rollout = _read(word, tree)
    known = {r.revision: r for r in record.rejected}
    if not known:
        raise Invalid(f"{word.service} has no rejected revision", code="idle", remedy="there is nothing to retry")
    if revision is not None and revision not in known:
        raise Invalid(
            f"revision {revision} of {word.service} was not rejected",
            code="unknown",
            remedy=f"one of: {', '.join(known)}",
        )
    if record.canary is not None:
        raise Invalid(
            f"{record.canary.revision} of {word.service} is on trial", code="busy", remedy="retry when it is over"
        )
    if rollout.stable is not None and rollout.wanted not in (rollout.stable.revision, UNREADABLE, *known):
        raise Invalid(
            f"a newer push of {word.service} waits at the head, and a retry would replace it",
            code="busy",
            remedy="retry when it is over, or push the stable manifest back first",
        )
    chosen = known[revision] if revision else record.rejected[-1]
    text = _rejected_text(word, chosen, content)
    source = tree.read(rollout.place.path)
    if source is None:
        raise Invalid(f"the manifest of {word.service} is not in Git", code="missing", remedy="bring it back first")
    file = yamltext.replace(source, rollout.place.document, text.encode())
    record = replace(record, rejected=tuple(r for r in record.rejected if r is not chosen))
    change = _change(
        word, record, "retry", rollout, f"Revision {chosen.revision} is to be tried again.", revision=chosen.revision
    )
    return replace(change, files={**change.files, rollout.place.path: file})


def _rejected_text(word: Word, chosen: ledger.Rejected, content: Callable[[str], bytes | None]) -> str:
    """Read the manifest of a rejected revision from the record that was on trial with it."""
    source = content(chosen.blob) if chosen.blob else None
    path = ledger.record_path(word.environment, word.service)
    record = read_record(source, path, word.environment) if source is not None else None
    if record is None or record.canary is None or record.canary.revision != chosen.revision:
        raise Invalid(
            f"the manifest of revision {chosen.revision} cannot be found in this clone's history",
            code="lost",
            path=path,
            remedy="fetch the whole history, or push a manifest that differs from it in some field",
        )
    return record.canary_text


def _read(word: Word, tree: Tree) -> tuple[Record, Rollout]:
    """Read a service as it stands at a tree; raise Invalid where there is nothing to speak about."""
    rollouts = read_rollouts(tree, word.environment, word.at)
    rollout = rollouts.get(word.service)
    if rollout is None:
        known = ", ".join(rollouts) or "none"
        raise Invalid(
            f"there is no service {word.service} in environment {word.environment}",
            code="unknown",
            remedy=f"one of: {known}",
        )
    if isinstance(rollout, Invalid):
        raise rollout
    path = ledger.record_path(word.environment, word.service)
    source = tree.read(path)
    if source is None:
        raise Invalid(
            f"{word.service} has not been adopted yet",
            code="new",
            remedy="wait until the cluster runs what Git holds; `explain` says what is missing",
        )
    return ledger.read_record(source, path, word.environment), rollout


def _with_held(record: Record, rollout: Rollout) -> Record:
    """Write down how long the canary's present weight has been held up to now."""
    if record.canary is None or record.hold is None:
        return record
    held = timedelta(seconds=int(rollout.held_for.total_seconds()))
    return replace(record, canary=replace(record.canary, held=held))


def _change(word: Word, record: Record, action: str, rollout: Rollout, said: str, *, revision: str = "") -> Change:
    """Write the commit of a person's word."""
    entry = Entry(
        service=word.service,
        action=action,
        step="",
        weight_before=None,
        weight=None,
        revision=revision or (record.canary.revision if record.canary else rollout.wanted),
        environment=word.environment,
        because=f"{said} {word.reason}".strip(),
    )
    return Change(
        service=word.service,
        files={ledger.record_path(word.environment, word.service): ledger.write_record(record)},
        message=entry.message(),
        author=word.by,
        at=word.at,
    )


def _at(word: Word) -> datetime:
    return _whole(word.at)


def _whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)
