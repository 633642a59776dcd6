"""Evidence in words, compared whole: the line that commit, command line and page share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.blocks import Counts
from gitops_serving.core.describe import amount, culprits, described, quantile, short
from gitops_serving.core.measure import Kind, Measurement, Metric, Outcome, Source
from gitops_serving.core.tracks import Margin

from .moments import DRIFT, EDGES, ERRORS, LATENCY, LIMIT, SCORE, both, folded, gauges, steady
from .situations import THREE_STEPS

if TYPE_CHECKING:
    from gitops_serving.core.evidence import Evidence
    from gitops_serving.core.model import Policy

KINDS = {kind: Source(kind=kind, parts={}) for kind in Kind}
METRICS = (
    Metric(name="errors", sources=(KINDS[Kind.COUNTER],), tolerance=0.2, at_least=0.0005, unit="ratio"),
    Metric(name="latency", sources=(KINDS[Kind.HISTOGRAM],), tolerance=0.1, unit="seconds"),
    Metric(name="slo", sources=(KINDS[Kind.COUNTER],), maximum=0.01, unit="ratio"),
    Metric(name="score", sources=(KINDS[Kind.GAUGE],), tolerance=0.05, higher_is_better=True),
    Metric(name="drift", sources=(KINDS[Kind.DRIFT],)),
)


def policy(*names: str) -> Policy:
    return replace(THREE_STEPS, metrics=tuple(metric for metric in METRICS if metric.name in names))


def told(evidence: Evidence, name: str, *, failing: bool = False, metric: Metric | None = None) -> Measurement:
    chosen = replace(THREE_STEPS, metrics=(metric,)) if metric is not None else policy(name)
    return described(chosen, evidence, {}, failing=failing)[0]


def test_errors_say_what_both_did_and_what_is_allowed() -> None:
    found = told(folded(steady(ERRORS, (2.0, 0.005), (18.0, 0.005)), ERRORS), "errors")
    assert found.because == (
        "errors 0.50% of 1,020 requests, stable 0.50% of 9,180 (up to 0.65% is allowed); evidence 0.3"
    )
    assert (found.outcome, found.unit, found.requests) == (Outcome.PASS, "ratio", (1020.0, 9180.0))
    assert [found.canary, found.stable, found.limit] == pytest.approx([0.005, 0.005, 0.0065])


def test_latency_is_told_by_its_99th_percentile_and_a_guilty_one_by_the_edge_that_gave_it_away() -> None:
    same = told(folded(steady(LATENCY, (2.0, 0.1), (18.0, 0.1), history=600), LATENCY), "latency")
    assert same.because.startswith("latency p99 500 ms of 1,020 requests, stable 500 ms of 9,180 (up to 550 ms is allo")
    evidence = folded(steady(LATENCY, (20.0, 0.4), (180.0, 0.1), history=600), LATENCY).failed
    assert evidence is not None
    guilty = told(evidence, "latency", failing=True)
    assert guilty.outcome is Outcome.FAIL
    assert guilty.because.endswith("; slower than 100 ms: 20.00%, stable 5.00%; evidence 25")


def test_a_limit_says_how_it_stands_and_who_breaks_it() -> None:
    within = told(folded(steady(LIMIT), LIMIT), "slo")
    assert within.because == "slo 0% of 1,020 requests, stable 0% of 9,180; at most 1.00%; evidence 0.019"
    assert within.limit == 0.01
    above = told(folded(steady(LIMIT, (2.0, 0.02), until=120), LIMIT), "slo")
    assert (above.outcome, "at most 1.00%: it is above" in above.because) == (Outcome.SILENT, True)
    shared = told(folded(steady(LIMIT, (2.0, 0.02), (18.0, 0.02)), LIMIT), "slo")
    assert "stable breaks that too, so the canary is not to blame" in shared.because


def test_a_limit_beyond_the_last_bucket_is_said_to_be_out_of_sight() -> None:
    question = replace(LATENCY, margin=Margin(limit=7.0))
    metric = replace(METRICS[1], tolerance=None, maximum=7.0)
    found = told(folded(steady(question), question), "latency", metric=metric)
    assert found.outcome is Outcome.SILENT
    assert "; at most 7,000 ms, which lies beyond its last bucket: nothing can be said of it" in found.because


def test_a_gauge_says_its_means_and_over_how_many_windows() -> None:
    found = told(folded(gauges(SCORE, 0.9, 0.91), SCORE), "score")
    assert found.because == "score 0.9, stable 0.91, over 6 windows (5% worse is allowed); evidence 0.027"
    assert told(folded(gauges(SCORE, 0.9, 0.91, until=0), SCORE), "score").because == (
        "score: no window of it is over yet"
    )


def test_drift_says_whether_there_is_any() -> None:
    same = told(folded(steady(DRIFT, (20.0, 0.5), (180.0, 0.5)), DRIFT), "drift")
    assert same.because.startswith("drift predictions are spread as stable's; evidence ")
    other = told(folded(steady(DRIFT, (20.0, 0.9), (180.0, 0.1)), DRIFT), "drift")
    assert other.because.startswith("drift predictions are spread otherwise than stable's; evidence ")


def test_too_few_requests_are_counted() -> None:
    found = told(folded(steady(ERRORS, until=30), ERRORS), "errors")
    assert found.because == "errors: 0 of 20 requests needed of the canary at this weight"
    assert (found.canary, found.requests) == (None, None)


def test_a_metric_with_too_few_requests_says_what_it_saw_of_them() -> None:
    evidence = folded(steady(ERRORS, (0.3, 0.0), (18.0, 0.005), until=130), ERRORS)
    found = told(evidence, "errors")
    assert found.outcome is Outcome.SILENT
    assert found.because == (
        "errors 0% of 18 requests, stable 0.50% of 1,080 (up to 0.65% is allowed); evidence 0.89; "
        "18 of 20 requests needed of the canary at this weight"
    )
    assert (found.canary, found.requests) == (0.0, (18.0, 1080.0))
    dry = told(evidence, "errors", metric=replace(METRICS[0], enforced=False))
    assert dry.because.startswith("(dry run) errors 0% of 18 requests, stable 0.50% of 1,080 ")


def test_after_a_shift_the_numbers_of_before_are_still_there() -> None:
    moments = [replace(each, step=int(each.t > 300)) for each in steady(ERRORS, (2.0, 0.005), (18.0, 0.005), until=310)]
    because = told(folded(moments, ERRORS), "errors").because
    assert because.startswith("errors 0.50% of 460 requests, stable 0.50% of 4,140 ")
    assert because.endswith("; 0 of 20 requests needed of the canary at this weight")


def test_latency_without_a_history_needs_a_block_to_bet_by() -> None:
    found = told(folded(steady(LATENCY, until=100), LATENCY), "latency")
    assert found.because.endswith("; one more block needed, to bet on by this one")


def test_a_histogram_that_tells_nothing_says_so() -> None:
    moments = steady(LATENCY, history=600)
    for moment in moments:
        for_all = [c and Counts(c.requests, (c.requests,) * len(EDGES)) for c in moment.pairs["latency"]]
        moment.pairs["latency"] = (for_all[0], for_all[1])
    found = told(folded(moments, LATENCY), "latency")
    assert "nearly all of stable's answers lie beyond its buckets" in found.because


def test_what_cannot_be_read_says_why() -> None:
    (found,) = described(policy("errors"), folded(steady(ERRORS), ERRORS), {"errors": "parse error"}, failing=False)
    assert (found.outcome, found.because, found.canary) == (Outcome.SILENT, "errors: parse error", None)


def test_the_proof_names_what_carries_it() -> None:
    questions = (ERRORS, LATENCY)
    bad = both(
        steady(ERRORS, (20.0, 0.2), (180.0, 0.001), history=600),
        steady(LATENCY, (20.0, 0.1), (180.0, 0.1), history=600),
    )
    evidence = folded(bad, *questions).failed
    assert evidence is not None
    assert culprits(evidence) == ("errors",)
    found = described(policy("errors", "latency"), evidence, {}, failing=True)
    assert [m.outcome for m in found] == [Outcome.FAIL, Outcome.PASS]


def test_plain_breakage_is_a_measurement_of_its_own() -> None:
    evidence = folded(steady(ERRORS, (20.0, 1.0), (180.0, 0.001), history=600), ERRORS).failed
    assert evidence is not None
    found = described(policy("errors"), evidence, {}, failing=True)[-1]
    assert (found.metric, found.outcome) == ("breakage", Outcome.FAIL)
    assert found.because.startswith("breakage: 100.00% of ")
    assert "requests failed, at least a quarter more than stable's 0.10%; evidence " in found.because


QUANTILES = {
    "in the middle of a bucket": (Counts(100.0, (50.0, 2.0, 0.0)), 0.375),
    "beyond the last edge it is that edge": (Counts(100.0, (50.0, 40.0, 20.0)), 0.5),
    "all in the first bucket": (Counts(100.0, (0.0, 0.0, 0.0)), 0.099),
    "no requests": (Counts(0.0, (0.0, 0.0, 0.0)), 0.1),
}


@pytest.mark.parametrize("case", QUANTILES)
def test_a_quantile_is_linear_within_its_bucket(case: str) -> None:
    counts, at = QUANTILES[case]
    assert quantile(counts, (0.1, 0.25, 0.5)) == pytest.approx(at)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, "ratio", "0%"),
        (0.0005, "ratio", "0.05%"),
        (1.0, "ratio", "100.00%"),
        (1.2345, "seconds", "1,234 ms"),
        (0.81234567, "", "0.8123"),
    ],
)
def test_amounts_are_written_as_people_read_them(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


@pytest.mark.parametrize(
    ("e", "said"), [(0.0123, "0.012"), (3.25, "3.2"), (9.99, "10"), (12.7, "13"), (12345.6, "12,346")]
)
def test_evidence_is_written_as_briefly_as_it_deserves(e: float, said: str) -> None:
    assert short(e) == said
