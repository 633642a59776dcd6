from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.decide import UNGUARDED, decide
from gitops_serving.core.errors import Invalid
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import (
    Abort,
    Adopt,
    Drop,
    Live,
    Owned,
    Promote,
    Refuse,
    Repair,
    Request,
    Rollout,
    Settle,
    Shift,
    Situation,
    Stable,
    Step,
    Wait,
)

from .situations import AT_REST, HEALTHY, IDLE, MINUTE, NOON, UNKNOWN, checked, with_live, with_rollout

if TYPE_CHECKING:
    from gitops_serving.core.model import Decision

CANARY = HEALTHY.rollout.canary
assert CANARY is not None
SECOND = timedelta(seconds=1)

# Stepping, in the ways that a trial can go.
BURNING = replace(HEALTHY, verdict=Verdict(Outcome.FAIL, "errors 4% (stable 0.2%)"))
SILENT = replace(HEALTHY, verdict=Verdict(Outcome.SILENT, "12 of 20 requests needed", 15 * MINUTE))
BLIND = replace(HEALTHY, verdict=Verdict(Outcome.BLIND, "Prometheus did not answer"))
QUIET = Verdict(Outcome.SILENT, "nothing is measured now")
STARTING = replace(
    HEALTHY,
    live=replace(HEALTHY.live, latest="v1", ready=False, settled=False, since=NOON + MINUTE),
    verdict=QUIET,
)
FELL_BACK = with_live(replace(HEALTHY, verdict=QUIET), baseline="?")
EDITED = with_rollout(HEALTHY, owned=Owned(60, "v2.2"))
BY_HAND = (
    "weight and label were edited by hand: 60 and v2.2 where the record says 25 and v2.2; "
    "put them back, or ask for abort"
)

# Taking over: the canary's weight is 100.
LAST = replace(HEALTHY.rollout, canary=replace(CANARY, weight=100), owned=Owned(100, "v2.2"))
TAKING_OVER = checked(
    replace(HEALTHY, rollout=LAST, live=replace(HEALTHY.live, template=Owned(100, "v2.2")), verdict=QUIET)
)
TAKEN_OVER = with_live(TAKING_OVER, baseline="v2")

# Pending: a new revision was pushed, and nothing is on trial.
PENDING = with_rollout(IDLE, wanted="v2")

# Superseded: v3 was pushed while v2 is on trial.
SUPERSEDED = with_rollout(HEALTHY, wanted="v3")
PUSHED_BACK = with_rollout(HEALTHY, wanted="v1")

# Settling: an abort put v1 back with weight 0 and a fresh label.
SETTLING = checked(
    replace(
        IDLE,
        rollout=replace(IDLE.rollout, settling=True, stable=Stable("v1", "v1.3"), owned=Owned(0, "v1.3")),
        live=replace(AT_REST, template=Owned(0, "v1.3"), created="v1.3", since=NOON),
    )
)
COMING_BACK = with_live(SETTLING, ready=False, settled=False)
SETTLING_WITH_PUSH = with_rollout(SETTLING, wanted="v2", owned=Owned(0, "v1.3"))

# New: never adopted.
NEW = checked(
    replace(
        IDLE,
        rollout=Rollout(service="fraud/scorer", wanted="v1"),
        live=replace(AT_REST, template=Owned(), created="v1"),
    )
)


def held(seen: Situation) -> Situation:
    return with_rollout(seen, held=True)


def gated(seen: Situation) -> Situation:
    return replace(seen, gate="a freeze until Monday")


def asked(seen: Situation, what: Request) -> Situation:
    return with_rollout(seen, asked=what)


def unguarded(seen: Situation) -> Situation:
    return checked(replace(seen, policy=None, verdict=QUIET))


def at_weight(weight: int) -> Situation:
    assert CANARY is not None
    owned = Owned(weight, "v2.2")
    seen = replace(HEALTHY, rollout=replace(HEALTHY.rollout, canary=replace(CANARY, weight=weight), owned=owned))
    return with_live(seen, template=owned)


