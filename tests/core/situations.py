"""Situations for tests: two to start from, a checker that refuses what cannot exist, and strategies for all that can.

A test that proves something about a situation which never occurs proves nothing, so
everything made here goes through `checked`.  The revisions are v1 (stable), v2 (on
trial or pending) and v3 (a newer push); "?" is what nobody knows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import (
    UNREADABLE,
    Canary,
    Exhausted,
    Live,
    Owned,
    Past,
    Policy,
    Request,
    Rollout,
    Situation,
    Stable,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
THREE_STEPS = Policy(
    name="standard",
    digest="9c1e0a77",
    steps=(Step(5, 5 * MINUTE), Step(25, 5 * MINUTE), Step(50, 5 * MINUTE)),
    ready_within=10 * MINUTE,
    patience=15 * MINUTE,
)
UNKNOWN = Live(known=False, why="the API server did not answer")
AT_REST = Live(
    template=Owned(None, "v1.1"),
    content="v1",
    created="v1.1",
    latest="v1",
    baseline="v1",
    settled=True,
    ready=True,
    since=NOON - 60 * MINUTE,
)
IDLE = Situation(
    rollout=Rollout(service="fraud/scorer", wanted="v1", owned=Owned(None, "v1.1"), stable=Stable("v1", "v1.1")),
    policy=THREE_STEPS,
    live=AT_REST,
    verdict=Verdict(Outcome.SILENT, "nothing is measured now"),
    now=NOON + 6 * MINUTE,
    environment="demo",
)
HEALTHY = Situation(
    rollout=Rollout(
        service="fraud/scorer",
        wanted="v2",
        owned=Owned(25, "v2.2"),
        stable=Stable("v1", "v1.1"),
        canary=Canary(revision="v2", label="v2.2", weight=25, started=NOON - 6 * MINUTE, since=NOON),
    ),
    policy=THREE_STEPS,
    live=Live(
        template=Owned(25, "v2.2"),
        content="v2",
        created="v2.2",
        latest="v2",
        baseline="v1",
        settled=True,
        ready=True,
        since=NOON,
    ),
    verdict=Verdict(Outcome.PASS, "errors 0.2% (stable 0.2%)"),
    now=NOON + 6 * MINUTE,
    environment="demo",
)


def with_rollout(seen: Situation, **fields: Any) -> Situation:
    """Change what the tree says in a situation."""
    return checked(replace(seen, rollout=replace(seen.rollout, **fields)))


def with_live(seen: Situation, **fields: Any) -> Situation:
    """Change what the cluster says in a situation."""
    return checked(replace(seen, live=replace(seen.live, **fields)))


# -- what cannot exist -----------------------------------------------------------------------------------------------


class Impossible(AssertionError):
    """A situation that nothing can lead to."""


def checked(seen: Situation) -> Situation:
    """Return a situation that can exist; raise Impossible with everything that speaks against it."""
    reasons = [
        *_rollout_wrong(seen.rollout),
        *_live_wrong(seen.live),
        *_policy_wrong(seen.policy),
        *_verdict_wrong(seen),
        *_times_wrong(seen),
    ]
    if reasons:
        raise Impossible("; ".join(reasons))
    return seen


def _listed(rules: Mapping[str, object]) -> Iterator[str]:
    return (reason for reason, broken in rules.items() if broken)


def _weight_wrong(owned: Owned) -> bool:
    return owned.weight is not None and not 0 <= owned.weight <= 100


def _rollout_wrong(rollout: Rollout) -> Iterator[str]:
    """Say what a tree can never say."""
    stable, canary = rollout.stable, rollout.canary
    named = [r.revision for r in (stable, canary) if r]
    unlabelled = [r for r in (stable, canary) if r and r.label and r.label.split(".")[0] != r.revision]
    rules = {
        "something is remembered of a service that was never adopted": stable is None
        and (canary or rollout.settling or rollout.asked or rollout.direct or rollout.rejected or rollout.held),
        "a new service has a weight": stable is None and rollout.owned.weight is not None,
        "a manifest that cannot be read has no complaint": (rollout.wanted == UNREADABLE) != bool(rollout.invalid),
        "an invalid manifest of a new service is no rollout": stable is None and rollout.invalid,
        "the head's weight is no percentage": _weight_wrong(rollout.owned),
        "the canary is the stable revision": stable and canary and canary.revision == stable.revision,
        "a label is not that of its revision": unlabelled,
        "settling while something is on trial": canary and rollout.settling,
        "stable or canary is rejected": rollout.rejected & set(named),
        "the canary's weight is not from 1 to 100": canary and not 1 <= canary.weight <= 100,
        "the canary was given its weight before it was admitted": canary and canary.since < canary.started,
        "the canary's past is not in order": canary and not _rises(canary),
        "held time is negative": rollout.held_for < timedelta(),
        "nothing is on trial, and it was held": canary is None and rollout.held_for,
        "an abort is asked of nothing": canary is None and rollout.asked is Request.ABORT,
        "a request is about the stable revision": not canary and stable and rollout.asked and rollout.wanted in named,
        "a revision on trial needs no trial": rollout.direct and (canary or rollout.wanted in named),
        "an unreadable revision is known": rollout.wanted == UNREADABLE
        and (rollout.direct or (rollout.asked and not canary)),
        "stable is its own predecessor": stable and rollout.previous == stable.revision,
    }
    return _listed(rules)


def _rises(canary: Canary) -> bool:
    """Whether a canary went through its weights one after the other, and was held at none for longer than it had it."""
    weights = [*(past.weight for past in canary.past), canary.weight]
    given = [*(past.since for past in canary.past), canary.since]
    held = [later - earlier for earlier, later in pairwise(given)]
    return (
        all(a < b for a, b in pairwise(weights))
        and given[0] >= canary.started
        and all(timedelta() <= past.held <= most for past, most in zip(canary.past, held, strict=True))
    )


def _live_wrong(live: Live) -> Iterator[str]:
    """Say what a cluster can never say."""
    newest = live.created.split(".")[0] if live.created else None
    split = live.template.weight is not None and live.template.weight < 100
    rules = {
        "the live weight is no percentage": _weight_wrong(live.template),
        "there is no object, and it has revisions": live.content is None
        and (live.created or live.latest or live.baseline),
        "traffic is settled on a revision that is not ready": live.settled and not live.ready,
        "the newest revision is ready, and another one is latest ready": live.ready
        and (newest is None or live.latest != newest),
        "a baseline without anything that ever was ready": live.baseline and not live.latest,
        "traffic is split with nothing": live.settled and split and live.baseline is None,
    }
    return _listed(rules) if live.known else iter(())


def _policy_wrong(policy: Policy | None) -> Iterator[str]:
    weights = [step.weight for step in policy.steps] if policy else [1]
    rules = {
        "a policy without steps": not weights,
        "a step beyond 100, or at it": any(not 1 <= weight <= 99 for weight in weights),
        "steps that do not rise": any(b <= a for a, b in pairwise(weights)),
    }
    return _listed(rules)


def _verdict_wrong(seen: Situation) -> Iterator[str]:
    """Say what can never be measured."""
    verdict, rollout = seen.verdict, seen.rollout
    canary = rollout.canary
    measured = verdict.outcome in (Outcome.PASS, Outcome.FAIL) or bool(verdict.silent_for)
    idle = canary is None and rollout.stable is not None and rollout.wanted in (rollout.stable.revision, UNREADABLE)
    rules = {
        "a verdict without a policy": measured and seen.policy is None,
        "a verdict without two revisions side by side": measured and (canary is None or canary.weight == 100),
        "silence that is none": verdict.silent_for and verdict.outcome is not Outcome.SILENT,
        "silence is negative": verdict.silent_for < timedelta(),
        "nothing was asked, and nobody answered": verdict.outcome is Outcome.BLIND and (idle or rollout.stable is None),
    }
    return _listed(rules)


def _times_wrong(seen: Situation) -> Iterator[str]:
    """Say what happens too early or too late."""
    canary, live = seen.rollout.canary, seen.live
    rules = {
        "the canary was given its weight in the future": canary and canary.since > seen.now,
        "the cluster changed in the future": live.since and live.since > seen.now,
        "it was held longer than it is on trial": canary and seen.rollout.held_for > seen.now - canary.since,
        "an invalid manifest closes no gate": seen.rollout.invalid and not seen.gate,
    }
    return _listed(rules)


# -- everything that can ---------------------------------------------------------------------------------------------

LABELS = {"v1": ("v1.1", "v1.4"), "v2": ("v2.2", "v2.3"), "v3": ("v3.5",), UNREADABLE: (UNREADABLE,)}
SPANS = st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds))
OWNED = st.builds(
    Owned,
    st.none() | st.sampled_from((0, 5, 25, 50, 100)) | st.integers(0, 100),
    st.none() | st.sampled_from([label for labels in LABELS.values() for label in labels if label != UNREADABLE]),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a valid policy."""
    weights = draw(st.sets(st.integers(1, 99), min_size=1, max_size=5).map(sorted))
    return Policy(
        name="drawn",
        digest="00000000",
        steps=tuple(Step(weight, draw(SPANS)) for weight in weights),
        ready_within=draw(SPANS),
        patience=draw(SPANS),
        on_silence=draw(st.sampled_from(Exhausted)),
        max_duration=draw(SPANS) * 3,
        on_timeout=draw(st.sampled_from(Exhausted)),
    )


