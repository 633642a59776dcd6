"""What is seen of one service, in words: why it waits, on what evidence, and what comes next.

A story is a tree of lines; how it is drawn, on a terminal or elsewhere, is `render`'s
business.  The sentence of the decision itself is the core's, so that commit, table and
story never differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.core import explain
from gitops_serving.core.due import arrived, due, owes
from gitops_serving.core.judge import counted
from gitops_serving.core.ledger import instant, read_record, record_path
from gitops_serving.core.model import UNREADABLE, Outcome, Shift, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from gitops_serving.controller.snapshot import Seen, Snapshot
    from gitops_serving.core.model import Decision, Policy, Query, Reading, Situation

KINDS = {"errors": "response_code_class", "latency": "le"}  # the label that tells a signal's counters apart


@dataclass(frozen=True, slots=True)
class Node:
    """One line, and what belongs below it."""

    text: str
    below: tuple[Node, ...] = ()


def message(seen: Seen) -> str:
    """Say in one line how a service is."""
    if seen.error:
        return seen.error
    if seen.invalid is not None:
        return str(seen.invalid).partition("\n")[0]
    assert seen.situation is not None
    assert seen.decision is not None
    told = explain.explain(seen.decision, seen.situation)
    return f"Held. {told}" if seen.situation.rollout.held and told != "Held." else told


def phase(seen: Seen) -> str:
    """Name where a service stands, or that its files are wrong."""
    if seen.invalid is not None:
        return "Invalid"
    return explain.phase(seen.situation.rollout) if seen.situation else "Unknown"


def live_weight(seen: Situation) -> int | None:
    """Read the canary's share of traffic from the cluster; None: there is no canary, or the cluster is silent."""
    canary = seen.rollout.canary
    if canary is None or not seen.live.known:
        return None
    return seen.live.shares.get(seen.live.names.get(canary.label, ""), 0)


def story(seen: Seen, snapshot: Snapshot) -> Node:
    """Tell everything about one service."""
    head = f"{seen.service} in {snapshot.environment}: {phase(seen)}"
    below = [*_wrong(seen)]
    if (situation := seen.situation) is not None and seen.decision is not None:
        below += [
            Node(f"now: {explain.explain(seen.decision, situation)}"),
            Node(f"next: {upcoming(situation, seen.decision)}"),
            *_owed(situation),
            *_words(seen, snapshot),
            *_revisions(situation),
            *_evidence(seen, situation),
        ]
    if snapshot.tree is not None:
        below.append(Node(f"seen at {instant(snapshot.at)}, at commit {snapshot.tree.commit[:12]}"))
    return Node(head, tuple(below))


def upcoming(seen: Situation, decision: Decision) -> str:
    """Say what happens next, and when."""
    rollout, canary = seen.rollout, seen.rollout.canary
    if isinstance(decision, Shift):
        return f"the next tick of the controller sets weight {decision.weight}%"
    if not isinstance(decision, Wait):
        return f"the next tick of the controller does it: {explain.ACTIONS[type(decision)]}"
    at = explain.next_change(seen)
    if canary is not None and at is not None and seen.policy is not None:
        if not arrived(rollout, seen.live):
            return f"it is aborted unless it is ready by {instant(at)}"
        return _rise(seen, seen.policy, canary.weight, at)
    if rollout.stable is None:
        return "it is adopted when the cluster runs what Git holds, and is at rest"
    if rollout.held:
        return "nothing until somebody resumes it, or the hold ends; a failing verdict still aborts"
    if canary is not None and canary.weight == 100:
        return "it is promoted when the cluster says that all traffic is on it"
    if canary is None and not rollout.settling and rollout.wanted in (rollout.stable.revision, UNREADABLE):
        return "nothing until a new revision is pushed"
    return "it goes on when what it waits for has changed; no point in time is set"


def _rise(seen: Situation, policy: Policy, weight: int, at: datetime) -> str:
    """Say when the weight rises, and to what."""
    above = [step.weight for step in policy.steps if step.weight > weight]
    rise = f"the weight rises to {above[0]}%" if above else "all traffic goes to the canary"
    if at > seen.now:
        return f"{rise} at {instant(at)}, {_seconds(at, seen.now)} from now, if the verdict is pass then"
    if seen.verdict.outcome is Outcome.BLIND:
        return f"{rise} when Prometheus can be read again and the verdict is pass; blindness never aborts"
    silent = seen.verdict.silent_for.total_seconds()
    patience = policy.patience.total_seconds()
    return f"{rise} as soon as the verdict is pass; silent for {silent:.0f} s of the {patience:.0f} s until an abort"


def _seconds(at: datetime, now: datetime) -> str:
    return f"{(at - now).total_seconds():.0f} s"


def _wrong(seen: Seen) -> Iterator[Node]:
    """List everything that is wrong with a service's files, and what failed."""
    if seen.error:
        yield Node(f"failed: {seen.error}")
    if seen.invalid is not None:
        for line in str(seen.invalid).splitlines():
            yield Node(f"invalid: {line}")


