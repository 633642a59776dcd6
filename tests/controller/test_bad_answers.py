"""What bad input gets: each has a defined outcome; none passes, none aborts.

NaN, Inf, empty vectors, two series where one is meant, stale series, counters that jump
back, a histogram whose buckets change or differ from pod to pod, a scrape gap of ten minutes, clock skew; and a
query that Prometheus rejects is a configuration error with Prometheus's words.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.gauges import Gauge
from gitops_serving.core.measure import Outcome

from .answers import (
    DRIFT,
    ERRORS,
    LATENCY,
    MINUTE,
    SCORE,
    SECOND,
    SLO,
    STARTED,
    Answers,
    bucketed,
    counted,
    over,
    rising,
    weighed,
)
from .stage import Stage, seen
from .test_bad_midway import GOOD_OF_ALL, GOOD_SCORE, through_a_gap

if TYPE_CHECKING:
    from gitops_serving.core.measure import Metric, Verdict

    from .answers import Answer, Value

PATIENCE = 10 * MINUTE
PARSE_ERROR = "Prometheus cannot evaluate the query (bad_data: invalid parameter: parse error); correct its expression"


def only(value: float) -> dict[str, Answer]:
    """Counters that are never anything else."""
    return {"total": [({}, lambda _: value)], "bad": [({}, lambda _: value)]}


NOTHING: dict[str, Answer] = {}
TWO: dict[str, Answer] = {"value": [({"pod": "a"}, lambda _: 0.2), ({"pod": "b"}, lambda _: 0.9)]}
NAMES: dict[str, Answer] = {"total": [({"__name__": name}, rising(2.0)) for name in "ab"], "bad": []}
FALLEN: Answer = [({"le": le}, rising(share)) for le, share in (("0.1", 2.0), ("0.5", 1.0), ("+Inf", 2.0))]
WITHOUT_INF: dict[str, Answer] = {"buckets": bucketed(0.1, 2.0)["buckets"][:-1]}


def rebucketed(slow: float) -> dict[str, Answer]:
    """Buckets that change from minute to minute, and are never those of stable."""
    return {
        "buckets": [
            ({"le": le}, lambda t, share=share, edge=edge: 2.0 * (t + 600) * share if t // 60 % 2 == edge else None)  # type: ignore[misc]
            for le, share, edge in (("0.1", 1 - slow, 0), ("0.2", 1 - slow, 1), ("+Inf", 1.0, 0), ("+Inf", 1.0, 1))
        ]
    }


# Each bad canary beside a good stable, with what is said of it, and whether patience counts.
BAD: dict[str, tuple[Answers, Metric, str, bool]] = {
    "NaN": (Answers(only(math.nan)), ERRORS, "0 of 20 requests", True),
    "Inf": (Answers(only(math.inf)), ERRORS, "0 of 20 requests", True),
    "-Inf": (Answers(only(-math.inf)), ERRORS, "0 of 20 requests", True),
    "a gauge that is NaN": (
        Answers({"value": [({}, lambda _: math.nan)]}, GOOD_SCORE),
        SCORE,
        "no window of it is over yet",
        True,
    ),
    "an empty vector": (Answers(NOTHING), ERRORS, "0 of 20 requests", True),
    "empty vectors of both": (Answers(NOTHING, NOTHING), ERRORS, "0 of 20 requests", True),
    "an empty vector of stable": (Answers(stable=NOTHING), ERRORS, "0 of 20 requests", True),
    "two series where one is meant": (Answers(TWO, GOOD_SCORE), SCORE, "2 series where one is meant", False),
    "two series of stable": (Answers(GOOD_SCORE, TWO), SCORE, "2 series where one is meant", False),
    "a stale series": (Answers(only(7.0)), ERRORS, "0 of 20 requests", True),
    "counters of several names": (Answers(NAMES), ERRORS, "counters of several names: a, b", False),
    "a label that tells nothing apart": (
        Answers(counted(0.4, 2.0), counted(0.4, 2.0), told_apart=False),
        ERRORS,
        "does not tell the revisions apart",
        False,
    ),
    "a histogram whose buckets change": (
        Answers(rebucketed(0.9), bucketed(0.1, 18.0)),
        LATENCY,
        "has other buckets than before",
        False,
    ),
    "a histogram without +Inf": (
        Answers(WITHOUT_INF, bucketed(0.1, 18.0)),
        LATENCY,
        "without its last bucket, +Inf",
        False,
    ),
    "a query of good requests that finds nothing": (
        Answers({"total": [({}, rising(2.0))]}, {"total": [({}, rising(18.0))]}),
        GOOD_OF_ALL,
        "nothing is told of those that were good",
        False,
    ),
    "a histogram that is not cumulative": (
        Answers({"buckets": FALLEN}, bucketed(0.1, 18.0)),
        LATENCY,
        "the histogram of canary is not cumulative",
        False,
    ),
    "a query that Prometheus rejects": (
        Answers(refuses={"bad": PARSE_ERROR}),
        ERRORS,
        f"errors: {PARSE_ERROR}",
        False,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_neither_passes_nor_aborts(case: str) -> None:
    answers, metric, words, patient = BAD[case]
    for seconds in (30, 120, 590):
        verdict = weighed(answers, seconds, metric).verdict
        assert verdict.outcome is Outcome.SILENT
        assert words in verdict.because
        assert verdict.silent_for < PATIENCE
    assert (verdict.silent_for > timedelta()) is patient


@pytest.mark.parametrize("case", BAD)
def test_nor_does_it_with_a_memory(case: str) -> None:
    answers, metric, words, _ = BAD[case]
    found = [weighing.verdict for _, weighing in over(answers, 590, metric)]
    assert {verdict.outcome for verdict in found} == {Outcome.SILENT}
    assert words in found[-1].because
    assert found[-1] == weighed(answers, 585, metric).verdict


def total(verdict: Verdict) -> float:
    assert verdict.requests is not None
    return verdict.requests[0]


def test_counters_that_jump_back_are_restarts_and_take_nothing_away() -> None:
    """A pod that crashes each minute has served what it counted since; that is little, and never less than nothing."""
    sawtooth: dict[str, Answer] = {
        "total": [({}, lambda t: 2.0 * (t % 60))],
        "bad": [({}, lambda t: 0.002 * (t % 60))],
    }
    found = [weighing.verdict for _, weighing in over(Answers(sawtooth), 590)]
    assert {verdict.outcome for verdict in found} == {Outcome.SILENT, Outcome.PASS}
    counts = [total(verdict) for verdict in found if verdict.requests is not None]
    assert counts == sorted(counts)
    assert counts[-1] <= 2 * 590


def test_a_scrape_gap_of_ten_minutes_blinds_and_is_neither_silence_nor_evidence() -> None:
    answers = Answers(through_a_gap(2.0, 0.001), through_a_gap(18.0, 0.001), scraped=lambda t: not 300 < t < 900)
    found = {at: weighing.verdict for at, weighing in over(answers, 1200)}
    during = {verdict.outcome for at, verdict in found.items() if 390 <= (at - STARTED).total_seconds() <= 900}
    assert during == {Outcome.BLIND}
    assert found[STARTED + 1200 * SECOND].outcome is Outcome.PASS
    assert all(verdict.silent_for <= MINUTE for verdict in found.values())
    assert found[STARTED + 1200 * SECOND] == weighed(answers, 1200).verdict


@pytest.mark.parametrize("minutes", [1, 10, 6 * 60])
def test_a_clock_ahead_of_prometheus_s_blinds(minutes: int) -> None:
    verdict = weighed(Answers(scraped=lambda t: t <= 600), 600, skew=minutes * MINUTE).verdict
    assert verdict.outcome is Outcome.BLIND
    assert "or its clock is not ours" in verdict.because or verdict.because == "no series"


@pytest.mark.parametrize("seconds", [-600, -60, 0, 5])
def test_a_clock_behind_prometheus_s_sees_less_and_concludes_nothing(seconds: int) -> None:
    """The rollout began in our future, by another controller's clock."""
    verdict = weighed(Answers(counted(0.4, 2.0)), 0, skew=seconds * SECOND).verdict
    assert verdict.outcome in {Outcome.SILENT, Outcome.BLIND}
    assert verdict.silent_for == timedelta()


