"""What is seen of one service, in words: why it waits, on what evidence, and what comes next.

A story is a tree of lines; how it is drawn, on a terminal or elsewhere, is `render`'s
business.  The sentence of the decision itself is the core's, so that commit, table and
story never differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gitops_serving.core import explain
from gitops_serving.core.decide import overdue
from gitops_serving.core.due import arrived, due, owes
from gitops_serving.core.fields import format_duration
from gitops_serving.core.ledger import instant, read_record, record_path
from gitops_serving.core.measure import Outcome
from gitops_serving.core.model import UNREADABLE, Exhausted, Shift, Wait
from gitops_serving.core.plan import WITNESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from gitops_serving.controller.snapshot import Seen, Snapshot
    from gitops_serving.core.explain import Ahead
    from gitops_serving.core.measure import Query, Reading, Series
    from gitops_serving.core.model import Decision, Policy, Situation


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
    if canary is not None and seen.policy is not None and (told := _by_time(seen, seen.policy, canary.weight)):
        return told
    if rollout.stable is None:
        return "it is adopted when the cluster runs what Git holds, and is at rest"
    if rollout.held:
        return "nothing until somebody resumes it, or the hold ends; a failing verdict still aborts"
    if canary is not None and canary.weight == 100:
        return "it is promoted when the cluster says that all traffic is on it"
    if canary is None and not rollout.settling and rollout.wanted in (rollout.stable.revision, UNREADABLE):
        return "nothing until a new revision is pushed"
    return "it goes on when what it waits for has changed; no point in time is set"


def _by_time(seen: Situation, policy: Policy, weight: int) -> str:
    """Say what time will do to a canary; empty: nothing."""
    rollout, ahead = seen.rollout, explain.ahead(seen)
    if ahead.unready is not None and ahead.unready == ahead.first:
        return f"it is aborted unless it is ready by {instant(ahead.unready)}"
    if weight < 100 and rollout.admitted and arrived(rollout, seen.live) and not rollout.held and not seen.gate:
        return _rise(seen, policy, weight, ahead)
    if ahead.overtime is not None:
        most = format_duration(policy.max_duration)
        return (
            f"it is aborted at {instant(ahead.overtime)} unless it has all traffic by then: a rollout is given {most}"
        )
    return ""


def _rise(seen: Situation, policy: Policy, weight: int, ahead: Ahead) -> str:
    """Say when the weight rises, and to what."""
    above = [step.weight for step in policy.steps if step.weight > weight]
    rise = f"the weight rises to {above[0]}%" if above else "all traffic goes to the canary"
    if ahead.dwelt is not None and ahead.dwelt > seen.now:
        at = f"{instant(ahead.dwelt)}, {_seconds(ahead.dwelt, seen.now)} from now"
        return f"{rise} at {at}, if the verdict is pass then"
    if seen.verdict.outcome is Outcome.BLIND:
        return f"{rise} when Prometheus can be read again and the verdict is pass; blindness never aborts"
    if overdue(seen):
        return "nothing until somebody promotes or aborts; a failing verdict still aborts"
    rise += " as soon as the verdict is pass"
    if ahead.overtime is not None and ahead.overtime == ahead.first:
        most = format_duration(policy.max_duration)
        return f"{rise}; it is aborted at {instant(ahead.overtime)} at the latest: a rollout is given {most}"
    if policy.on_silence is Exhausted.HOLD:
        return f"{rise}; under this policy silence never aborts"
    silent = seen.verdict.silent_for.total_seconds()
    return f"{rise}; silent for {silent:.0f} s of the {policy.patience.total_seconds():.0f} s until an abort"


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
        yield Node(f"requests judged at this weight: canary {canary:.0f}, stable {stable:.0f}")
    lines = explain.evidence(situation)
    yield Node(f"verdict {verdict.outcome.value}" + ("" if lines else f": {verdict.because}"), tuple(map(Node, lines)))
    newest = max(query.end for query in seen.queries)
    asked = tuple(_asked(query, readings) for query in seen.queries)
    yield Node(f"queries, up to {instant(newest)}", asked)


def _asked(query: Query, readings: Mapping[str, Reading]) -> Node:
    """Show one query as it was asked, and what it gave."""
    reading = readings.get(query.name)
    if reading is None:
        gave = "was not answered"
    elif not reading.series:
        gave = f"gave nothing: {reading.cause}"
    else:
        gave = f"gave {_gist(query, reading)}"
    warned = tuple(Node(f"Prometheus warns: {warning}") for warning in (reading.warnings if reading else ()))
    every = f"from {query.start:%H:%M:%S} every {query.step.total_seconds():g} s"
    return Node(f"{query.name} {gave}", (Node(f"{query.expression} ({every})"), *warned))


def _gist(query: Query, reading: Reading) -> str:
    """Sum up the answer to one query: gauges by their last value, counters by how much they rose."""
    samples = sum(len(series.samples) for series in reading.series)
    size = f"{len(reading.series)} series, {samples} samples"
    if query.name == WITNESS:
        return size
    if query.name.rsplit("/", 2)[1] == "value":
        return f"{size}: {reading.series[-1].samples[-1][1]:.4g} at last"
    whole = [series for series in reading.series if float(series.labels.get("le", "inf")) == float("inf")]
    return f"{size}: +{sum(map(_risen, whole)):,.0f}"


def _risen(series: Series) -> float:
    """How much a counter rose between its first and its last sample, restarts included."""
    values = [value for _, value in series.samples]
    return sum(after - before if after >= before else after for before, after in pairwise(values))
