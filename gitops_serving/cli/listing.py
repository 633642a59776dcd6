"""What is seen of many services, as rows of a table and as values for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving.core import explain
from gitops_serving.core.ledger import instant
from gitops_serving.core.model import Wait

from .story import live_weight, message, phase, upcoming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gitops_serving.controller.snapshot import Seen, Snapshot
    from gitops_serving.core.errors import Invalid
    from gitops_serving.core.measure import Verdict
    from gitops_serving.core.model import Situation

API_VERSION = "gitops-serving.dev/v1alpha1"
HEADING = ("apiVersion", "kind")  # of a document; the items of a list have none
NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    environment: str
    namespace: str
    name: str
    phase: str
    step: str
    weight: str  # recorded/live
    verdict: str
    message: str


def row(seen: Seen, environment: str) -> Row:
    """Sum up one service."""
    namespace, _, name = seen.service.partition("/")
    situation = seen.situation
    canary = situation.rollout.canary if situation else None
    step, weight = NONE, NONE
    if situation is not None and canary is not None:
        live = live_weight(situation)
        step = explain.step_of(situation, canary.weight) or NONE
        weight = f"{canary.weight}/{'?' if live is None else live}"
    return Row(
        environment=environment,
        namespace=namespace,
        name=name,
        phase=phase(seen),
        step=step,
        weight=weight,
        verdict=situation.verdict.outcome.value if situation and seen.queries else NONE,
        message=message(seen),
    )


def document(rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """List services as values; the form is versioned by apiVersion."""
    items = [{key: value for key, value in each.items() if key not in HEADING} for each in rollouts]
    return {"apiVersion": API_VERSION, "kind": "RolloutList", "items": items}


def rollout(seen: Seen, snapshot: Snapshot) -> dict[str, Any]:
    """Write one service as a document of its own."""
    return {"apiVersion": API_VERSION, "kind": "Rollout", **item(seen, snapshot)}


def item(seen: Seen, snapshot: Snapshot) -> dict[str, Any]:
    """Write one service as values; what is not known is null."""
    namespace, _, name = seen.service.partition("/")
    told: dict[str, Any] = {
        "environment": snapshot.environment,
        "namespace": namespace,
        "name": name,
        "at": instant(snapshot.at),
        "commit": snapshot.tree.commit if snapshot.tree else None,
        "phase": phase(seen),
        "message": message(seen),
        "error": seen.error or None,
        "invalid": _complaints(seen.invalid),
    }
    return told | _known(seen, seen.situation) if seen.situation is not None else told


def _known(seen: Seen, situation: Situation) -> dict[str, Any]:
    """Write what is known of a service whose record could be read."""
    rollout, canary = situation.rollout, situation.rollout.canary
    assert seen.decision is not None
    due = explain.next_change(situation) if isinstance(seen.decision, Wait) else None
    return {
        "decision": explain.ACTIONS[type(seen.decision)],
        "next": upcoming(situation, seen.decision),
        "nextChange": instant(due) if due else None,
        "wanted": rollout.wanted,
        "stable": rollout.stable.revision if rollout.stable else None,
        "canary": canary and {"revision": canary.revision, "label": canary.label, "since": instant(canary.since)},
        "step": (explain.step_of(situation, canary.weight) or None) if canary else None,
        "weight": {"recorded": canary.weight if canary else None, "live": live_weight(situation)},
        "held": rollout.held,
        "traffic": dict(situation.live.shares) if situation.live.known else None,
        "verdict": _verdict(situation.verdict) if seen.queries else None,
        "queries": _queries(seen),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    counted = verdict.requests
    return {
        "outcome": verdict.outcome.value,
        "because": verdict.because,
        "silentForSeconds": verdict.silent_for.total_seconds(),
        "requests": counted and {"canary": counted[0], "stable": counted[1]},
        "evidence": verdict.e,
        "bound": verdict.bound,
        "foresight": verdict.foresight or None,
        "measurements": [
            {
                "metric": m.metric,
                "outcome": m.outcome.value,
                "because": m.because,
                "canary": m.canary,
                "stable": m.stable,
                "limit": m.limit,
                "unit": m.unit,
                "requests": m.requests and {"canary": m.requests[0], "stable": m.requests[1]},
                "evidence": m.e,
                "enforced": m.enforced,
            }
            for m in verdict.measurements
        ],
    }


def _queries(seen: Seen) -> list[dict[str, Any]]:
    readings = seen.readings or {}
    return [
        {
            "name": query.name,
            "expression": query.expression,
            "start": instant(query.start),
            "end": instant(query.end),
            "stepSeconds": query.step.total_seconds(),
            "series": len(reading.series) if reading else 0,
            "samples": sum(len(series.samples) for series in reading.series) if reading else 0,
            "cause": reading.cause if reading else "",
            "blind": reading.blind if reading else False,
            "warnings": list(reading.warnings) if reading else [],
        }
        for query in seen.queries
        for reading in [readings.get(query.name)]
    ]


def _complaints(invalid: Invalid | None) -> list[dict[str, Any]]:
    if invalid is None:
        return []
    return [
        {"code": each.code, "path": each.path, "line": each.line, "message": each.message, "remedy": each.remedy}
        for each in (invalid, *invalid.others)
    ]