PASSED = "errors 0.2% (stable 0.2%)"
ONE_STEP = replace(HEALTHY.policy, steps=(Step(80, MINUTE),)) if HEALTHY.policy else None
RULES: dict[str, tuple[Situation, Decision]] = {
    # New
    "what runs at rest and equals git is adopted": (NEW, Adopt()),
    "nothing is adopted before it is at rest": (
        with_live(NEW, settled=False),
        Wait("the cluster is not at rest yet"),
    ),
    "nothing is adopted that is not the baseline": (
        with_live(NEW, baseline="?"),
        Wait("the cluster is not at rest yet"),
    ),
    "nothing is adopted on a status that may be that of the manifest before": (
        with_live(NEW, unheard=NEW.now - MINUTE),
        Wait("the cluster is not at rest yet"),
    ),
    "a status that never turns is believed after a minute": (
        with_live(NEW, unheard=NEW.now - MINUTE - timedelta(seconds=1)),
        Adopt(),
    ),
    "what differs from git is out of sync": (
        with_live(NEW, content="v0", latest="?", created="?"),
        Wait("out of sync: the cluster runs something else than Git holds; push what it runs, or delete it there"),
    ),
    "a first revision starts": (replace(NEW, live=Live(content="v1")), Wait("the first revision is starting")),
    "before there is an object nothing starts": (
        replace(NEW, live=Live()),
        Wait("there is no object yet; the next tick of the controller creates it, or its log says why not"),
    ),
    "a first revision that cannot start says why": (
        replace(NEW, live=Live(content="v1", created="v1", failure="the image cannot be pulled")),
        Wait("the image cannot be pulled"),
    ),
    "nothing is adopted unseen": (
        replace(NEW, live=UNKNOWN),
        Wait("the API server did not answer"),
    ),
    # Stable
    "stable at rest waits": (IDLE, Wait("nothing to roll out")),
    "stable waits while the cluster is lost": (replace(IDLE, live=Live()), Wait("nothing to roll out")),
    "a weight written by hand is repaired": (
        with_rollout(IDLE, owned=Owned(30, "v1.1")),
        Repair("owned fields were edited"),
    ),
    "a label removed by hand is repaired": (with_rollout(IDLE, owned=Owned()), Repair("owned fields were edited")),
    # Settling
    "an abort that has arrived settles": (SETTLING, Settle()),
    "an abort that has not arrived waits": (COMING_BACK, Wait("the stable revision is coming back")),
    "an abort does not settle on the bad canary": (
        with_live(SETTLING, created="v2.2", latest="v2"),
        Wait("the stable revision is coming back"),
    ),
    "an abort settles on a cluster that was rebuilt": (with_live(SETTLING, template=Owned(None, "v1.3")), Settle()),
    "an abort does not settle unseen": (
        replace(SETTLING, live=UNKNOWN),
        Wait("the API server did not answer"),
    ),
    "a weight 0 removed by hand is put back": (
        with_rollout(SETTLING, owned=Owned(None, "v1.3")),
        Repair("owned fields were edited"),
    ),
    "a push during a restore lets it settle first": (SETTLING_WITH_PUSH, Settle()),
    "a push during a restore waits for it": (
        with_rollout(COMING_BACK, wanted="v2"),
        Wait("the stable revision is coming back; then the new one"),
    ),
    # Pending
    "a push goes on trial at the first step": (PENDING, Shift(5, "a new revision was pushed")),
    "a push waits while it is held": (held(PENDING), Wait("held")),
    "a push waits for the gate": (gated(PENDING), Wait("a freeze until Monday")),
    "a push waits for a policy": (unguarded(PENDING), Wait("no valid policy")),
    "no rollout starts blind": (
        replace(PENDING, verdict=BLIND.verdict),
        Wait("Prometheus did not answer; no rollout starts blind"),
    ),
    "a push waits until stable is latest ready": (
        with_live(PENDING, latest="v0", created="v0.7"),
        Wait("the stable revision is not in place"),
    ),
    "a push waits until stable is the baseline": (
        with_live(PENDING, baseline="?"),
        Wait("the stable revision is not in place"),
    ),
    "a push waits for the cluster to answer": (
        replace(PENDING, live=UNKNOWN),
        Wait("the API server did not answer"),
    ),
    "what was stable before needs no trial": (
        with_rollout(PENDING, direct="it was stable before"),
        Shift(100, "it was stable before"),
    ),
    "what needs no trial needs no policy and no prometheus": (
        replace(with_rollout(PENDING, direct="only its scaling changed"), policy=None, verdict=BLIND.verdict),
        Shift(100, "only its scaling changed"),
    ),
    "what needs no trial is held all the same": (held(with_rollout(PENDING, direct="only its scaling")), Wait("held")),
    "a person promotes a pending revision": (asked(PENDING, Request.PROMOTE), Shift(100, "a person asked for it")),
    "a person's promote beats a hold": (held(asked(PENDING, Request.PROMOTE)), Shift(100, "a person asked for it")),
    "a rejected revision is refused": (
        with_rollout(PENDING, rejected=frozenset({"v2"})),
        Refuse("this revision was rejected before; ask for a retry to try it again"),
    ),
    "a rejected revision is refused even where a person asks to promote it": (
        asked(with_rollout(PENDING, rejected=frozenset({"v2"})), Request.PROMOTE),
        Refuse("this revision was rejected before; ask for a retry to try it again"),
    ),
    "an unreadable manifest waits for its gate": (
        with_rollout(replace(IDLE, gate="not YAML"), wanted="?", invalid=Invalid("not YAML", code="syntax")),
        Wait("not YAML"),
    ),
    # Superseded
    "a newer push starts over at the first step": (SUPERSEDED, Shift(5, "a new revision was pushed")),
    "a newer push does not wait for what is on trial": (
        replace(SUPERSEDED, live=STARTING.live, verdict=QUIET),
        Shift(5, "a new revision was pushed"),
    ),
    "a newer push replaces a failing canary": (
        replace(SUPERSEDED, verdict=BURNING.verdict),
        Shift(5, "a new revision was pushed"),
    ),
    "a failing canary is dropped where the newer push is held": (
        held(replace(SUPERSEDED, verdict=BURNING.verdict)),
        Drop("errors 4% (stable 0.2%)", rejects=True),
    ),
    "an abort is obeyed where the newer push is held": (
        held(asked(SUPERSEDED, Request.ABORT)),
        Drop("a person asked for it", rejects=True),
    ),
    "a canary that lost its seat is dropped for the newer push": (
        with_live(SUPERSEDED, baseline="?"),
        Drop("the cluster fell back while a newer revision was pushed"),
    ),
    "a promote of the canary is not one of the newer push": (
        held(asked(SUPERSEDED, Request.PROMOTE)),
        Wait("held"),
    ),
    "a rejected revision is refused while another is on trial": (
        with_rollout(SUPERSEDED, rejected=frozenset({"v3"})),
        Refuse("this revision was rejected before; ask for a retry to try it again"),
    ),
    "stable pushed back aborts": (PUSHED_BACK, Abort("the stable revision was pushed back")),
    "stable pushed back aborts a held canary unseen": (
        held(replace(PUSHED_BACK, live=UNKNOWN, verdict=QUIET)),
        Abort("the stable revision was pushed back"),
    ),
    # Stepping
    "a passed step leads to the next weight": (HEALTHY, Shift(50, PASSED)),
    "the last step leads to all traffic": (at_weight(50), Shift(100, f"all steps passed; {PASSED}")),
    "a weight beyond a changed policy leads to all traffic": (
        at_weight(77),
        Shift(100, f"all steps passed; {PASSED}"),
    ),
    "a weight below a changed policy dwells like its first step": (
        replace(HEALTHY, policy=ONE_STEP),
        Shift(80, PASSED),
    ),
    "a step dwells": (replace(HEALTHY, now=NOON + 5 * MINUTE - SECOND), Wait("healthy, dwelling")),
    "a step is over when its dwell is": (replace(HEALTHY, now=NOON + 5 * MINUTE), Shift(50, PASSED)),
    "dwell begins when the weight arrived": (with_live(HEALTHY, since=NOON + 2 * MINUTE), Wait("healthy, dwelling")),
    "dwell begins no earlier than the weight was written": (
        with_live(HEALTHY, since=NOON - 60 * MINUTE),
        Shift(50, PASSED),
    ),
    "a failing canary is aborted": (BURNING, Abort("errors 4% (stable 0.2%)", rejects=True)),
    "a failing verdict beats a hold": (held(BURNING), Abort("errors 4% (stable 0.2%)", rejects=True)),
    "a failing verdict beats a gate": (gated(BURNING), Abort("errors 4% (stable 0.2%)", rejects=True)),
    "a failing verdict beats a promote": (
        asked(BURNING, Request.PROMOTE),
        Abort("errors 4% (stable 0.2%)", rejects=True),
    ),
    "a failing verdict beats an edited head": (
        replace(EDITED, verdict=BURNING.verdict),
        Abort("errors 4% (stable 0.2%)", rejects=True),
    ),
    "a failing verdict does not wait for the cluster": (
        replace(BURNING, live=UNKNOWN),
        Abort("errors 4% (stable 0.2%)", rejects=True),
    ),
    "a cluster that fell back ends the trial": (FELL_BACK, Abort("the cluster fell back to another revision")),
    "a cluster that fell back while the canary loads is re-seated": (
        with_live(STARTING, baseline="?"),
        Wait("the canary is starting"),
    ),
    "a canary that took all traffic below 100 is aborted": (
        with_live(HEALTHY, baseline="v2"),
        Abort("the cluster fell back to another revision"),
    ),
    "a person's abort is obeyed": (asked(HEALTHY, Request.ABORT), Abort("a person asked for it", rejects=True)),
    "a person's abort beats a hold": (
        held(asked(HEALTHY, Request.ABORT)),
        Abort("a person asked for it", rejects=True),
    ),
    "a person's abort does not wait for the cluster": (
        replace(asked(HEALTHY, Request.ABORT), live=UNKNOWN),
        Abort("a person asked for it", rejects=True),
    ),
    "a head edited by hand waits for people": (EDITED, Wait(BY_HAND)),
    "a head edited by hand is not promoted": (
        asked(EDITED, Request.PROMOTE),
        Wait(BY_HAND),
    ),
    "a refused manifest is aborted with the server's words": (
        with_live(STARTING, refused="denied by webhook"),
        Abort("the cluster refused it: denied by webhook", rejects=True),
    ),
    "a person promotes what has arrived": (asked(HEALTHY, Request.PROMOTE), Shift(100, "a person asked for it")),
    "a person promotes without a verdict": (asked(BLIND, Request.PROMOTE), Shift(100, "a person asked for it")),
    "a person promotes what is held": (held(asked(HEALTHY, Request.PROMOTE)), Shift(100, "a person asked for it")),
    "a person's promote waits until the canary has arrived": (
        asked(STARTING, Request.PROMOTE),
        Wait("the canary is starting"),
    ),
    "a held canary stays": (held(HEALTHY), Wait("held")),
    "a gate stops progress": (gated(HEALTHY), Wait("a freeze until Monday")),
    "no policy stops progress": (unguarded(HEALTHY), Wait("no valid policy")),
    "no policy for too long aborts": (
        replace(unguarded(HEALTHY), now=NOON + UNGUARDED + SECOND),
        Abort("no valid policy"),
    ),
    "a starting canary is waited for": (STARTING, Wait("the canary is starting")),
    "a starting canary says why it does not start": (
        with_live(STARTING, failure="the image cannot be pulled"),
        Wait("the image cannot be pulled"),
    ),
    "a canary that never becomes ready is aborted": (
        replace(STARTING, now=NOON + 11 * MINUTE + SECOND),
        Abort("not ready in time (after 10m1s; readyWithin is 10m)", rejects=True),
    ),
    "readiness is counted from the cluster's last change": (
        replace(STARTING, now=NOON + 11 * MINUTE),
        Wait("the canary is starting"),
    ),
    "a lost cluster is no reason to reject": (
        replace(STARTING, live=UNKNOWN, now=NOON + 60 * MINUTE),
        Wait("the API server did not answer"),
    ),
    "a cluster that has not seen the canary yet is catching up": (
        replace(STARTING, live=AT_REST, now=NOON + 60 * MINUTE),
        Wait("the cluster is catching up"),
    ),
    "a ready canary whose traffic lags is catching up": (
        with_live(replace(HEALTHY, verdict=QUIET), settled=False),
        Wait("the cluster is catching up"),
    ),
    "a blind prometheus waits": (BLIND, Wait("Prometheus did not answer")),
    "a blind prometheus waits for ever": (replace(BLIND, now=NOON + 6000 * MINUTE), Wait("Prometheus did not answer")),
    "silence waits": (SILENT, Wait("12 of 20 requests needed")),
    "silence beyond patience aborts and rejects nothing": (
        replace(SILENT, verdict=replace(SILENT.verdict, silent_for=15 * MINUTE + SECOND)),
        Abort("no evidence in time (for 15m1s; patience is 15m)"),
    ),
    "silence beyond patience waits while held": (
        held(replace(SILENT, verdict=replace(SILENT.verdict, silent_for=16 * MINUTE))),
        Wait("held"),
    ),
    # Taking over
    "all traffic on the canary promotes it": (TAKEN_OVER, Promote()),
    "a hold does not keep a fact out of the record": (held(TAKEN_OVER), Promote()),
    "a newer push does not keep a fact out of the record": (with_rollout(TAKEN_OVER, wanted="v3"), Promote()),
    "stable pushed back does not keep a fact out of the record": (with_rollout(TAKEN_OVER, wanted="v1"), Promote()),
    "a canary that takes over is waited for": (TAKING_OVER, Wait("the canary is taking over")),
    "a canary that takes over can still be aborted": (
        asked(TAKING_OVER, Request.ABORT),
        Abort("a person asked for it", rejects=True),
    ),
    "nothing is promoted unseen": (
        replace(TAKEN_OVER, live=replace(TAKEN_OVER.live, known=False)),
        Wait("the cluster does not answer"),
    ),
    "nothing is promoted twice": (asked(TAKING_OVER, Request.PROMOTE), Wait("the canary is taking over")),
    "a lost seat while taking over is no reason to go back": (
        with_live(TAKING_OVER, baseline="?"),
        Wait("the canary is taking over"),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    seen, expected = RULES[rule]

    assert decide(checked(seen)) == expected
