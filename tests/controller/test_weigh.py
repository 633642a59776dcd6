"""One service's evidence from Prometheus to a verdict, and what may be kept of it, or lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.controller.weigh import FRESH, Memory, weigh
from gitops_serving.core.measure import Kind, Metric, Outcome, Reading, Source
from gitops_serving.core.plan import WITNESS
from tests.core.situations import AT_REST, IDLE, MINUTE, NOON, quick
from tests.core.trees import POLICY

from .answers import ERRORS, LATENCY, REVISION, SCORE, SLO, Answers, bucketed, counted, policy, weighed
from .stage import Stage, seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gitops_serving.core.measure import Query

    from .answers import Answer

DETECTED = Metric(
    name="errors",
    pack="knative/errors",
    sources=(
        Source(
            kind=Kind.COUNTER,
            parts={"total": f"total{REVISION}", "bad": f"bad{REVISION}"},
            pack="knative",
            name="old",
            detect="there",
        ),
    ),
    tolerance=0.2,
)
EVERYTHING: dict[str, Answer] = {"there": [({}, lambda _: 1.0)]}


def many(bad: float) -> Answers:
    """Errors, a histogram and a gauge; the canary's latency and errors by its share of bad ones."""
    score: dict[str, Answer] = {"value": [({}, lambda t: 0.9 - bad * (t % 7) / 7)]}
    return Answers(
        {**counted(bad, 2.0), **bucketed(0.1 + bad, 2.0), **score},
        {**counted(0.002, 18.0), **bucketed(0.1, 18.0), "value": [({}, lambda t: 0.9 + 0.01 * (t % 5))]},
    )


# -- the cache -------------------------------------------------------------------------------------------------------


@quick
@given(st.sampled_from([0.002, 0.02, 0.4]), st.lists(st.tuples(st.integers(1, 120), st.booleans()), max_size=10))
def test_whatever_is_lost_between_looks_the_verdict_is_the_same(bad: float, looks: list[tuple[int, bool]]) -> None:
    metrics, memory, seconds = many(bad), Memory(), 0
    for more, lost in [*looks, (60, False)]:
        seconds += more
        memory = Memory() if lost else memory
        found = weighed(metrics, seconds, ERRORS, LATENCY, SCORE, SLO, memory=memory)
    fresh = weighed(metrics, seconds, ERRORS, LATENCY, SCORE, SLO)

    assert found.verdict == fresh.verdict
    assert found.folded == fresh.folded


def test_only_what_is_new_is_asked_for() -> None:
    metrics, memory = Answers(), Memory()
    weighed(metrics, 600, memory=memory)
    metrics.asked.clear()
    weighed(metrics, 615, memory=memory)
    asked = [query for query in metrics.asked if not query.name.startswith("interval/")]
    assert {(query.end - query.start) / query.step for query in asked} <= {0.0, 1.0}


def test_what_is_far_behind_is_read_in_portions_in_one_look() -> None:
    metrics = Answers()
    found = weighed(metrics, 3 * 3600)
    assert found.plan.behind == 0
    assert found.verdict.outcome is Outcome.PASS
    assert max((query.end - query.start) / query.step for query in metrics.asked if query.name != WITNESS) < 100


def test_a_prometheus_that_goes_dark_in_the_middle_of_catching_up_blinds() -> None:
    class Failing(Answers):
        def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
            self.blind = "Prometheus did not answer" if len(self.asked) > 20 else ""
            return super().read(queries)

    memory = Memory()
    assert weighed(Failing(), 3 * 3600, memory=memory).verdict.outcome is Outcome.BLIND
    assert weighed(Answers(), 3 * 3600, memory=memory).verdict == weighed(Answers(), 3 * 3600).verdict


@dataclass(slots=True)
class Bounded(Answers):
    """A Prometheus whose answers may hold no more points than so many."""

    most: int = 1000

    def _answer(self, query: Query) -> Reading:
        reading = Answers._answer(self, query)
        points = sum(len(series.samples) for series in reading.series)
        if points <= self.most or query.expression.startswith("max("):
            return reading
        return Reading(cause="the answer is too large", wrong=True, heavy=True)


