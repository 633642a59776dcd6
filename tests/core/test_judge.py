"""Four outcomes, in numbers that a person can check by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.judge import amount, increments, judge
from gitops_serving.core.judge import counted as counted_by
from gitops_serving.core.measure import Metric, Outcome, Reading, Series, Verdict
from gitops_serving.core.plan import WITNESS, Window

from .situations import MINUTE, NOON, THREE_STEPS, quick

if TYPE_CHECKING:
    from collections.abc import Mapping

START = NOON.timestamp()
WINDOW = Window(NOON, NOON + 2 * MINUTE, timedelta(seconds=30))
POINTS = [START + 30 * number for number in range(5)]
WITNESSED = Reading((Series({}, tuple((point, 3.0) for point in POINTS)),))
ERRORS = Metric(name="errors", signal="errors", tolerance=0.2, at_least=0.01)
LIMIT = Metric(name="slo", signal="errors", maximum=0.1)
P99 = Metric(name="latency", signal="latency", tolerance=0.5)
POLICY = replace(THREE_STEPS, min_requests=20, metrics=(ERRORS,))
NO_SERIES = Reading(cause="no series")
BLIND = Reading(cause="Prometheus did not answer", blind=True)


def counted(good: float, bad: float) -> Reading:
    """A revision whose counters stood at 1000 and 7 when the window opened."""
    rising = {"2xx": (1000.0, good), "5xx": (7.0, bad)}
    return Reading(
        tuple(
            Series({"response_code_class": name}, ((POINTS[0], first), (POINTS[-1], first + more)))
            for name, (first, more) in rising.items()
        )
    )


def histogram(edges: Mapping[str, float]) -> Reading:
    return Reading(tuple(Series({"le": le}, ((POINTS[0], 50.0), (POINTS[-1], 50.0 + n))) for le, n in edges.items()))


def readings(canary: Reading, stable: Reading, **more: Reading) -> dict[str, Reading]:
    found = {WITNESS: WITNESSED, "errors/canary": canary, "errors/stable": stable}
    return found | {name.replace("_", "/"): reading for name, reading in more.items()}


def verdict(found: Mapping[str, Reading], *metrics: Metric, held: timedelta = timedelta()) -> Verdict:
    return judge(replace(POLICY, metrics=metrics or POLICY.metrics), found, WINDOW, held)


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_canary_as_good_as_stable_passes() -> None:
    found = verdict(readings(counted(99, 1), counted(297, 3)))
    assert found.outcome is Outcome.PASS
    assert found.requests == (100.0, 300.0)
    (measured,) = found.measurements
    assert measured.canary == pytest.approx(0.01)
    assert measured.stable == pytest.approx(0.01)
    assert measured.limit == pytest.approx(0.01 * 1.2 + 0.01)
    assert found.because == "errors 1.00% of 100 requests (stable 1.00%, limit 2.20%)"


def test_a_canary_that_is_worse_fails() -> None:
    found = verdict(readings(counted(96, 4), counted(297, 3)))
    assert found.outcome is Outcome.FAIL
    assert found.because == "errors 4.00% of 100 requests (stable 1.00%, limit 2.20%)"
    assert found.silent_for == timedelta()


def test_a_value_at_its_limit_passes() -> None:
    exact = replace(ERRORS, tolerance=1.0, at_least=0.0)
    assert verdict(readings(counted(96, 4), counted(98, 2)), exact).outcome is Outcome.PASS
    assert verdict(readings(counted(95, 5), counted(98, 2)), exact).outcome is Outcome.FAIL


@pytest.mark.parametrize(("canary", "stable", "said"), [(19, 300, "19 of 20"), (300, 5, "5 of 20"), (0, 0, "0 of 20")])
def test_too_few_requests_are_silence_with_words(canary: float, stable: float, said: str) -> None:
    found = verdict(readings(counted(canary, 0), counted(stable, 0)))
    assert found.outcome is Outcome.SILENT
    assert f"errors: {said} requests needed of" in found.because


def test_too_few_failures_are_silence_too() -> None:
    assert verdict(readings(counted(0, 19), counted(300, 0))).outcome is Outcome.SILENT


def test_just_enough_requests_are_enough() -> None:
    assert verdict(readings(counted(20, 0), counted(20, 0))).outcome is Outcome.PASS


def test_no_series_is_silence() -> None:
    assert verdict(readings(NO_SERIES, counted(300, 0))).outcome is Outcome.SILENT


# -- an absolute limit -----------------------------------------------------------------------------------------------


def test_a_limit_holds_for_the_canary_alone() -> None:
    assert verdict(readings(counted(89, 11), counted(100, 0)), LIMIT).outcome is Outcome.FAIL
    assert verdict(readings(counted(90, 10), counted(100, 0)), LIMIT).outcome is Outcome.PASS
    assert verdict(readings(counted(90, 10), NO_SERIES), LIMIT).outcome is Outcome.PASS
    assert verdict(readings(counted(19, 0), counted(100, 0)), LIMIT).outcome is Outcome.SILENT


def test_a_limit_that_stable_breaks_too_is_not_the_canary_s_fault() -> None:
    found = verdict(readings(counted(80, 20), counted(80, 20)), LIMIT)
    assert found.outcome is Outcome.SILENT
    assert "stable breaks that too, so the canary is not to blame" in found.because
    assert found.measurements[0].canary == pytest.approx(0.2)


def test_a_metric_may_be_compared_and_limited() -> None:
    found = verdict(readings(counted(88, 12), counted(91, 9)), replace(ERRORS, tolerance=1.0, maximum=0.1))
    assert [m.outcome for m in found.measurements] == [Outcome.FAIL]
    assert found.outcome is Outcome.FAIL


# -- who outranks whom -----------------------------------------------------------------------------------------------


def test_a_failure_that_was_measured_stands_while_another_query_is_blind() -> None:
    both = readings(counted(90, 10), counted(300, 0), latency_canary=BLIND, latency_stable=BLIND)
    found = verdict(both, ERRORS, P99)
    assert found.outcome is Outcome.FAIL
    assert "latency" not in found.because


def test_a_blind_query_outranks_a_pass_and_a_silence() -> None:
    blind = {"latency_canary": BLIND, "latency_stable": BLIND}
    passing = verdict(readings(counted(100, 0), counted(300, 0), **blind), ERRORS, P99)
    assert (passing.outcome, passing.because) == (Outcome.BLIND, "latency: Prometheus did not answer")
    silent = verdict(readings(counted(1, 0), counted(300, 0), **blind), ERRORS, P99)
    assert silent.outcome is Outcome.BLIND
    assert silent.silent_for == timedelta()


def test_silence_outranks_a_pass() -> None:
    quiet = readings(counted(100, 0), counted(300, 0), latency_canary=NO_SERIES, latency_stable=NO_SERIES)
    assert verdict(quiet, ERRORS, P99).outcome is Outcome.SILENT


def test_a_query_that_was_not_answered_is_blind() -> None:
    found = judge(POLICY, {WITNESS: WITNESSED}, WINDOW, timedelta())
    assert (found.outcome, found.because) == (Outcome.BLIND, "errors: the query was not asked")


def test_nothing_passes_without_a_measurement() -> None:
    found = judge(replace(POLICY, metrics=()), readings(counted(100, 0), counted(300, 0)), WINDOW, timedelta())
    assert (found.outcome, found.because) == (Outcome.SILENT, "the policy measures nothing")


# -- blind and silent ------------------------------------------------------------------------------------------------


def witnessed(*points: float) -> Reading:
    return Reading((Series({}, tuple((point, 3.0) for point in points)),))


def test_prometheus_that_does_not_answer_is_blind() -> None:
    found = verdict(readings(counted(100, 0), counted(300, 0)) | {WITNESS: BLIND})
    assert (found.outcome, found.because) == (Outcome.BLIND, "Prometheus did not answer")


def test_prometheus_that_scrapes_nothing_is_blind() -> None:
    found = verdict(readings(counted(100, 0), counted(300, 0)) | {WITNESS: Reading()})
    assert (found.outcome, found.because) == (Outcome.BLIND, "Prometheus answers, and has scraped nothing lately")


def test_a_stale_witness_is_blind() -> None:
    end = WINDOW.end.timestamp()
    stale = readings(counted(50, 50), counted(300, 0))
    assert verdict(stale | {WITNESS: witnessed(START, end - 75)}).outcome is Outcome.FAIL
    found = verdict(stale | {WITNESS: witnessed(START, end - 76)})
    assert (found.outcome, found.because) == (Outcome.BLIND, "Prometheus has scraped nothing for 76 s")


def test_a_blind_prometheus_is_told_before_anything_is_on_trial() -> None:
    assert judge(POLICY, {WITNESS: BLIND}, None, timedelta()).outcome is Outcome.BLIND
    assert judge(POLICY, {WITNESS: WITNESSED}, None, timedelta()).outcome is Outcome.SILENT
    assert judge(None, {WITNESS: BLIND}, None, timedelta()).outcome is Outcome.BLIND


def test_what_was_not_asked_says_nothing() -> None:
    found = judge(POLICY, {}, None, timedelta())
    assert (found.outcome, found.silent_for) == (Outcome.SILENT, timedelta())


def test_silence_lasts_as_long_as_was_scraped_without_what_was_held() -> None:
    quiet = readings(counted(1, 0), counted(300, 0))
    assert verdict(quiet).silent_for == timedelta(seconds=150)  # five points, 30 s apart
    assert verdict(quiet, held=timedelta(seconds=100)).silent_for == timedelta(seconds=50)
    assert verdict(quiet, held=timedelta(hours=1)).silent_for == timedelta()
    twice = quiet | {WITNESS: Reading((*WITNESSED.series, *WITNESSED.series))}
    assert verdict(twice).silent_for == timedelta(seconds=150)


def test_an_outage_of_the_monitoring_is_no_silence_though_its_last_scrape_is_seen_for_a_while() -> None:
    quiet = readings(counted(1, 0), counted(300, 0))
    over = quiet | {WITNESS: witnessed(POINTS[0], POINTS[1], POINTS[-1])}  # none between the first and the last
    assert verdict(over).silent_for == timedelta(seconds=60)
    lasting = quiet | {WITNESS: witnessed(*POINTS[:3])}  # it answers again, and has scraped nothing since
    assert verdict(lasting).silent_for == timedelta(seconds=60)


# -- counters --------------------------------------------------------------------------------------------------------


def series(*values: float, first: float = START) -> Series:
    return Series({}, tuple((first + 30 * number, value) for number, value in enumerate(values)))


INCREASE = {
    "a counter that rises": (series(10, 15, 30), 20.0),
    "a counter that stands": (series(10, 10), 0.0),
    "a restart counts from zero": (series(10, 15, 4, 9), 14.0),
    "a restart to zero": (series(10, 0, 3), 3.0),
    "one sample": (series(10), 0.0),
    "no sample": (Series({}, ()), 0.0),
}


@pytest.mark.parametrize("case", INCREASE)
def test_increments(case: str) -> None:
    grown, expected = INCREASE[case]
    assert increments(grown, born=False) == expected


def test_a_series_that_appears_after_others_of_its_pod_counts_from_zero() -> None:
    old = Series({"pod": "a", "le": "1"}, ((START, 10.0), (START + 30, 14.0)))
    young = Series({"pod": "a", "le": "2"}, ((START + 30, 3.0), (START + 60, 8.0), (START + 90, 2.0)))
    assert counted_by(Reading((old, young)), "le") == {"1": 4.0, "2": 10.0}


def test_a_lost_first_scrape_does_not_count_what_was_before_it() -> None:
    other = Series({"pod": "b", "le": "1"}, ((START, 1.0), (START + 30, 2.0)))
    late = Series({"pod": "a", "le": "1"}, ((START + 30, 1000.0), (START + 60, 1001.0)))
    assert counted_by(Reading((other, late)), "le") == {"1": 2.0}


@quick
@given(st.lists(st.lists(st.integers(0, 50), min_size=1), min_size=1, max_size=4))
def test_restarts_lose_nothing_that_was_scraped(lives: list[list[int]]) -> None:
    """Each inner list is what one process counted between scrapes, from zero."""
    values, total = [0.0], 0
    for life in lives:
        count = 0
        for more in life:
            count += more
            values.append(float(count))
        total += count
    lost = sum(  # a new process that has already counted past the old one cannot be told from it
        int(values[index]) for index in _unseen(lives, values)
    )
    assert increments(series(*values), born=False) == total - lost


def _unseen(lives: list[list[int]], values: list[float]) -> list[int]:
    index, found = 0, []
    for number, life in enumerate(lives):
        if number and values[index + 1] >= values[index]:
            found.append(index)
        index += len(life)
    return found


# -- latency ---------------------------------------------------------------------------------------------------------

QUANTILES: dict[str, tuple[dict[str, float], float | None]] = {
    "in the middle of a bucket": ({"10": 0, "50": 198, "+Inf": 200}, 0.050),  # rank 198 is its last request
    "linear within a bucket": ({"100": 98, "200": 100, "+Inf": 100}, 0.150),  # rank 99, one of two
    "from zero in the first bucket": ({"100": 100, "+Inf": 100}, 0.099),
    "beyond the last edge it is that edge": ({"10": 50, "500": 90, "+Inf": 100}, 0.500),
    "nothing but +Inf has no edge": ({"+Inf": 100}, 0.0),
    "no requests, no value": ({"10": 0, "+Inf": 0}, None),
    "no buckets, no value": ({}, None),
}


@pytest.mark.parametrize("case", QUANTILES)
def test_a_quantile_is_that_of_the_buckets(case: str) -> None:
    edges, expected = QUANTILES[case]
    slow = {"10": 0.0, "60000": 100.0, "+Inf": 100.0}
    found = verdict(
        readings(counted(100, 0), counted(100, 0), latency_canary=histogram(edges), latency_stable=histogram(slow)),
        P99,
    )
    (measured,) = found.measurements
    assert measured.canary == (None if expected is None else pytest.approx(expected))
    assert found.outcome is (Outcome.SILENT if expected is None else Outcome.PASS)


def test_a_slow_canary_fails_in_milliseconds() -> None:
    slow, fast = {"100": 0.0, "1000": 100.0, "+Inf": 100.0}, {"100": 100.0, "1000": 100.0, "+Inf": 100.0}
    found = verdict(
        readings(counted(100, 0), counted(100, 0), latency_canary=histogram(slow), latency_stable=histogram(fast)),
        P99,
    )
    assert found.outcome is Outcome.FAIL
    assert found.because == "latency 991 ms of 100 requests (stable 99 ms, limit 149 ms)"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(0.0, "ratio", "0%"), (0.0005, "ratio", "0.05%"), (1.0, "ratio", "100.00%"), (1.2345, "seconds", "1,234 ms")],
)
def test_amounts_are_written_as_people_read_them(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said