def _owed(seen: Situation) -> Iterator[Node]:
    """Say that the cluster has not got what Git owes it: a look gives nothing, so it never hears a refusal."""
    if owes(seen.rollout, seen.live, due(seen.rollout, seen.live, seen.verdict)) is not None:
        yield Node(
            "owed: the next tick of the controller gives the cluster what Git holds; its log says what is refused"
        )


def _words(seen: Seen, snapshot: Snapshot) -> Iterator[Node]:
    """Repeat what people have said, which the record holds."""
    path = record_path(snapshot.environment, seen.service)
    source = snapshot.tree.read(path) if snapshot.tree else None
    if source is None:
        return
    record = read_record(source, path, snapshot.environment)
    if (hold := record.hold) is not None:
        until = f" until {instant(hold.until)}" if hold.until else ""
        yield Node(f"held by {hold.by} since {instant(hold.at)}{until}" + (f": {hold.reason}" if hold.reason else ""))
    if (asked := record.asked) is not None:
        yield Node(f"asked by {asked.by} at {instant(asked.at)}: {asked.what.value} {asked.revision}")
    for rejected in record.rejected:
        yield Node(f"rejected {rejected.revision} at {instant(rejected.at)}: {rejected.because}")


def _revisions(seen: Situation) -> Iterator[Node]:
    """Name the revisions, with their traffic."""
    rollout, live = seen.rollout, seen.live
    if rollout.stable is not None:
        yield Node(f"stable {rollout.stable.revision}" + (f" ({live.rolled})" if live.rolled else ""))
    if (canary := rollout.canary) is not None:
        share = live_weight(seen)
        given = f"weight {canary.weight}% by the record, " + ("live unknown" if share is None else f"{share}% live")
        rank = explain.step_of(seen, canary.weight)
        step = f", step {rank}" if rank else ""
        yield Node(f"canary {canary.revision}: {given}{step}, since {instant(canary.since)}")
    if rollout.stable is not None and rollout.wanted not in (
        rollout.stable.revision,
        rollout.canary and rollout.canary.revision,
    ):
        yield Node(f"wanted {rollout.wanted}" + (" (unreadable)" if rollout.wanted == UNREADABLE else ""))
    if live.known:
        traffic = ", ".join(f"{name} {percent}%" for name, percent in live.shares.items())
        yield Node(f"traffic: {traffic or 'none'}")
    else:
        yield Node(f"cluster: {live.why}")


def _evidence(seen: Seen, situation: Situation) -> Iterator[Node]:
    """Show verdict, measurements and queries."""
    verdict, readings = situation.verdict, seen.readings or {}
    if not seen.queries:
        return
    if verdict.requests is not None:
        canary, stable = verdict.requests
        yield Node(f"requests since the weight arrived: canary {canary:.0f}, stable {stable:.0f}")
    measured = tuple(_measured(seen, situation.policy))
    yield Node(f"verdict {verdict.outcome.value}" + ("" if measured else f": {verdict.because}"), measured)
    first = seen.queries[0]
    span = f"{instant(first.start)} to {instant(first.end)}, every {first.step.total_seconds():g} s"
    asked = tuple(_asked(query, readings) for query in seen.queries)
    yield Node(f"queries, {span}", asked)


def _measured(seen: Seen, policy: Policy | None) -> Iterator[Node]:
    """List the measurements, each with its limit, and the metrics that could not be measured."""
    assert seen.situation is not None
    measurements = seen.situation.verdict.measurements
    for metric in policy.metrics if policy else ():
        for measurement in (m for m in measurements if m.metric == metric.name):
            yield Node(f"{measurement.outcome.value}: {measurement.because}")


def _asked(query: Query, readings: Mapping[str, Reading]) -> Node:
    """Show one query as it was asked, and what it gave."""
    reading = readings.get(query.name)
    if reading is None:
        gave = "was not answered"
    elif not reading.series:
        gave = f"gave nothing: {reading.cause}"
    else:
        gave = f"gave {_gist(query.name, reading)}"
    warned = tuple(Node(f"Prometheus warns: {warning}") for warning in (reading.warnings if reading else ()))
    return Node(f"{query.name} {gave}", (Node(query.expression), *warned))


def _gist(name: str, reading: Reading) -> str:
    """Sum up the answer to one query."""
    samples = sum(len(series.samples) for series in reading.series)
    size = f"{len(reading.series)} series, {samples} samples"
    label = KINDS.get(name.split("/", maxsplit=1)[0])
    if label is None:
        return size
    grown = counted(reading, label)
    if label == "le":
        return f"{size}: {grown.get('+Inf', 0.0):.0f} requests"
    return f"{size}: " + ", ".join(f"{key or 'unnamed'} +{value:.0f}" for key, value in sorted(grown.items()))