@st.composite
def canaries(draw: st.DrawFn, weight: int) -> Canary:
    """Draw who is on trial, with the weights it had before this one."""
    since = started = NOON - draw(SPANS)
    past: list[Past] = []
    lower = draw(st.sets(st.integers(1, 99), max_size=3))
    for before in sorted((w for w in lower if w < weight), reverse=True):
        lasted = draw(SPANS)
        started -= lasted
        past.insert(0, Past(before, started, min(draw(SPANS), lasted)))
    label = draw(st.sampled_from(LABELS["v2"]))
    return Canary(revision="v2", label=label, weight=weight, started=started, since=since, past=tuple(past))


@st.composite
def rollouts(draw: st.DrawFn, *, trial: bool) -> Rollout:
    """Draw what a tree may say of one service; on trial below 100 %, if asked for."""
    wanted = draw(st.sampled_from(("v1", "v2", "v3", UNREADABLE)))
    owned = draw(OWNED)
    stable = draw(st.sampled_from((Stable("v1", None), Stable("v1", "v1.1"), *(() if trial else (None,)))))
    if stable is None:
        readable = "v1" if wanted == UNREADABLE else wanted
        return Rollout(service="fraud/scorer", wanted=readable, owned=Owned(None, owned.label))
    canary = None
    if trial or draw(st.booleans()):
        weight = draw(st.sampled_from((5, 25, 50, *(() if trial else (100, 100, 100)))) | st.integers(1, 99))
        canary = draw(canaries(weight))
    named = {stable.revision, canary.revision if canary else ""}
    rollout = Rollout(
        service="fraud/scorer",
        wanted=wanted,
        owned=owned,
        stable=stable,
        canary=canary,
        settling=canary is None and draw(st.booleans()),
        rejected=frozenset(draw(st.sets(st.sampled_from(("v2", "v3")))) - named),
        held=draw(st.booleans()),
        invalid=Invalid("not YAML", code="syntax") if wanted == UNREADABLE else None,
    )
    if canary is not None:
        asked = draw(st.sampled_from((None, *Request)))
        held_for = min(draw(SPANS), NOON - canary.since)
        rollout = replace(rollout, asked=asked, held_for=held_for)
    elif wanted not in (*named, UNREADABLE):
        asked = draw(st.sampled_from((None, Request.PROMOTE)))
        rollout = replace(rollout, asked=asked, direct=draw(st.sampled_from((None, "it was stable before"))))
    return replace(rollout, owned=rollout.expected[1]) if draw(st.booleans()) else rollout


