"""What the cluster is owed, and whether it has it.

`live` turns the cluster's own names into our revisions; `due` and `arrived` are the
second half of the safety argument beside `decide`: nothing reaches the cluster that
`due` did not name, and nothing counts as done that has not `arrived`.

Convergence is told by revision names, labels and summed traffic, never by
generations: KServe copies `observedGeneration` from a child object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import manifest
from .measure import Outcome
from .model import UNREADABLE, Due, Live, Owned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from .measure import Verdict
    from .model import Canary, Rollout, Stable, Status


def live(rollout: Rollout, status: Status) -> Live:
    """Put the cluster's answer into our revisions."""
    if not status.known:
        return Live(known=False, why=status.why)
    if status.manifest is None:
        return Live(uid=status.uid)
    content = manifest.revision_of(status.manifest) if _sound(status.manifest) else UNREADABLE
    template = manifest.owned_of(status.manifest) if content != UNREADABLE else Owned()
    shares: dict[str, int] = {}
    for share in status.traffic:
        if share.percent:
            shares[share.revision] = shares.get(share.revision, 0) + share.percent
    at_rest = status.routed and status.created == status.ready and shares == _split(template.weight, status)

    def revision(name: str) -> str | None:
        return _named(name, rollout.stable, status, content, at_rest=at_rest) if name else None

    names = {(status.labels.get(name) or revision(name) or name): name for name in status.labels}
    return Live(
        template=template,
        content=content,
        created=(status.labels.get(status.created) or revision(status.created)) if status.created else None,
        latest=revision(status.ready),
        baseline=revision(status.rolled),
        settled=at_rest,
        ready=bool(status.created) and status.created == status.ready,
        since=max((t for t in (status.applied, status.turned) if t), default=None),
        unheard=_unheard(status),
        failure=status.failure,
        names=names,
        shares=shares,
        broken=status.ready if status.ready and not status.routed else None,
        rolled=status.rolled or None,
        uid=status.uid,
    )


def _sound(value: Mapping[str, Any]) -> bool:
    return isinstance((value.get("spec") or {}).get("predictor"), dict)


def _unheard(status: Status) -> datetime | None:
    """Say when we replaced what was there, if nothing has turned since: without a label it may be that one's status."""
    if status.applied is None or status.labels.get(status.created) is not None:
        return None
    first = status.born is not None and status.applied <= status.born
    turned = status.turned is not None and status.turned > status.applied
    return None if first or turned else status.applied


def _split(weight: int | None, status: Status) -> dict[str, int]:
    """Write the traffic that a weight asks for, by the cluster's names."""
    canary = 100 if weight is None else weight
    split: dict[str, int] = {}
    for name, percent in ((status.ready, canary), (status.rolled, 100 - canary)):
        if percent:
            split[name] = split.get(name, 0) + percent
    return split


def _named(name: str, stable: Stable | None, status: Status, content: str, *, at_rest: bool) -> str:
    """Say which of our revisions a revision of the cluster is."""
    label = status.labels.get(name)
    if label:
        return label.split(".")[0]
    if stable is None:
        return content if name == status.created else UNREADABLE
    if stable.label is not None:
        return UNREADABLE
    if (name, status.uid) == (stable.name, stable.uid):
        return stable.revision
    rebuilt = at_rest and name == status.created == status.rolled and content == stable.revision
    return stable.revision if rebuilt else UNREADABLE


def hindered(live: Live) -> str | None:
    """Say what keeps the cluster from what it is due; None: nothing that we know of."""
    if not live.known:
        return live.why or "the cluster does not answer"
    return f"the cluster refused what is due: {live.refused}" if live.refused else None


def arrived(rollout: Rollout, live: Live) -> bool:
    """Whether the cluster runs exactly what the record expects, and its status speaks of it."""
    if not live.known or rollout.stable is None:
        return False
    revision, owned = rollout.expected
    return live.settled and live.template == owned and live.created == (owned.label or revision)


def cluster_names(rollout: Rollout, live: Live, about: str) -> tuple[str, str]:
    """The cluster's own names of the canary, if it is this revision, and of stable; empty: none, or nobody knows."""
    canary, stable = rollout.canary, rollout.stable
    on_trial = live.names.get(canary.label, "") if canary and canary.revision == about else ""
    if stable is None:
        return on_trial, ""
    if live.rolled and live.baseline == stable.revision:
        return on_trial, live.rolled
    return on_trial, live.names.get(stable.label or stable.revision) or stable.name or ""


def restored(rollout: Rollout, live: Live) -> bool:
    """Whether the stable revision of an abort is back: at weight 0, or at 100 on a cluster that was rebuilt since."""
    stable = rollout.stable
    if not live.known or stable is None or live.latest != stable.revision:
        return False
    here = live.template in (Owned(0, stable.label), Owned(None, stable.label))
    return here and live.settled and live.created == (stable.label or stable.revision)


def due(rollout: Rollout, live: Live, verdict: Verdict) -> tuple[str, Owned] | None:
    """The revision and owned fields that the cluster is owed now; None: leave it alone."""
    stable, canary = rollout.stable, rollout.canary
    if not live.known:
        return None
    empty = live.baseline is None
    if empty and rollout.outside:
        return None
    if stable is None:
        return (rollout.wanted, rollout.owned) if empty and rollout.invalid is None else None
    revision, owned = rollout.expected
    over = canary is not None and canary.weight == 100
    if canary is not None and not rollout.admitted and not empty:
        return None
    if empty and not (over and rollout.admitted):
        return stable.revision, Owned(None, stable.label)
    if canary is not None and not over:
        if live.baseline != stable.revision:
            # KServe lost the seat in a race; while the canary loads, 100 puts stable back
            return (revision, Owned(100, canary.label)) if live.latest == stable.revision else None
        owned = _no_rise(canary, live, verdict)
    if canary is None and live.ready and (live.content, live.template) == (revision, Owned(None, stable.label)):
        return revision, live.template  # never lower what is rolled out: KServe would take it for a rollback
    serving = over and live.latest == live.baseline  # it has the traffic already, until the canary is ready
    if live.latest not in (stable.revision, canary and canary.revision) and not serving and not empty:
        owned = Owned(0, owned.label)  # the cap: nobody else gets traffic
    return revision, owned


def _no_rise(canary: Canary, live: Live, verdict: Verdict) -> Owned:
    """Keep a brake on for as long as the verdict says so: never more than the live weight."""
    weight = canary.weight
    if live.template.label == canary.label and verdict.outcome in (Outcome.FAIL, Outcome.BLIND):
        weight = min(weight, 100 if live.template.weight is None else live.template.weight)
    return Owned(weight, canary.label)


def brake(rollout: Rollout, live: Live) -> tuple[str, Owned] | None:
    """The live template with weight 0: what a failing canary gets while its abort cannot be appended."""
    canary = rollout.canary
    if canary is None or not live.known or live.template.label != canary.label or rollout.stable is None:
        return None
    seated = live.baseline == rollout.stable.revision and canary.weight < 100
    return (canary.revision, Owned(0, canary.label)) if seated else None


def owes(rollout: Rollout, live: Live, owed: tuple[str, Owned] | None) -> Due | None:
    """The manifest to apply; None: nothing is due, or it is live already."""
    if owed is None or (live.content, live.template) == owed:
        return None
    revision, owned = owed
    document = rollout.documents[revision]
    return Due(rollout.service, manifest.with_owned(document, owned))