@pytest.mark.parametrize("most", [90, 30])
def test_what_is_too_much_at_once_is_asked_for_in_smaller_portions_and_nothing_is_passed_over(most: int) -> None:
    """It was passed over: who had lost the cache saw none of what had been bad, and passed it."""
    pods: dict[str, Answer] = {
        "total": [({"pod": str(pod)}, lambda t: 1.8 * (t + 600)) for pod in range(10)],
        "bad": [({"pod": "0"}, lambda t: 0.02 * (t + 600))],
    }
    bad: dict[str, Answer] = {
        "total": [({}, lambda t: 2.0 * t)],
        "bad": [({}, lambda t: 2.0 * (0.001 * t + 0.3 * min(max(t, 0), 400)))],
    }
    memory = Memory()
    for seconds in range(60, 1441, 60):
        kept = weighed(Bounded(bad, pods, most=most), seconds, memory=memory).verdict
    fresh = weighed(Bounded(bad, pods, most=most), 1440).verdict
    assert fresh == kept == weighed(Answers(bad, pods), 1440).verdict
    assert fresh.outcome is Outcome.FAIL


def test_an_answer_that_is_too_large_at_any_length_is_a_configuration_error() -> None:
    verdict = weighed(Bounded(most=0), 600).verdict
    assert verdict.outcome is Outcome.SILENT
    assert "the answer is too large" in verdict.because
    assert verdict.silent_for == timedelta()


@pytest.mark.parametrize("seconds", [-3600, -60, 60, 3600])
def test_another_clock_than_ours_blinds(seconds: int) -> None:
    """The canary's first minutes were an hour away by Prometheus's clock, and it was aborted for its silence."""

    class Skewed(Answers):
        def _answer(self, query: Query) -> Reading:
            return replace(Answers._answer(self, query), skew=timedelta(seconds=seconds))

    verdict = weighed(Skewed(), 600).verdict
    assert verdict.outcome is Outcome.BLIND
    assert f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} ours" in verdict.because


def test_a_dry_run_that_nobody_answers_keeps_nobody_waiting() -> None:
    class Slow(Answers):
        def _answer(self, query: Query) -> Reading:
            if query.expression.startswith("buckets"):
                return Reading(cause="it did not answer in time", blind=True)
            return Answers._answer(self, query)

    dry = replace(LATENCY, enforced=False)
    bad = Slow(counted(0.4, 2.0))
    assert weighed(bad, 600, ERRORS, dry).verdict.outcome is Outcome.FAIL
    passed = weighed(Slow(), 600, ERRORS, dry).verdict
    assert passed.outcome is Outcome.PASS
    assert "it did not answer in time" in passed.measurements[1].because
    assert weighed(Slow(), 600, ERRORS, LATENCY).verdict.outcome is Outcome.BLIND


def test_a_failure_is_found_again_by_who_has_forgotten_it() -> None:
    def once(t: float) -> float:
        return max(0.0, min(t, 300.0)) * 0.8 + 2.0

    metrics = Answers({"total": [({}, lambda t: 2.0 * t)], "bad": [({}, once)]})
    found = {weighed(metrics, seconds).verdict.because for seconds in (600, 1200, 3600)}
    assert len(found) == 1
    assert weighed(metrics, 3600).verdict.outcome is Outcome.FAIL


def test_evidence_is_let_go_of_when_the_rollout_is_over() -> None:
    memory = Memory()
    weighed(Answers(), 600, memory=memory)
    assert list(memory.folded) == ["fraud/scorer"]
    weigh(Answers(), memory, rollout=IDLE.rollout, policy=policy(ERRORS), live=AT_REST, now=NOON)
    assert memory == Memory()


def test_services_that_are_gone_are_forgotten(stage: Stage) -> None:
    stage.on_trial("good")
    stage.pass_by(60)
    stage.tick()
    assert list(stage.desk.memory.folded) == list(stage.desk.memory.surveys) == ["fraud/scorer"]
    stage.repository.push({"clusters/demo/fraud/scorer.yaml": None, "rollouts/demo/fraud/scorer.yaml": None})
    stage.tick()
    assert stage.desk.memory == Memory()


# -- the survey ------------------------------------------------------------------------------------------------------


def surveys(asked: list[Query]) -> int:
    return sum(query.name == "there" for query in asked)


def test_sources_are_looked_for_once_in_a_while() -> None:
    metrics, memory = Answers(stable={**counted(0.001, 18.0), **EVERYTHING}), Memory()
    for seconds in (60, 75, 170):
        weighed(metrics, seconds, DETECTED, memory=memory)
    assert surveys(metrics.asked) == 1
    weighed(metrics, 60 + FRESH.total_seconds(), DETECTED, memory=memory)
    assert surveys(metrics.asked) == 2


def test_a_source_that_is_not_there_is_told_and_found_when_it_comes() -> None:
    metrics, memory = Answers(), Memory()
    found = weighed(metrics, 600, DETECTED, memory=memory)
    assert found.verdict.outcome is Outcome.SILENT
    assert found.verdict.silent_for == timedelta()
    assert "none of its sources is in Prometheus for namespace fraud: knative (old)" in found.verdict.because
    metrics.stable = {**counted(0.001, 18.0), **EVERYTHING}
    assert weighed(metrics, 600 + FRESH.total_seconds(), DETECTED, memory=memory).verdict.outcome is Outcome.PASS


