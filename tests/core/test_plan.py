"""Which queries one look needs: of whom, over which instants, and from which sources."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.evidence import Question
from gitops_serving.core.measure import Kind, Metric, Reading, Series, Source
from gitops_serving.core.model import Past, Timing
from gitops_serving.core.plan import (
    MOST_POINTS,
    USUAL,
    WITNESS,
    Plan,
    Survey,
    plan,
    step_at,
    survey_queries,
    surveyed,
    terms,
)
from gitops_serving.core.tracks import Margin

from .situations import HEALTHY, IDLE, MINUTE, NOON, THREE_STEPS, UNKNOWN, checked, quick, with_live, with_rollout

if TYPE_CHECKING:
    from gitops_serving.core.measure import Query
    from gitops_serving.core.model import Situation

SECOND = timedelta(seconds=1)
TIMING = Timing(block=30 * SECOND, warm_up=60 * SECOND, warm_up_after_shift=30 * SECOND)
SELECTOR = '{namespace_name="{{ namespace }}",revision_name="{{ revision }}"}'
OLD, NEW = "count(old)", "count(new)"
COUNTER = Source(
    kind=Kind.COUNTER, parts={"total": f"n{SELECTOR}", "bad": f"e{SELECTOR}"}, pack="knative", name="old", detect=OLD
)
OTHER = replace(COUNTER, parts={"total": f"m{SELECTOR}", "bad": f"f{SELECTOR}"}, name="new", detect=NEW)
ERRORS = Metric(name="errors", pack="errors", sources=(COUNTER, OTHER), tolerance=0.2, unit="ratio")
SLO = Metric(name="slo", pack="knative/errors", sources=(COUNTER, OTHER), maximum=0.01, unit="ratio")
SCORE = Metric(
    name="score",
    sources=(Source(kind=Kind.GAUGE, parts={"value": f"avg_over_time(s{SELECTOR}[{{{{ window }}}}])"}),),
    minimum=0.8,
    higher_is_better=True,
    delay=5 * MINUTE,
    enforced=False,
)
POLICY = replace(THREE_STEPS, timing=TIMING, metrics=(ERRORS, SLO, SCORE))
MEASURED = with_live(
    replace(HEALTHY, policy=POLICY),
    names={"v2.2": "scorer-predictor-00002", "v1.1": "scorer-predictor-00001"},
    shares={"scorer-predictor-00002": 25, "scorer-predictor-00001": 75},
    rolled="scorer-predictor-00001",
)
STARTED = NOON - 6 * MINUTE
FOUND = Survey(frozenset({OLD, NEW}), 10 * SECOND)


@dataclass(frozen=True, slots=True)
class Kept:
    """How far evidence was gathered."""

    key: tuple[object, ...]
    until: int


def planned(
    seen: Situation = MEASURED, survey: Survey = FOUND, folded: Kept | None = None, most: int = MOST_POINTS
) -> Plan:
    return plan(seen.rollout, seen.policy, seen.live, survey, now=seen.now, folded=folded, most=most)


def queries(made: Plan) -> dict[str, Query]:
    assert len({query.name for query in made.queries}) == len(made.queries)
    return {query.name: query for query in made.queries}


def kept(until: int, seen: Situation = MEASURED) -> Kept:
    return Kept(planned(seen).key, until)


# -- over which instants ---------------------------------------------------------------------------------------------


def test_evidence_is_read_at_instants_that_are_counted_from_the_rollout_s_start() -> None:
    made = planned(folded=kept(10))
    assert (made.origin, made.step) == (STARTED, 10 * SECOND)
    assert (made.first, made.last, made.behind) == (11, 71, 0)  # now is 72 steps on, and a scrape may be 10 s late
    total = queries(made)["knative/errors/total/canary"]
    assert (total.start, total.end, total.step) == (STARTED + 110 * SECOND, STARTED + 710 * SECOND, 10 * SECOND)


def test_the_first_look_reads_what_stable_was_like_before_and_a_look_a_block_will_do_for_that() -> None:
    made = planned()
    assert (made.first, made.last, made.every, made.behind) == (-60, -1, 3, 72)
    assert list(queries(made)) == [
        WITNESS,
        "knative/errors/total/stable",
        "knative/errors/bad/stable",
        "score/value/stable",
    ]
    total = queries(made)["knative/errors/total/stable"]
    assert (total.start, total.end, total.step) == (STARTED - 600 * SECOND, STARTED - 30 * SECOND, 30 * SECOND)


def test_no_more_is_read_at_once_than_an_answer_can_hold() -> None:
    late = replace(MEASURED, now=NOON + 60 * MINUTE)
    made = planned(late, folded=kept(-1, late))
    assert (made.first, made.last) == (0, MOST_POINTS - 1)
    assert made.behind == 6 * 66 - MOST_POINTS


def test_where_nothing_is_new_the_witness_alone_is_asked() -> None:
    assert list(queries(planned(folded=kept(71)))) == [WITNESS]


@quick
@given(st.lists(st.integers(0, 700), max_size=8))
def test_the_same_instants_are_read_in_whatever_portions(lasts: list[int]) -> None:
    """A look just after the start ends in the middle of a block of the history."""
    read: list[int] = []
    folded = None
    for seconds in [*sorted(lasts), 700, 700, 700]:
        made = planned(replace(MEASURED, now=STARTED + seconds * SECOND), folded=folded)
        read += made.instants
        folded = Kept(made.key, made.last if made.last >= made.first else made.first - 1)
    assert read == [*range(-60, 0, 3), *range(70)]


def test_evidence_of_another_policy_start_grid_or_source_is_not_gone_on_with() -> None:
    others = [
        replace(MEASURED, policy=replace(POLICY, digest="other")),
        with_rollout(MEASURED, canary=replace(HEALTHY.rollout.canary, started=STARTED - MINUTE)),  # type: ignore[type-var]
        with_live(MEASURED, rolled="scorer-predictor-00007"),
    ]
    assert all(planned(seen, folded=kept(10)).first == -60 for seen in others)
    assert planned(survey=replace(FOUND, interval=5 * SECOND), folded=kept(10)).first == -120
    assert planned(survey=replace(FOUND, present=frozenset({NEW})), folded=kept(10)).first == -60


@pytest.mark.parametrize(
    ("interval", "block", "step"), [(15, 30, 10), (5, 30, 5), (60, 600, 60), (60, 90, 30), (1, 30, 1), (15, 1, 1)]
)
def test_the_grid_is_as_fine_as_prometheus_scrapes_and_three_times_a_block(
    interval: int, block: int, step: int
) -> None:
    seen = replace(MEASURED, policy=replace(POLICY, timing=replace(TIMING, block=block * SECOND)))
    assert planned(seen, replace(FOUND, interval=interval * SECOND)).step == step * SECOND


@pytest.mark.parametrize(("interval", "last", "span"), [(1, 719, 2), (5, 143, 8), (15, 71, 23), (60, 71, 90)])
def test_the_last_instant_lies_so_far_back_that_no_scrape_can_be_missing(interval: int, last: int, span: int) -> None:
    """A grid finer than the scrapes saw holes between them, and read instants whose scrape was still under way."""
    survey = replace(FOUND, interval=interval * SECOND, slowest=interval * SECOND)
    made = planned(survey=survey, folded=Kept(planned(survey=survey).key, last - 5))
    assert made.last == last
    assert queries(made)[WITNESS].expression == f"max(count_over_time(up[{span}s]))"


def test_a_gauge_is_read_once_in_three_blocks_and_over_that_window() -> None:
    score = queries(planned(folded=kept(10)))["score/value/canary"]
    assert (score.start, score.end, score.step) == (STARTED + 180 * SECOND, STARTED + 630 * SECOND, 90 * SECOND)
    assert "[90s]" in score.expression
    assert "score/value/canary" not in queries(planned(folded=kept(64)))


@pytest.mark.parametrize(("slowest", "window"), [(15, 90), (30, 120), (60, 240)])
def test_a_gauge_s_window_holds_four_scrapes(slowest: int, window: int) -> None:
    """A rate over fewer than two has no value: the canary of a slowly scraped service was silent for ever."""
    survey = replace(FOUND, slowest=slowest * SECOND)
    assert (
        f"[{window}s]"
        in queries(planned(survey=survey, folded=Kept(planned(survey=survey).key, 10)))["score/value/canary"].expression
    )


def test_what_is_scraped_seldom_is_waited_for_though_something_else_is_scraped_often() -> None:
    survey = replace(FOUND, interval=SECOND, slowest=30 * SECOND)
    assert planned(survey=survey, folded=Kept(planned(survey=survey).key, 10)).lag == 10 * SECOND


def test_what_only_a_dry_run_asks_for_blinds_nobody() -> None:
    silence = Reading(cause="too slow", blind=True)
    dry = replace(POLICY, metrics=tuple(replace(m, enforced=m.name != "score") for m in POLICY.metrics))
    made = planned(replace(MEASURED, policy=dry), folded=None)
    assert made.blinding({"score/value/stable": silence}) == ""
    assert made.blinding({"knative/errors/total/stable": silence}) == "too slow"
    assert made.blinding({WITNESS: silence}) == "too slow"
    obeyed = replace(POLICY, metrics=tuple(replace(m, enforced=True) for m in POLICY.metrics))
    assert planned(replace(MEASURED, policy=obeyed)).blinding({"score/value/stable": silence}) == "too slow"


# -- steps -----------------------------------------------------------------------------------------------------------


def test_each_weight_has_its_instant() -> None:
    canary = HEALTHY.rollout.canary
    assert canary is not None
    seen = with_rollout(MEASURED, canary=replace(canary, past=(Past(5, STARTED),)))
    assert planned(seen).steps == (0.0, 360.0)
    assert [step_at((0.0, 360.0), t) for t in (-1.0, 0.0, 359.0, 360.0, 1e9)] == [-1, 0, 0, 1, 1]
    assert step_at((), 0.0) == -1


# -- of whom ---------------------------------------------------------------------------------------------------------

UNMEASURABLE = {
    "the cluster does not answer": replace(MEASURED, live=UNKNOWN),
    "the canary has no name yet": with_live(MEASURED, names={}),
    "stable has no name": with_live(MEASURED, rolled=None),
    "another revision is the baseline": with_live(MEASURED, baseline="?"),
    "there is no policy": checked(replace(MEASURED, policy=None, verdict=IDLE.verdict)),
}


@pytest.mark.parametrize("case", UNMEASURABLE)
def test_the_witness_alone_is_asked_where(case: str) -> None:
    made = planned(UNMEASURABLE[case])
    assert list(queries(made)) == [WITNESS]
    assert made.origin is None


def test_a_canary_that_takes_over_is_not_measured() -> None:
    canary = MEASURED.rollout.canary
    assert canary is not None
    seen = with_rollout(replace(MEASURED, verdict=IDLE.verdict), canary=replace(canary, weight=100))
    assert list(queries(planned(with_live(seen, shares={"scorer-predictor-00002": 100})))) == [WITNESS]


def test_nothing_is_asked_where_nothing_is_pending_or_on_trial() -> None:
    for seen in (IDLE, replace(IDLE, rollout=replace(IDLE.rollout, stable=None))):
        assert planned(seen) == Plan()
    assert plan(replace(IDLE.rollout, wanted="?"), POLICY, IDLE.live, FOUND, now=NOON, folded=None) == Plan()


def test_a_pending_push_asks_what_stable_is_like_and_for_the_witness_up_to_now() -> None:
    pending = with_live(with_rollout(replace(IDLE, policy=POLICY), wanted="v2"), rolled="scorer-predictor-00001")
    made = planned(pending)
    assert made.steps == ()
    assert all(name.endswith("/stable") for name in queries(made) if name != WITNESS)
    assert queries(made)[WITNESS].end == pending.now - 10 * SECOND
    assert queries(made)["knative/errors/total/stable"].step == 30 * SECOND


# -- from which sources ----------------------------------------------------------------------------------------------


def test_metrics_of_one_signal_share_its_queries() -> None:
    names = [name for name in queries(planned(folded=kept(10))) if name.startswith("knative/errors")]
    assert names == [f"knative/errors/{part}/{arm}" for part in ("total", "bad") for arm in ("canary", "stable")]


def test_the_first_source_that_is_there_is_asked() -> None:
    for present, metric in (({OLD, NEW}, "n"), ({NEW}, "m")):
        survey = replace(FOUND, present=frozenset(present))
        made = planned(survey=survey, folded=Kept(planned(survey=survey).key, 10))
        assert queries(made)["knative/errors/total/canary"].expression == (
            f'{metric}{{namespace_name="fraud",revision_name="scorer-predictor-00002"}}'
        )


def test_a_metric_whose_sources_are_not_there_is_said_to_be_wrong() -> None:
    made = planned(survey=replace(FOUND, present=frozenset()))
    words = "none of its sources is in Prometheus for namespace fraud: knative (old); knative (new)"
    assert made.wrong == {"errors": words, "slo": words}
    assert list(made.signals) == ["score"]


@quick
@given(st.text())
def test_no_name_can_leave_its_matcher(name: str) -> None:
    """The expression is parsed as PromQL would: one selector, whose text gives the name back."""
    expression = queries(planned(with_live(MEASURED, rolled=name or "x")))["knative/errors/total/stable"].expression
    found = re.fullmatch(r'n\{namespace_name="fraud",revision_name="((?:[^"\\\n]|\\.)*)"\}', expression)
    assert found is not None, expression
    escape = r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8})|(.))"
    read = re.sub(escape, lambda match: match[3] or chr(int(match[1] or match[2], 16)), found[1])
    assert read == (name or "x")


# -- the survey ------------------------------------------------------------------------------------------------------


def counted(**counts: float) -> dict[str, Reading]:
    """What a survey is answered: how often something was scraped in 10 s, a minute and five minutes."""
    values = {f"interval/max/{span.removeprefix('in_')}": value for span, value in counts.items()}
    return {
        name: Reading((Series({}, ((0.0, values[name]),)),)) if values.get(name) else Reading(cause="no series")
        for name in ("interval/max/10s", "interval/max/60s", "interval/max/300s")
    }


@pytest.mark.parametrize(
    ("counts", "seconds"),
    [
        ({"in_10s": 10, "in_60s": 60, "in_300s": 300}, 1),
        ({"in_10s": 5, "in_60s": 30, "in_300s": 150}, 2),
        ({"in_10s": 2, "in_60s": 12, "in_300s": 60}, 5),
        ({"in_10s": 1, "in_60s": 6, "in_300s": 30}, 10),
        ({"in_10s": 1, "in_60s": 4, "in_300s": 20}, 15),
        ({"in_60s": 2, "in_300s": 10}, 30),
        ({"in_60s": 1, "in_300s": 5}, 60),
        ({"in_10s": 2, "in_60s": 8, "in_300s": 8}, 5),  # forty seconds young
        ({}, 15),
    ],
)
def test_how_often_prometheus_scrapes_is_counted(counts: dict[str, float], seconds: int) -> None:
    assert surveyed(counted(**counts)).interval == seconds * SECOND
    assert USUAL == 15 * SECOND


def test_a_source_is_there_if_its_detection_was_answered() -> None:
    there = Reading((Series({}, ((0.0, 1.0),)),))
    assert surveyed(counted() | {OLD: there, NEW: Reading(cause="no series")}).present == {OLD}


def test_what_is_scraped_least_often_is_found_too() -> None:
    told = counted(in_10s=10, in_60s=60, in_300s=300)
    told["interval/min/10s"] = Reading((Series({}, ((0.0, 2.0),)),))
    assert (surveyed(told).interval, surveyed(told).slowest) == (SECOND, 5 * SECOND)
    assert surveyed(counted(in_10s=10)).slowest == SECOND


def test_a_detection_that_prometheus_rejects_is_told_in_its_words() -> None:
    survey = surveyed(counted() | {OLD: Reading(cause="parse error", wrong=True), NEW: Reading(cause="no series")})
    made = planned(survey=survey)
    assert "parse error" in made.wrong["errors"]
    assert "errors" not in made.absent
    unread = planned(survey=surveyed(counted()))
    assert "none of its sources" in unread.wrong["errors"]
    assert "errors" in unread.absent


def test_less_is_asked_for_where_less_is_wanted() -> None:
    made = planned(folded=kept(10))
    fewer = planned(folded=kept(10), most=7)
    assert (fewer.first, fewer.last, fewer.behind) == (made.first, made.first + 6, made.last - made.first - 6)
    assert list(planned(most=4).instants) == [-60, -57, -54, -51]


def test_how_often_is_asked_of_the_rollout_s_start_whoever_asks_and_when() -> None:
    """Asked of the present, it changed with every gap, and the grid and all evidence with it."""
    asked = [survey_queries(POLICY, "fraud/scorer", NOON, NOON + minutes * MINUTE) for minutes in (0, 7, 60)]
    intervals = [[query for query in each if query.name.startswith("interval/")] for each in asked]
    assert intervals[0] == intervals[1] == intervals[2]
    assert {query.end for query in intervals[0]} == {NOON - 10 * SECOND}


def test_no_query_ends_before_it_begins_though_a_rollout_begins_in_the_future() -> None:
    asked = survey_queries(POLICY, "fraud/scorer", NOON + timedelta(days=9999), NOON)
    assert all(query.start <= query.end for query in asked)


# -- terms -----------------------------------------------------------------------------------------------------------


def test_metrics_are_put_as_questions() -> None:
    found = terms(replace(POLICY, false_abort=0.01, min_requests=33))
    assert (found.bound, found.min_requests, found.timings.block) == (100.0, 33, 30.0)
    assert found.questions == (
        Question(name="errors", kind=Kind.COUNTER, margin=Margin(tolerance=0.2)),
        Question(name="slo", kind=Kind.COUNTER, margin=Margin(limit=0.01)),
        Question(name="score", kind=Kind.GAUGE, margin=Margin(limit=0.8), sign=-1.0, delay=300.0, enforced=False),
    )