@pytest.mark.parametrize("seconds", [1, 5, 20])
def test_a_small_skew_is_forgiven(seconds: int) -> None:
    assert weighed(Answers(scraped=lambda t: t <= 600), 600, skew=seconds * SECOND).verdict.outcome is Outcome.PASS


# -- what only looks bad ---------------------------------------------------------------------------------------------


def test_a_bad_canary_fails_all_the_same() -> None:
    """So that the outcomes above mean something: the same Prometheus, with a canary that is bad."""
    assert weighed(Answers(counted(0.4, 2.0))).verdict.outcome is Outcome.FAIL
    assert weighed(Answers()).verdict.outcome is Outcome.PASS


def test_drift_never_aborts_and_only_holds() -> None:
    drifting = Answers({**counted(0.001, 2.0), **bucketed(0.9, 2.0)}, {**counted(0.001, 18.0), **bucketed(0.1, 18.0)})
    found = [weighing.verdict for _, weighing in over(drifting, 3600, ERRORS, DRIFT, every=60)]
    assert Outcome.FAIL not in {verdict.outcome for verdict in found}
    assert {verdict.outcome for verdict in found[15:]} == {Outcome.SILENT}
    assert max(verdict.silent_for for verdict in found) < 2 * MINUTE
    assert "drift predictions are spread otherwise than stable's" in found[-1].because