def test_a_survey_that_nobody_answers_blinds_and_is_no_missing_source() -> None:
    """It was taken for one in which nothing was found, and all evidence was begun anew for other sources."""
    metrics = Answers(stable={**counted(0.001, 18.0), **EVERYTHING}, blind="Prometheus did not answer")
    found = weighed(metrics, 600, DETECTED)
    assert (found.verdict.outcome, found.verdict.because) == (Outcome.BLIND, "Prometheus did not answer")
    assert {query.name for query in found.plan.queries} == found.readings.keys()  # explain shows what was asked
    assert found.folded is None


def test_a_survey_that_is_old_serves_while_nobody_answers() -> None:
    """Else a failure that was measured would be gone, and its brake let off, while Prometheus is away."""
    bad = Answers(counted(0.4, 2.0), {**counted(0.001, 18.0), **EVERYTHING})
    memory = Memory()
    assert weighed(bad, 600, DETECTED, memory=memory).verdict.outcome is Outcome.FAIL
    bad.blind = "Prometheus did not answer"
    later = weighed(bad, 3600, DETECTED, memory=memory).verdict
    assert (later.outcome, later.blind) == (Outcome.FAIL, "Prometheus did not answer")


def test_a_source_that_was_there_at_the_start_is_not_lost_in_an_outage() -> None:
    """After five minutes without a scrape nothing is there any more, and the evidence was of other sources."""

    def until(t: float) -> float | None:
        return 1.0 if t < 600 else None

    bad = Answers(counted(0.4, 2.0), {**counted(0.001, 18.0), "there": [({}, until)]}, scraped=lambda t: t < 600)
    assert weighed(bad, 3600, DETECTED).verdict.outcome is Outcome.FAIL


# -- where nothing is on trial ---------------------------------------------------------------------------------------


def test_nothing_is_asked_where_nothing_is_to_be_measured() -> None:
    metrics = Answers()
    found = weigh(metrics, Memory(), rollout=IDLE.rollout, policy=policy(ERRORS), live=AT_REST, now=NOON)
    assert (metrics.asked, found.verdict.because) == ([], "nothing is measured now")


@pytest.mark.parametrize(("blind", "outcome"), [("", Outcome.SILENT), ("no answer", Outcome.BLIND)])
def test_before_a_rollout_it_is_seen_whether_anybody_is_blind_and_what_could_be_detected(
    blind: str, outcome: Outcome
) -> None:
    pending = replace(IDLE.rollout, wanted="v2")
    live = replace(AT_REST, rolled="scorer-predictor-00001")
    metrics = Answers(blind=blind)
    found = weigh(metrics, Memory(), rollout=pending, policy=policy(ERRORS), live=live, now=NOON + 10 * MINUTE)
    assert found.verdict.outcome is outcome
    assert found.verdict.foresight.startswith("at 18 requests/s these steps can detect errors") is not bool(blind)


def test_no_rollout_starts_blind_though_the_one_before_it_failed(stage: Stage) -> None:
    """The failure stood, and hid that Prometheus was away: the next push was put on trial unseen."""
    stage.on_trial("bad")
    stage.pass_by(90)
    stage.repository.refuses = "protected branch"
    found = seen(stage.tick()).situation
    assert found is not None
    assert found.verdict.outcome is Outcome.FAIL
    stage.repository.refuses = None
    stage.push("good")
    stage.metrics.blind = "Prometheus did not answer"
    for _ in range(6):
        stage.tick()
        stage.pass_by(10)
    assert stage.actions() == ["adopt", "shift", "drop"]
    assert stage.shares() == {"one": 100}

    stage.metrics.blind = None
    stage.tick()
    assert stage.actions()[-1] == "shift"
    assert stage.shares() == {"one": 95, "good": 5}


def test_a_model_that_loads_for_longer_than_patience_lasts_is_not_silent(stage: Stage) -> None:
    """It was aborted for silence at the moment at which it was ready."""
    stage.repository.push({"policies/standard.yaml": POLICY.replace(b"patience: 5m", b"patience: 2m")})
    stage.cluster.loading = lambda document: 4 * MINUTE if "/slow" in str(document["spec"]) else timedelta()
    stage.on_trial("slow")
    for _ in range(90):
        stage.pass_by(5)
        stage.tick()
    assert stage.actions() == ["adopt", "shift", "shift", "shift", "promote"]
