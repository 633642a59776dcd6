"""Every situation that there is, over the small domains of `decide`, with words for each.

Who is wanted, what is on trial, what people asked, what the cluster says, what was
measured, how much time has passed: multiplied out, without what cannot be.  A case is
its words; two situations of the same words must get the same answer, or the words do
not say what `decide` looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING

from gitops_serving.core.due import arrived, restored
from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import UNREADABLE, Canary, Exhausted, Live, Owned, Request, Rollout, Situation, Stable

from .situations import AT_REST, MINUTE, NOON, THREE_STEPS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

STABLE, NEWER, BROKEN = "the stable revision", "a newer revision", "something unreadable"
Words = tuple[str, ...]  # one for each domain; empty: it does not matter there


WEIGHTS = {
    5: "a canary is below the last step",
    50: "a canary is at the last step",
    100: "a canary is at 100 %",
}


@dataclass(frozen=True, slots=True)
class Tree:
    """What Git says, in words and as a value."""

    git: str
    trial: str
    asked: str
    head: str
    rollout: Rollout


def trees() -> Iterator[Tree]:
    """Multiply out what Git may say: who is wanted, what is on trial, what was asked, whether the head was edited."""
    stable = Stable("v1", "v1.1")
    yield Tree("Git holds a first revision", "", "", "", Rollout(service="a/b", wanted="v1"))
    for settling, (wanted, git) in product((False, True), _wanted(trial=False)):
        asks = (None, Request.PROMOTE) if git.startswith("Git holds a newer") else (None,)
        for asked, edited in product(asks, (False, True)):
            rollout = Rollout(service="a/b", wanted=wanted, stable=stable, settling=settling, asked=asked)
            rollout = replace(rollout, direct="it was stable before" if "needs no trial" in git else None)
            yield _tree(git, "an abort is settling" if settling else "nothing is on trial", rollout, edited)
    for weight, (wanted, git) in product((5, 50, 100), _wanted(trial=True)):
        if weight == 5 and wanted != "v2":
            continue  # which step it is on matters only to who is on trial
        canary = Canary(revision="v2", label="v2.2", weight=weight, started=NOON, since=NOON)
        for asked, edited in product((None, *Request), (False, True)):
            rollout = Rollout(service="a/b", wanted=wanted, stable=stable, canary=canary, asked=asked)
            yield _tree(git, WEIGHTS[weight], rollout, edited)


def _wanted(*, trial: bool) -> Iterator[tuple[str, str]]:
    """List whom Git may want: stable, the canary, or something newer."""
    yield "v1", f"Git holds {STABLE}"
    if trial:
        yield "v2", "Git holds the canary"
    else:
        yield "v3", f"Git holds {NEWER} that needs no trial"
    yield "v3", f"Git holds {NEWER}"
    yield "v3", f"Git holds {NEWER} that was rejected"
    yield UNREADABLE, f"Git holds {BROKEN}"


def _tree(git: str, trial: str, rollout: Rollout, edited: bool) -> Tree:
    """Finish a rollout: owned fields as recorded or edited, the rejected and the unreadable ones marked."""
    broken = Invalid("the manifest is not valid", code="syntax") if rollout.wanted == UNREADABLE else None
    owned = Owned(60, "edited") if edited else rollout.expected[1]
    rejected = frozenset({"v3"}) if git.endswith("rejected") else frozenset()
    rollout = replace(rollout, owned=owned, rejected=rejected, invalid=broken)
    asked = f"a person asked to {rollout.asked.value}" if rollout.asked else "nobody asked for anything"
    head = "weight or label was edited by hand" if edited else "weight and label are as recorded"
    return Tree(git, trial, asked, head, rollout)


def lives(rollout: Rollout) -> Iterator[tuple[Words, Live]]:
    """Multiply out what the cluster may say: how far the newest revision is, who has the seat, and what was refused."""
    yield ("the cluster does not answer", "", "", ""), UNKNOWN
    content, owned = rollout.expected if rollout.stable else (rollout.wanted, rollout.owned)
    written = replace(AT_REST, template=owned, content=content, created=owned.label or content, latest=content)
    older = replace(written, template=Owned(None, "v0.1"), content="v0", created="v0.1", latest="v0")
    far = (
        written,
        replace(written, settled=False),
        replace(written, settled=False, ready=False, latest="v1"),
        replace(written, settled=False, ready=False, latest="?"),
        older,
        replace(older, settled=False, ready=False, latest="v1"),
        AT_REST,
        Live(),
    )
    for live, baseline, refused in product(far, (None, "v1", "v2", "?"), (None, "denied")):
        split = live.settled and live.template.weight not in (None, 100)
        if (baseline and not live.latest) or (split and not baseline):
            continue  # nothing is rolled out that never was ready, and no traffic is split with nothing
        found = replace(live, baseline=baseline, refused=refused)
        latest = "stable is latest ready" if live.latest == "v1" else "stable is not latest ready"
        said = "the cluster refused the manifest" if refused else ""
        yield (_far(rollout, found), _seat(rollout, found), latest, said), found


def _far(rollout: Rollout, live: Live) -> str:
    """Say how far the cluster is."""
    if rollout.stable is None:
        same = live.settled and live.latest == rollout.wanted
        return "the cluster is at rest on it" if same else "the cluster is not at rest on it"
    if arrived(rollout, live) or (rollout.settling and restored(rollout, live)):
        return "what was written has arrived"
    if rollout.canary and live.created == rollout.canary.label and not live.ready:
        return "the canary is loading"
    return "the cluster is catching up"


def _seat(rollout: Rollout, live: Live) -> str:
    """Say whom the cluster falls back to."""
    if live.baseline is None:
        return "the seat is empty"
    if live.baseline == "v1":
        return "stable has the seat" if rollout.stable else "it has the seat"
    return "the canary has the seat" if rollout.canary and live.baseline == "v2" else "another has the seat"


VERDICTS = {
    "the canary passes": Verdict(Outcome.PASS, "it passes"),
    "the canary fails": Verdict(Outcome.FAIL, "it fails"),
    "Prometheus is blind": Verdict(Outcome.BLIND, "it is blind"),
    "there is too little to judge": Verdict(Outcome.SILENT, "it is silent"),
    "there was too little for too long, which aborts": Verdict(Outcome.SILENT, "it is silent", 16 * MINUTE),
    "there was too little for too long, which holds": Verdict(Outcome.SILENT, "it is silent", 16 * MINUTE),
}
CLOCKS = {
    "the weight is fresh": timedelta(minutes=1),
    "the dwell is over": timedelta(minutes=6),
    "readyWithin is over": timedelta(minutes=11),
    "30 minutes are over": timedelta(minutes=31),
}
ENDS = {False: Exhausted.ABORT, True: Exhausted.HOLD}
AGES = {
    "it is in time": timedelta(),
    "maxDuration is over, which aborts": timedelta(hours=6),
    "maxDuration is over, which holds": timedelta(hours=6),
}
POLICIES = {  # by whether silence holds, and whether time does
    holds: replace(THREE_STEPS, on_silence=ENDS[holds[0]], on_timeout=ENDS[holds[1]])
    for holds in product((False, True), repeat=2)
}
PROGRESS = {
    "progress is open": (False, None),
    "it is held": (True, None),
    "a gate is closed": (False, "the gate is closed"),
}


def cases() -> Iterator[tuple[Words, Situation]]:
    """Multiply everything out, and leave out what cannot be."""
    for tree in trees():
        worlds = list(lives(tree.rollout))
        for (progress, (held, gate)), policy in product(PROGRESS.items(), (THREE_STEPS, None)):
            if tree.rollout.stable is None and held:
                continue
            rollout = replace(tree.rollout, held=held)
            if rollout.invalid and gate is None:
                continue  # an invalid manifest closes the gate
            guard = "a policy is there" if policy else "there is no valid policy"
            aged = {age: _aged(rollout, age) for age in _ages(tree, policy)}
            domains = (_verdicts(tree, policy), worlds, _clocks(tree), aged.items())
            for verdict, (cluster, live), clock, (age, at_age) in product(*domains):
                words = (tree.git, tree.trial, tree.asked, tree.head, progress, guard, verdict, *cluster, clock, age)
                yield (
                    words,
                    Situation(
                        rollout=at_age,
                        policy=policy and POLICIES[verdict.endswith("holds"), age.endswith("holds")],
                        live=live,
                        verdict=VERDICTS[verdict],
                        now=NOON + CLOCKS.get(clock, MINUTE),
                        gate=gate,
                    ),
                )


def _aged(rollout: Rollout, age: str) -> Rollout:
    """Let the canary be admitted earlier."""
    if rollout.canary is None or not age:
        return rollout
    return replace(rollout, canary=replace(rollout.canary, started=NOON - AGES[age]))


def _verdicts(tree: Tree, policy: object) -> list[str]:
    """List what can be measured: only a canary below 100 %, under a policy, passes or fails."""
    canary = tree.rollout.canary
    if canary is not None and canary.weight < 100 and policy is not None:
        return list(VERDICTS)
    pending = tree.rollout.stable is not None and tree.rollout.wanted not in ("v1", UNREADABLE)
    return [*(["Prometheus is blind"] if pending or canary else []), "there is too little to judge"]


def _clocks(tree: Tree) -> list[str]:
    return list(CLOCKS) if tree.git == "Git holds the canary" else [""]


def _ages(tree: Tree, policy: object) -> list[str]:
    return list(AGES) if tree.git == "Git holds the canary" and policy else [""]