def test_a_gauge_that_is_computed_has_no_labels_and_is_judged() -> None:
    """Its answers look like one series: it was always said not to tell the revisions apart, and nothing passed."""
    better = Answers(GOOD_SCORE, {"value": [({}, lambda t: 0.9 + 0.01 * math.cos(t))]}, told_apart=False)
    assert weighed(better, 900, SCORE).verdict.outcome is Outcome.PASS
    worse = Answers({"value": [({}, lambda t: 0.7 + 0.01 * math.sin(t))]}, GOOD_SCORE, told_apart=False)
    assert weighed(worse, 900, SCORE).verdict.outcome is Outcome.FAIL


def test_a_pod_without_one_of_the_buckets_is_complained_about_and_no_longer_once_it_has_gone() -> None:
    """All its answers counted as slower than the edge that it lacks: good canaries were aborted, and bad ones not."""

    def pods(slow: float, rate: float) -> list[tuple[dict[str, str], Value]]:
        whole = [({**labels, "pod": "a"}, value) for labels, value in bucketed(slow, rate)["buckets"]]
        part = [
            ({**labels, "pod": "b"}, lambda t, value=value: value(t) if t < 300 else None)
            for labels, value in bucketed(slow, rate)["buckets"]
            if labels["le"] != "0.5"
        ]
        return whole + part

    whole, mixed = bucketed(0.1, 18.0), {"buckets": pods(0.1, 1.0)}
    for answers, arm in (
        (Answers(mixed, whole), "canary"),
        (Answers(bucketed(0.1, 2.0), {"buckets": pods(0.1, 9.0)}), "stable"),
    ):
        found = {at: weighing.verdict for at, weighing in over(answers, 600, LATENCY)}
        during = [verdict for at, verdict in found.items() if 15 * SECOND < at - STARTED < 300 * SECOND]
        assert {verdict.outcome for verdict in during} == {Outcome.SILENT}
        assert {verdict.because for verdict in during} == {
            f"latency: the histograms of {arm}'s pods have unlike buckets, and cannot be added up"
        }
        assert found[STARTED + 600 * SECOND].outcome is Outcome.PASS
        assert found[STARTED + 600 * SECOND] == weighed(answers, 600, LATENCY).verdict
    slow = Answers(bucketed(0.5, 2.0), {"buckets": pods(0.1, 9.0)})
    assert weighed(slow, 280, LATENCY).verdict.outcome is Outcome.SILENT
    assert weighed(slow, 900, LATENCY).verdict.outcome is Outcome.FAIL


