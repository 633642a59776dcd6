from __future__ import annotations

from dataclasses import replace
from typing import get_args

from hypothesis import given

from gitops_serving.core.decide import decide
from gitops_serving.core.due import arrived
from gitops_serving.core.errors import Invalid
from gitops_serving.core.explain import explain, phase
from gitops_serving.core.measure import Outcome, Verdict
from gitops_serving.core.model import (
    UNREADABLE,
    Abort,
    Adopt,
    Decision,
    Drop,
    Promote,
    Refuse,
    Request,
    Settle,
    Shift,
    Situation,
    Wait,
)

from .situations import IDLE, UNKNOWN, checked, quick, situations, trials, with_rollout


def on_trial(seen: Situation) -> bool:
    canary = seen.rollout.canary
    return canary is not None and canary.revision == seen.rollout.wanted


@quick
@given(situations)
def test_every_situation_has_one_move_with_a_reason(seen: Situation) -> None:
    decision = decide(seen)
    assert isinstance(decision, get_args(Decision))
    assert decision.because
    assert decide(seen) == decision
    assert explain(decision, seen).endswith(".")
    assert phase(seen.rollout) in ("New", "Stable", "Pending", "Stepping", "Taking over", "Settling")


@quick
@given(situations)
def test_a_canary_never_grows_without_a_pass_or_a_person(seen: Situation) -> None:
    match decide(seen):
        case Shift() if on_trial(seen):
            assert seen.verdict.outcome is Outcome.PASS or seen.rollout.asked is Request.PROMOTE
        case Promote():
            assert seen.rollout.canary is not None
            assert seen.live.baseline == seen.rollout.canary.revision
        case _:
            pass


@quick
@given(trials)
def test_a_canary_never_grows_while_blind_without_a_person(seen: Situation) -> None:
    seen = checked(replace(seen, verdict=Verdict(Outcome.BLIND, "Prometheus did not answer")))
    if isinstance(decide(seen), Shift):
        assert seen.rollout.asked is Request.PROMOTE or seen.rollout.direct


@quick
@given(situations)
def test_a_weight_given_is_the_first_step_or_the_next_one_or_all(seen: Situation) -> None:
    decision, policy = decide(seen), seen.policy
    if not isinstance(decision, Shift):
        return
    before = seen.rollout.canary.weight if seen.rollout.canary and on_trial(seen) else 0
    above = [step.weight for step in policy.steps if step.weight > before] if policy else []
    assert decision.weight > before
    assert decision.weight in (above[:1] or [100]) or (
        decision.weight == 100 and (seen.rollout.asked is Request.PROMOTE or seen.rollout.direct)
    )


@quick
@given(situations)
def test_a_canary_grows_only_where_it_has_arrived(seen: Situation) -> None:
    if isinstance(decide(seen), Shift) and on_trial(seen):
        assert arrived(seen.rollout, seen.live)
        assert seen.rollout.admitted


@quick
@given(trials)
def test_a_failing_verdict_never_waits(seen: Situation) -> None:
    seen = checked(replace(seen, verdict=Verdict(Outcome.FAIL, "errors 4%")))
    decision = decide(seen)
    assert isinstance(decision, (Abort, Drop, Refuse, Shift))
    if isinstance(decision, Shift):  # a newer push takes its place at the first step
        assert not on_trial(seen)
        assert seen.policy is not None
        assert decision.weight == seen.policy.steps[0].weight
    if on_trial(seen):
        assert decision == Abort(seen.verdict.because, rejects=True)


@quick
@given(trials)
def test_a_person_s_abort_never_waits(seen: Situation) -> None:
    seen = with_rollout(seen, asked=Request.ABORT)
    assert not isinstance(decide(seen), Wait)


@quick
@given(situations)
def test_a_hold_or_a_gate_lets_nothing_grow_but_by_a_person(seen: Situation) -> None:
    if isinstance(decide(replace(seen, gate="a freeze until Monday")), Shift):
        assert seen.rollout.asked is Request.PROMOTE
    if seen.rollout.stable is not None and isinstance(decide(with_rollout(seen, held=True)), Shift):
        assert seen.rollout.asked is Request.PROMOTE


@quick
@given(trials)
def test_a_hold_stops_nothing_that_ends_a_trial(seen: Situation) -> None:
    free = decide(replace(seen, rollout=replace(seen.rollout, held=False)))
    held = decide(replace(seen, rollout=replace(seen.rollout, held=True)))
    if held != free:
        assert isinstance(held, (Wait, Drop))
        timeouts = ("no evidence in time", "not ready in time", "no valid policy", "the rollout took longer")
        assert isinstance(free, (Shift, Wait)) or free.because.startswith(timeouts)


@quick
@given(situations)
def test_a_cluster_that_does_not_answer_confirms_nothing_and_rejects_nobody(seen: Situation) -> None:
    seen = checked(replace(seen, live=UNKNOWN))
    decision = decide(seen)
    assert not isinstance(decision, (Adopt, Promote, Settle))
    if isinstance(decision, Shift):
        assert seen.rollout.asked is Request.PROMOTE
    if isinstance(decision, Abort) and decision.rejects:
        assert seen.verdict.outcome is Outcome.FAIL or seen.rollout.asked is Request.ABORT


@quick
@given(situations)
def test_only_a_failure_a_person_or_the_cluster_s_refusal_rejects(seen: Situation) -> None:
    decision = decide(seen)
    if isinstance(decision, (Abort, Drop)) and decision.rejects:
        reasons = (seen.verdict.because, "a person asked for it", f"the cluster refused it: {seen.live.refused}")
        assert decision.because in reasons or decision.because.startswith("not ready in time (after ")
        assert seen.verdict.outcome is Outcome.FAIL or decision.because != seen.verdict.because


@quick
@given(situations)
def test_a_rejected_revision_never_gets_traffic(seen: Situation) -> None:
    rollout = seen.rollout
    if rollout.stable is None or rollout.wanted in (
        UNREADABLE,
        *(r.revision for r in (rollout.stable, rollout.canary) if r),
    ):
        return
    seen = with_rollout(seen, rejected=rollout.rejected | {rollout.wanted})
    assert isinstance(decide(seen), (Refuse, Promote))


@quick
@given(situations)
def test_only_a_service_that_was_never_adopted_is_adopted(seen: Situation) -> None:
    decision = decide(seen)
    if seen.rollout.stable is None:
        assert isinstance(decision, (Adopt, Wait))
    else:
        assert not isinstance(decision, Adopt)


@quick
@given(situations)
def test_an_unreadable_head_gets_no_weight(seen: Situation) -> None:
    broken = Invalid("not YAML", code="syntax")
    if seen.rollout.stable is None:
        return
    asked = seen.rollout.asked if seen.rollout.canary else None
    seen = replace(seen, gate=str(broken))
    if not seen.rollout.canary:
        seen = replace(seen, verdict=IDLE.verdict)
    seen = with_rollout(seen, wanted=UNREADABLE, invalid=broken, direct=None, asked=asked)
    assert isinstance(decide(seen), (Wait, Drop, Promote, Settle))