@st.composite
def lives(draw: st.DrawFn, rollout: Rollout) -> Live:
    """Draw what a cluster may say, now and then exactly what the record expects."""
    kind = draw(st.integers(0, 9))
    if kind < 2:
        return (UNKNOWN, Live())[kind]
    content = draw(st.sampled_from(("v1", "v2", "v3", UNREADABLE)))
    template, created = draw(OWNED), draw(st.sampled_from((*LABELS[content], content)))
    if kind > 4 and rollout.stable is not None:
        content, template = rollout.expected
        created = template.label or content
    elif kind > 4:
        content, created = rollout.wanted, rollout.wanted
    newest = created.split(".")[0]
    if kind > 6:  # it has arrived
        seat = newest if template.weight in (None, 100) else "v1"
        return replace(AT_REST, template=template, content=content, created=created, latest=newest, baseline=seat)
    ready = draw(st.sampled_from((True, True, False)))
    latest = newest if ready else draw(st.sampled_from((None, "v1", "v2", "v3", UNREADABLE)))
    baseline = draw(st.sampled_from((None, "v1", "v2", UNREADABLE, newest))) if latest else None
    split = template.weight is not None and template.weight < 100
    return Live(
        template=template,
        content=content,
        created=created,
        latest=latest,
        baseline=baseline,
        ready=ready,
        settled=ready and not (split and baseline is None) and draw(st.booleans()),
        since=draw(st.none() | SPANS.map(lambda span: NOON - span)),
        refused=draw(st.sampled_from((None, None, "denied by webhook"))),
        failure=draw(st.sampled_from((None, "the image cannot be pulled"))),
    )


@st.composite
def verdicts(draw: st.DrawFn, rollout: Rollout, policy: Policy | None) -> Verdict:
    """Draw a verdict that can be come to."""
    stable, canary = rollout.stable, rollout.canary
    if stable is None or (canary is None and rollout.wanted in (stable.revision, UNREADABLE)):
        return IDLE.verdict
    side_by_side = canary is not None and canary.weight < 100 and policy is not None
    outcome = draw(st.sampled_from(tuple(Outcome) if side_by_side else (Outcome.SILENT, Outcome.BLIND)))
    silent = draw(SPANS) if side_by_side and outcome is Outcome.SILENT else timedelta()
    return Verdict(outcome, f"it is {outcome.value}", silent)


@st.composite
def _situations(draw: st.DrawFn, *, trial: bool) -> Situation:
    rollout, policy = draw(rollouts(trial=trial)), draw(policies() if trial else st.none() | policies())
    gate = str(rollout.invalid) if rollout.invalid else draw(st.sampled_from((None, None, "a freeze until Monday")))
    return checked(
        Situation(
            rollout=rollout,
            policy=policy,
            live=draw(lives(rollout)),
            verdict=draw(verdicts(rollout, policy)),
            now=NOON,
            gate=gate,
            environment="demo",
        )
    )


situations = _situations(trial=False)
trials = _situations(trial=True)  # something is on trial below 100 %, under a valid policy