def test_a_dry_run_never_decides() -> None:
    dry = replace(LATENCY, enforced=False)
    slow = Answers({**counted(0.001, 2.0), **bucketed(0.9, 2.0)}, {**counted(0.001, 18.0), **bucketed(0.1, 18.0)})
    verdict = weighed(slow, 600, ERRORS, dry).verdict
    assert verdict.outcome is Outcome.PASS
    assert verdict.measurements[1].e > 20
    refused = weighed(Answers(refuses={"buckets": PARSE_ERROR}), 600, ERRORS, dry).verdict
    assert refused.outcome is Outcome.PASS
    assert refused.measurements[1].because == f"latency: {PARSE_ERROR}"


def test_a_limit_is_blamed_on_the_canary_only_if_stable_is_inside() -> None:
    assert weighed(Answers(counted(0.1, 2.0), counted(0.0, 18.0)), 600, SLO).verdict.outcome is Outcome.FAIL
    shared = weighed(Answers(counted(0.1, 2.0), counted(0.1, 18.0)), 600, SLO).verdict
    assert shared.outcome is Outcome.SILENT
    assert "stable breaks that too, so the canary is not to blame" in shared.because


def test_a_gauge_whose_labels_come_late_is_waited_for() -> None:
    late = replace(SCORE, delay=5 * MINUTE)
    answers = Answers({"value": [({}, lambda t: 0.2 if t < 360 else 0.9)]}, GOOD_SCORE)  # first it speaks of stable
    waiting, there = (weighed(answers, seconds, late) for seconds in (350, 900))
    assert (waiting.verdict.outcome, waiting.verdict.because) == (Outcome.SILENT, "score: no window of it is over yet")
    assert there.folded is not None
    track = there.folded.evidence.tracks["score"]
    assert isinstance(track, Gauge)
    assert there.verdict.outcome is Outcome.PASS
    assert track.total[0] / track.windows == pytest.approx(0.9)


def test_time_that_people_held_is_no_silence() -> None:
    quiet = Answers(NOTHING)
    assert weighed(quiet).verdict.silent_for > 8 * MINUTE
    assert weighed(quiet, held=9 * MINUTE).verdict.silent_for < MINUTE


# -- and reaches a person --------------------------------------------------------------------------------------------


def test_a_query_that_prometheus_rejects_is_shown_at_the_policy_with_the_metric_s_name(stage: Stage) -> None:
    stage.on_trial("good")
    stage.pass_by(60)
    stage.metrics.refuses = lambda expression: "parse error" if 'response_code_class="5xx"' in expression else None
    found = seen(stage.tick())
    assert str(found.invalid) == "policies/standard.yaml: metric errors: parse error"
    assert found.wrong
    assert stage.actions()[-1] == "shift"

    stage.metrics.refuses = lambda _: None
    stage.pass_by(60)
    assert seen(stage.tick()).invalid is None


def test_a_query_that_stays_wrong_holds_the_rollout_and_never_ends_it(stage: Stage) -> None:
    stage.on_trial("bad")
    stage.metrics.refuses = lambda expression: "parse error" if "revision_request_count{" in expression else None
    for _ in range(20):
        stage.pass_by(60)
        found = seen(stage.tick())
        assert found.situation is not None
        assert found.situation.verdict.outcome is Outcome.SILENT
    assert stage.actions() == ["adopt", "shift"]
    assert stage.weight() == 5
