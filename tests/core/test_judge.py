"""Evidence to verdicts: four outcomes, and what each of them rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.judge import assess, judge
from gitops_serving.core.measure import Kind, Metric, Outcome, Reading, Series, Source, Verdict
from gitops_serving.core.plan import WITNESS, Plan, terms
from gitops_serving.core.samples import Folded

from .moments import DRIFT, ERRORS, LATENCY, both, folded, steady
from .situations import MINUTE, NOON, THREE_STEPS, quick

if TYPE_CHECKING:
    from datetime import datetime

    from gitops_serving.core.evidence import Evidence, Moment

SECOND = timedelta(seconds=1)
NOW = NOON + 10 * MINUTE
COUNTER, BUCKETS = Source(kind=Kind.COUNTER, parts={}), Source(kind=Kind.HISTOGRAM, parts={})
METRICS = {
    "errors": Metric(name="errors", sources=(COUNTER,), tolerance=0.2, at_least=0.0005, unit="ratio"),
    "latency": Metric(name="latency", sources=(BUCKETS,), tolerance=0.1, unit="seconds"),
    "drift": Metric(name="drift", sources=(Source(kind=Kind.DRIFT, parts={}),)),
}
POLICY = replace(THREE_STEPS, metrics=(METRICS["errors"],))
GOOD, BAD = steady(ERRORS, (2.0, 0.001), (18.0, 0.001)), steady(ERRORS, (2.0, 0.4), (18.0, 0.001))
QUIET = steady(ERRORS, (0.0, 0.0), (18.0, 0.001))
BLIND = Reading(cause="Prometheus did not answer", blind=True)


def witnessed(until: datetime = NOW) -> Reading:
    return Reading((Series({}, ((until.timestamp(), 3.0),)),))


def planned(**fields: object) -> Plan:
    made = Plan(origin=NOON, step=10 * SECOND, steps=(0.0,), terms=terms(POLICY))
    return replace(made, **fields)  # type: ignore[arg-type]


def kept(evidence: Evidence, **wrong: str) -> Folded:
    return Folded(key=(), until=60, evidence=evidence, wrong=wrong)


def verdict(
    moments: list[Moment],
    *,
    witness: Reading | None = None,
    since: datetime | None = None,
    held: timedelta = timedelta(),
    now: datetime = NOW,
    plan: Plan | None = None,
    **wrong: str,
) -> Verdict:
    readings = {WITNESS: witness or witnessed()}
    evidence = folded(moments, ERRORS)
    return judge(POLICY, plan or planned(), readings, kept(evidence, **wrong), now=now, since=since, held=held)


# -- the outcomes ----------------------------------------------------------------------------------------------------


def test_a_canary_as_good_as_stable_passes_with_the_numbers_it_rests_on() -> None:
    found = verdict(GOOD)
    assert (found.outcome, found.silent_for) == (Outcome.PASS, timedelta())
    assert found.because == (
        "errors 0.10% of 1,020 requests, stable 0.10% of 9,180 (up to 0.17% is allowed); evidence 0.44"
    )
    assert found.requests == (1020.0, 9180.0)
    assert found.bound == 20
    assert found.e == pytest.approx(0.8 * found.measurements[0].e, abs=0.2)


def test_a_canary_that_is_worse_fails_with_what_is_proof() -> None:
    found = verdict(BAD)
    assert found.outcome is Outcome.FAIL
    assert found.e >= found.bound == 20
    assert found.because.startswith("errors 40.00% of ")
    assert found.because.endswith("and 20 is proof")


def test_a_failure_stands_whatever_comes_after_it() -> None:
    better = [replace(moment, t=moment.t + 610, step=1) for moment in GOOD]  # a restart of both, and all is well
    found = verdict([*BAD, *better], now=NOW + 10 * MINUTE, witness=witnessed(NOW + 10 * MINUTE))
    assert found.outcome is Outcome.FAIL
    assert found.because == verdict(BAD).because


def test_a_failure_that_was_measured_stands_while_prometheus_is_blind_and_says_so() -> None:
    """Otherwise a new rollout could start blind because an old one had failed."""
    found = verdict(BAD, witness=BLIND)
    assert (found.outcome, found.blind) == (Outcome.FAIL, "Prometheus did not answer")
    assert verdict(BAD).blind == ""


def test_too_few_requests_are_silence_with_words() -> None:
    found = verdict(QUIET)
    assert found.outcome is Outcome.SILENT
    assert found.because == "errors: 0 of 20 requests needed of the canary at this weight"


def test_where_prometheus_does_not_answer_we_are_blind_whatever_else_was_read() -> None:
    for moments in (GOOD, QUIET):
        found = verdict(moments, witness=BLIND)
        assert (found.outcome, found.because, found.silent_for) == (
            Outcome.BLIND,
            "Prometheus did not answer",
            timedelta(),
        )


def test_one_blind_answer_among_others_blinds() -> None:
    readings = {WITNESS: witnessed(), "errors/total/canary": BLIND}
    found = judge(POLICY, planned(), readings, kept(folded(GOOD, ERRORS)), now=NOW)
    assert found.outcome is Outcome.BLIND


def test_evidence_that_smells_holds_and_says_so() -> None:
    found = verdict(steady(ERRORS, (2.0, 0.4), (18.0, 0.001), until=100, history=600))
    assert found.outcome is Outcome.SILENT
    assert "which smells" in found.because


@quick
@given(st.integers(0, 600), st.integers(1, 300), st.sampled_from([0.0, 0.001, 0.05, 0.4]))
def test_nothing_passes_with_fewer_requests_than_the_policy_asks_for(until: int, needed: int, bad: float) -> None:
    evidence = folded(steady(ERRORS, (0.5, bad), (18.0, 0.001), until=until), ERRORS, min_requests=needed)
    found = assess(replace(POLICY, min_requests=needed), evidence, {})
    if evidence.tallies["errors"].requests[0] < needed:
        assert found.outcome is not Outcome.PASS


def test_nothing_passes_without_a_measurement_that_is_enforced() -> None:
    policy = replace(POLICY, metrics=(METRICS["errors"], METRICS["latency"]))
    half = folded(GOOD, ERRORS, LATENCY)
    assert assess(policy, half, {}).outcome is Outcome.SILENT
    whole = folded(both(GOOD, steady(LATENCY, (2.0, 0.1), (18.0, 0.1))), ERRORS, LATENCY)
    assert assess(policy, whole, {}).outcome is Outcome.PASS


# -- when we are blind -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "outcome"), [(45, Outcome.PASS), (46, Outcome.BLIND)])
def test_a_prometheus_that_scrapes_no_more_blinds(seconds: int, outcome: Outcome) -> None:
    """Two steps of the grid, what a scrape may be late, and a slow answer are forgiven."""
    found = verdict(GOOD, now=NOW + seconds * SECOND)
    assert found.outcome is outcome
    if outcome is Outcome.BLIND:
        assert found.because == "Prometheus has scraped nothing for 46 s, or its clock is not ours"


def test_a_look_that_asks_about_few_instants_goes_by_what_was_scraped_before_too() -> None:
    """A single instant without a scrape blinded who had a cache, and nobody else."""
    nothing = Reading(cause="no series")
    assert verdict(GOOD, witness=nothing).outcome is Outcome.PASS
    assert judge(POLICY, Plan(), {WITNESS: nothing}, None, now=NOW).because == "no series"


def test_a_prometheus_that_never_scraped_blinds_with_words() -> None:
    found = judge(POLICY, Plan(), {WITNESS: Reading()}, None, now=NOW)
    assert (found.outcome, found.because) == (Outcome.BLIND, "Prometheus answers, and has scraped nothing lately")


def test_who_is_catching_up_is_neither_blind_nor_silent() -> None:
    found = verdict(QUIET, witness=Reading(cause="no series"), plan=planned(behind=12))
    assert (found.outcome, found.silent_for) == (Outcome.SILENT, timedelta())
    assert found.because == "catching up with the evidence; 120 s of it are left"
    assert found.drifting == timedelta(seconds=120)  # for all that is known
    assert verdict(BAD, plan=planned(behind=12)).outcome is Outcome.FAIL


# -- silence ---------------------------------------------------------------------------------------------------------


def test_silence_lasts_as_long_as_was_scraped_without_what_was_held() -> None:
    assert verdict(QUIET).silent_for == 550 * SECOND
    assert verdict(QUIET, held=100 * SECOND).silent_for == 450 * SECOND
    assert verdict(QUIET, held=timedelta(hours=1)).silent_for == timedelta()


def test_nobody_is_silent_before_the_weight_arrived() -> None:
    """A model that loads for longer than patience lasts was aborted for silence the moment it was ready."""
    assert verdict(QUIET, since=NOW - 30 * SECOND).silent_for == 30 * SECOND
    assert verdict(QUIET, since=NOW - 30 * MINUTE).silent_for == 550 * SECOND
    assert verdict(QUIET, since=NOW + MINUTE).silent_for == timedelta()


def test_a_query_that_is_wrong_is_no_silence_and_lets_nothing_pass() -> None:
    for moments in (GOOD, QUIET):
        found = verdict(moments, errors="parse error")
        assert (found.outcome, found.silent_for) == (Outcome.SILENT, timedelta())
        assert found.because == "errors: parse error"


def test_drift_is_no_silence() -> None:
    policy = replace(POLICY, metrics=(METRICS["errors"], METRICS["drift"]))
    drifting = steady(DRIFT, (20.0, 0.9), (180.0, 0.1))
    found = assess(policy, folded(both(GOOD, drifting), ERRORS, DRIFT), {}, timedelta())
    assert found.outcome is Outcome.SILENT
    assert "drift predictions are spread otherwise than stable's" in found.because


# -- dry runs --------------------------------------------------------------------------------------------------------


def test_a_dry_run_is_reported_and_never_obeyed() -> None:
    dry = replace(METRICS["errors"], name="dry", enforced=False)
    policy = replace(POLICY, metrics=(METRICS["errors"], dry))
    broken = [replace(moment, pairs={"dry": moment.pairs["errors"]}) for moment in BAD]
    questions = (ERRORS, replace(ERRORS, name="dry", enforced=False))
    found = assess(policy, folded(both(GOOD, broken), *questions), {"dry": "parse error"})
    assert found.outcome is Outcome.PASS
    assert found.measurements[1].because == "dry: parse error"

    told = assess(policy, folded(both(GOOD, broken), *questions), {}).measurements[1]
    assert told.because.startswith("(dry run) dry 40.00% of ")
    assert told.e > 20


# -- where nothing is on trial ---------------------------------------------------------------------------------------


def test_what_was_not_asked_says_nothing() -> None:
    found = judge(POLICY, Plan(), {}, None, now=NOW)
    assert (found.outcome, found.because) == (Outcome.SILENT, "nothing is measured now")


def test_without_anything_to_measure_the_witness_alone_speaks() -> None:
    for policy in (POLICY, None):
        found = judge(policy, Plan(), {WITNESS: witnessed()}, None, now=NOW)
        assert (found.outcome, found.because) == (Outcome.SILENT, "nothing to measure at this weight yet")
        assert judge(policy, Plan(), {WITNESS: BLIND}, None, now=NOW).outcome is Outcome.BLIND


def test_before_a_rollout_the_verdict_tells_what_it_will_be_able_to_see() -> None:
    stable = [moment for moment in steady(ERRORS, history=600) if moment.t < 0]
    found = judge(POLICY, planned(steps=()), {WITNESS: witnessed()}, kept(folded(stable, ERRORS)), now=NOW)
    assert (found.outcome, found.because) == (Outcome.SILENT, "nothing is on trial yet")
    assert found.foresight.startswith("at 18 requests/s these steps can detect errors of +")
