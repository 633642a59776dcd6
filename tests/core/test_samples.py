"""Readings to evidence: the same samples give the same evidence, whoever reads them, when, and in what portions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.blocks import Counts
from gitops_serving.core.gauges import Gauge
from gitops_serving.core.measure import Reading, Series
from gitops_serving.core.samples import gather

from .moments import ERRORS, LATENCY, LIMIT, SCORE, terms
from .readings import BUCKETS, GAUGE, Prometheus, gathered, planned, series
from .situations import quick

# -- in portions -----------------------------------------------------------------------------------------------------


@st.composite
def scraped(draw: st.DrawFn) -> Prometheus:
    """A Prometheus with pods that come, go, restart and are lost, and with answers that are odd at times."""
    answers: dict[str, list[Series]] = {}
    for arm in ("canary", "stable"):
        for pod in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
            born, dies = draw(st.integers(0, 20)), draw(st.integers(20, 60))
            values: dict[int, float] = {}
            count = draw(st.integers(0, 100))
            for index in range(born, dies):
                count = 0 if draw(st.integers(0, 30)) == 0 else count + draw(st.integers(0, 30))
                if draw(st.integers(0, 9)):
                    values[index] = float(count)
            labels = {"pod": f"{arm}-{pod}", "__name__": draw(st.sampled_from(["x", "x", "x", "y"]))}
            answers.setdefault(f"it/total/{arm}", []).append(series(values, **labels))
            errors = {index: value // 3 for index, value in values.items() if index > 30}
            answers.setdefault(f"it/bad/{arm}", []).append(series(errors, **labels, code="500"))
    out = draw(st.integers(0, 70))
    return Prometheus(answers, scraped=[index for index in range(-60, 70) if not out <= index < out + 10])


@quick
@given(scraped(), st.lists(st.integers(0, 60), max_size=12))
def test_the_same_samples_give_the_same_evidence_in_whatever_portions(prometheus: Prometheus, lasts: list[int]) -> None:
    whole = gathered(prometheus, [60])
    portions = gathered(prometheus, [*sorted(lasts), 60])
    assert portions.evidence == whole.evidence
    assert portions.until == whole.until
    assert portions.wrong == whole.wrong


@quick
@given(scraped(), st.integers(0, 59))
def test_a_cache_that_is_lost_changes_nothing(prometheus: Prometheus, at: int) -> None:
    before = gathered(prometheus, [at])
    plan = planned(60, folded=before)
    after = gather(plan, prometheus.read(plan), before)
    assert after == gathered(prometheus, [60])


def test_what_is_kept_is_not_changed_by_the_next_look() -> None:
    prometheus = Prometheus({"it/total/stable": [series(range(0, 600, 10))]})
    before = gathered(prometheus, [10])
    kept = {key: account.copy() for key, account in before.accounts.items()}
    plan = planned(60, folded=before)
    gather(plan, prometheus.read(plan), before)
    assert before.accounts == kept


def test_other_evidence_is_begun_where_it_is_of_something_else() -> None:
    prometheus = Prometheus({"it/total/stable": [series(range(0, 600, 10))]})
    before = gathered(prometheus, [30])
    plan = replace(planned(60), key=("another rollout",))
    after = gather(plan, prometheus.read(plan), before)
    assert after is not None
    assert after.evidence == gathered(prometheus, [60]).evidence


# -- what is not scraped ---------------------------------------------------------------------------------------------


def test_nothing_is_folded_beyond_the_last_scrape_until_there_is_another() -> None:
    prometheus = Prometheus({"it/total/stable": [series(range(0, 600, 10))]}, scraped=range(20))
    assert gathered(prometheus, [30]).until == 19
    assert gathered(replace(prometheus, scraped=[*range(20), 40]), [30, 50]).until == 40


def test_an_outage_longer_than_one_look_can_read_is_passed() -> None:
    """Nothing in the portion was scraped, so the folding stayed where it was, and read the same portion for ever."""
    prometheus = Prometheus({"it/total/stable": [series(range(0, 600, 10))]}, scraped=[0, 55])
    before = gathered(prometheus, [1])
    plan = replace(planned(30, folded=before), behind=30)
    after = gather(plan, prometheus.read(plan), before)
    assert after is not None
    assert after.until == 30


def test_where_prometheus_could_not_be_asked_it_is_asked_again() -> None:
    prometheus = Prometheus({"it/total/stable": [series(range(0, 600, 10))]})
    before = gathered(prometheus, [10])
    plan = planned(20, folded=before)
    readings = prometheus.read(plan) | {"it/bad/stable": Reading(cause="no answer", blind=True)}
    assert gather(plan, readings, before) is before


def test_a_gauge_is_read_only_at_instants_at_which_something_was_scraped() -> None:
    """Prometheus goes on answering with the last value for five minutes: those are no windows of their own."""
    values = {"it/value/canary": [series([1.0] * 60, r="c")], "it/value/stable": [series([1.0] * 60, r="s")]}

    def windows(prometheus: Prometheus) -> int:
        track = gathered(prometheus, [59], source=GAUGE, question=SCORE).evidence.tracks["score"]
        assert isinstance(track, Gauge)
        return track.windows

    assert windows(Prometheus(values)) == 54  # the warm-up is over at 60 s
    assert windows(Prometheus(values, scraped=[*range(20), *range(40, 60)])) == 34


# -- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_sample(value: float) -> None:
    whole = Prometheus({"it/total/stable": [series([10.0, 20.0, 30.0, 40.0])]})
    holed = Prometheus({"it/total/stable": [series([10.0, value, 30.0, 40.0])]})
    assert gathered(holed, [3]).evidence.looked == gathered(whole, [3]).evidence.looked == (None, Counts(30.0, (0.0,)))


def two(index: int) -> list[Series]:
    """One series, and one more of another name at one instant."""
    return [series([10.0] * 60, __name__="a"), series({index: 10.0}, __name__="b")]


def test_an_odd_answer_is_told_for_as_long_as_it_is_the_latest() -> None:
    prometheus = Prometheus({"it/total/stable": two(10)})
    assert "several names: a, b" in gathered(prometheus, [10]).wrong["errors"]
    assert gathered(prometheus, [10, 11]).wrong == {}
    assert gathered(prometheus, [9]).wrong == {}


def test_a_look_at_which_nothing_new_is_asked_leaves_complaints_as_they_are() -> None:
    """A metric that could not be read passed at the next look, because that one had no answers to complain about."""
    prometheus = Prometheus({"it/total/stable": two(10)})
    before = gathered(prometheus, [10])
    plan = planned(10, folded=before)
    assert gather(plan, {"scraped": prometheus.read(plan)["scraped"]}, before) == before


def test_a_query_that_prometheus_rejects_is_told_in_its_words_until_it_is_answered() -> None:
    prometheus = Prometheus({"it/total/stable": [series([10.0] * 60)]}, refused={"it/bad/stable": "parse error"})
    assert gathered(prometheus, [10]).wrong == {"errors": "parse error"}
    before = gathered(prometheus, [10])
    plan = planned(20, folded=before)
    after = gather(plan, replace(prometheus, refused={}).read(plan), before)
    assert after is not None
    assert after.wrong == {}


def test_a_source_that_is_not_there_is_told() -> None:
    plan = replace(planned(10), signals={}, wrong={"errors": "none of its sources is there"})
    folded = gather(plan, Prometheus().read(plan), None)
    assert folded is not None
    assert folded.wrong == {"errors": "none of its sources is there"}


def test_what_was_counted_while_an_answer_was_odd_is_not_lost() -> None:
    odd = [series(range(0, 600, 10), __name__="a"), series({30: 0.0}, __name__="b")]
    folded = gathered(Prometheus({"it/total/stable": odd}), [59])
    assert folded.evidence.looked[1] == Counts(590.0, (0.0,))


def test_metrics_that_ask_for_the_same_signal_share_its_account() -> None:
    plan = planned(59)
    signals = {"errors": plan.signals["errors"], "slo": plan.signals["errors"]}
    prometheus = Prometheus({f"it/total/{arm}": [series(range(0, 600, 10), r=arm)] for arm in ("canary", "stable")})
    folded = gather(replace(plan, signals=signals, terms=terms(ERRORS, LIMIT)), prometheus.read(plan), None)
    assert folded is not None
    assert list(folded.accounts) == ["it"]
    assert folded.evidence.tallies["errors"] == folded.evidence.tallies["slo"]


def test_milliseconds_are_read_as_seconds() -> None:
    answers = {
        f"it/buckets/{arm}": [series([0.0] * 20, le=le, r=arm) for le in ("50", "100", "+Inf")]
        for arm in ("canary", "stable")
    }
    folded = gathered(Prometheus(answers), [19], source=BUCKETS, question=LATENCY)
    assert folded.evidence.tracks["latency"].edges == (0.05, 0.1)  # type: ignore[union-attr]
