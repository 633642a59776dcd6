"""Wrong controllers: one rule taken out or turned at a time, so that the simulation shows what it can catch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gitops_serving.controller import tick
from gitops_serving.core import decide, propose
from gitops_serving.core import due as owed
from gitops_serving.core.measure import Outcome
from gitops_serving.core.model import Owned, Promote, Shift, Wait
from gitops_serving.core.propose import Overlay
from gitops_serving.core.rollout import read_rollouts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest

    from gitops_serving.controller.tick import Desk
    from gitops_serving.core.ledger import Record
    from gitops_serving.core.measure import Verdict
    from gitops_serving.core.model import Decision, Live, Rollout, Situation
    from gitops_serving.ports import Tree

Owed = tuple[str, Owned] | None


def naive_revert(patch: pytest.MonkeyPatch) -> None:
    """Restore the old manifest and drop the weight, as `git revert` does, and apply it as it stands."""

    def restoring(record: Record, _: Situation) -> Record:
        return replace(propose._nothing_on_trial(record), settling=False)

    patch.setattr(propose, "_restoring", restoring)
    patch.setattr(tick, "due", _without_cap(owed.due))


def restoration_without_fresh_label(patch: pytest.MonkeyPatch) -> None:
    """Restore stable under the label that it had: nobody can tell the restored revision from the old one."""
    restoring = propose._restoring

    def stale(record: Record, seen: Situation) -> Record:
        restored = restoring(record, seen)
        return replace(restored, stable=record.stable, admissions=record.admissions)

    patch.setattr(propose, "_restoring", stale)


def hand_edited_fields_applied(patch: pytest.MonkeyPatch) -> None:
    """Apply whatever weight and label stand at the head."""
    original = owed.due

    def due(seen: Rollout, live: Live, verdict: Verdict) -> Owed:
        if seen.canary is not None and seen.wanted == seen.canary.revision and not seen.admitted and live.baseline:
            return seen.wanted, replace(seen.owned, label=seen.owned.label or seen.canary.label)
        return original(seen, live, verdict)

    patch.setattr(tick, "due", due)


def head_applied_to_an_empty_cluster(patch: pytest.MonkeyPatch) -> None:
    """Give a rebuilt cluster what stands at the head, canary and weight and all."""
    original = owed.due

    def due(seen: Rollout, live: Live, verdict: Verdict) -> Owed:
        if live.known and live.baseline is None and seen.stable is not None and seen.admitted:
            return seen.wanted, seen.owned
        return original(seen, live, verdict)

    patch.setattr(tick, "due", due)


def admitting_while_a_rejected_revision_is_latest_ready(patch: pytest.MonkeyPatch) -> None:
    """Start the next revision at once after an abort, while the rejected one still is what `latest` means."""
    original = decide.decide

    def hasty(seen: Situation) -> Decision:
        waiting, policy = seen.rollout, seen.policy
        news = waiting.stable is not None and waiting.wanted not in (waiting.stable.revision, "?")
        restoring = waiting.settling and waiting.canary is None
        fresh = news and waiting.wanted not in waiting.rejected and seen.verdict.outcome is not Outcome.BLIND
        if restoring and fresh and policy is not None:
            return Shift(policy.steps[0].weight, "a new revision was pushed")
        return original(seen)

    patch.setattr(tick, "decide", hasty)
    patch.setattr(tick, "due", _without_cap(owed.due))


def starting_the_next_before_the_last_is_written_down(patch: pytest.MonkeyPatch) -> None:
    """Put off a promotion, and start the next push beside the revision that has all traffic already."""
    original, owing = decide.decide, owed.due

    def late(seen: Situation) -> Decision:
        decision, canary, policy = original(seen), seen.rollout.canary, seen.policy
        if not isinstance(decision, Promote) or canary is None or policy is None:
            return decision
        if seen.rollout.wanted not in {canary.revision, "?"} and seen.verdict.outcome is not Outcome.BLIND:
            return Shift(policy.steps[0].weight, "a new revision was pushed")
        return decision if seen.now - canary.since > timedelta(minutes=3) else Wait("it is promoted later")

    def due(seen: Rollout, live: Live, verdict: Verdict) -> Owed:
        given = owing(seen, live, verdict)
        return seen.expected if given is None and live.known and seen.admitted else given  # whoever has the seat

    patch.setattr(tick, "decide", late)
    patch.setattr(tick, "due", due)


def apply_before_append(patch: pytest.MonkeyPatch) -> None:
    """Change the cluster first and tell Git afterwards."""
    original = tick._append

    def hasty(desk: Desk, tree: Tree, decided: Sequence[tuple[Decision, Situation]]) -> Any:
        changes, moved, _ = propose.fold(decided, tree)
        files = {path: content for change in changes for path, content in change.files.items()}
        proposed = read_rollouts(_Proposed(tree, files), desk.environment, desk.clock())
        for situation in moved:
            tick.settle(desk, proposed[situation.rollout.service], situation.live, situation.verdict)  # type: ignore[arg-type]
        return original(desk, tree, decided)

    patch.setattr(tick, "_append", hasty)


def readiness_not_tied_to_the_label(patch: pytest.MonkeyPatch) -> None:
    """Take any ready revision for the one that was asked for."""

    def arrived(_: Rollout, live: Live) -> bool:
        return live.known and live.latest is not None

    def restored(_: Rollout, live: Live) -> bool:
        return live.known and live.latest is not None

    patch.setattr(decide, "arrived", arrived)
    patch.setattr(decide, "restored", restored)
    patch.setattr(tick, "due", _without_cap(owed.due))


def exhaustion_promotes(patch: pytest.MonkeyPatch) -> None:
    """Take silence and a time-out for consent."""
    original = decide.decide

    def hasty(seen: Situation) -> Decision:
        decision = original(seen)
        over = decision.because.startswith(("no evidence in time", "the rollout took longer"))
        return Shift(100, "nobody complained") if over else decision

    patch.setattr(tick, "decide", hasty)


def time_runs_out_unseen(patch: pytest.MonkeyPatch) -> None:
    """Count the time of a rollout, and end it, while Prometheus or the cluster does not answer."""

    def overdue(seen: Situation) -> bool:
        canary, policy = seen.rollout.canary, seen.policy
        assert canary is not None
        assert policy is not None
        return canary.weight < 100 and seen.now - canary.started - seen.rollout.held_in_all > policy.max_duration

    patch.setattr(decide, "overdue", overdue)


def _without_cap(original: Callable[[Rollout, Live, Verdict], Owed]) -> Callable[[Rollout, Live, Verdict], Owed]:
    """Let the latest ready revision have the recorded weight, whoever it is."""

    def due(seen: Rollout, live: Live, verdict: Verdict) -> Owed:
        given = original(seen, live, verdict)
        if given is None or seen.stable is None or live.baseline is None or given[1].weight != 0:
            return given
        return seen.expected if seen.admitted or seen.canary is None else given

    return due


class _Proposed(Overlay):
    """A tree with proposed files over it that can be listed as well."""

    def __init__(self, tree: Tree, files: Mapping[str, bytes]) -> None:
        super().__init__(tree, files)

    def paths(self, under: str = "") -> list[str]:
        """List the files below a folder, proposed ones too."""
        tree: Tree = self.tree  # type: ignore[assignment]  # it was made from one
        return sorted({*tree.paths(under), *(path for path in self.files if path.startswith(under))})


# Each wrong controller with the invariants that it may break first; any other one would be an accident.
WRONG: dict[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]] = {
    naive_revert: ("I5",),
    restoration_without_fresh_label: ("I8", "I5"),
    hand_edited_fields_applied: ("I1", "I5"),
    head_applied_to_an_empty_cluster: ("I2", "I5"),
    admitting_while_a_rejected_revision_is_latest_ready: ("I1", "I5"),
    apply_before_append: ("I1",),
    starting_the_next_before_the_last_is_written_down: ("I9", "I1"),
    readiness_not_tied_to_the_label: ("I5", "I8"),
    exhaustion_promotes: ("I3",),
    time_runs_out_unseen: ("I4",),
}
