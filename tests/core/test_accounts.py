"""Series to counts: restarts, births and losses, and answers that mean nothing or too much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core.accounts import Account, Line
from gitops_serving.core.blocks import Counts
from gitops_serving.core.measure import Kind, Series, Source

from .readings import BUCKETS, COUNTED, GAUGE
from .situations import quick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.core.accounts import Heard

TOTAL, BAD, STABLE = ("total", "canary"), ("bad", "canary"), ("total", "stable")
Values = dict[tuple[str, str], list[tuple[dict[str, str], float]]]


def heard(values: Values, scale: float = 1.0) -> Heard:
    return {
        key: [(Line.of(Series(labels, ()), scale), value) for labels, value in each] for key, each in values.items()
    }


def canary(account: Account, *instants: Values) -> Counts | None:
    """Say what the canary had counted after these instants."""
    told = heard({}, account.source.scale)
    for instant in instants:
        told = heard(instant, account.source.scale)
        account.hear(told)
    return account.pair(told)[0]


def total(*values: float) -> float:
    """Say what one counter gained in all."""
    counts = canary(Account(COUNTED), *({TOTAL: [({"pod": "a"}, value)]} for value in values))
    assert counts is not None
    return counts.requests


GAINED = {
    "a counter that rises": ((10, 15, 30), 20),
    "a counter that stands": ((10, 10), 0),
    "a restart counts from zero": ((10, 15, 4, 9), 14),
    "a restart to zero": ((10, 0, 3), 3),
    "one sample": ((10,), 0),
    "a counter below zero, which is none": ((10, -5, -3), 2),
}


@pytest.mark.parametrize("case", GAINED)
def test_what_a_counter_gained(case: str) -> None:
    values, gained = GAINED[case]
    assert total(*values) == gained


@quick
@given(st.lists(st.floats(-1e6, 1e9), min_size=1, max_size=20))
def test_a_reset_never_gives_a_negative_increment(values: list[float]) -> None:
    account, before = Account(COUNTED), 0.0
    for value in values:
        counts = canary(account, {TOTAL: [({}, value)]})
        assert counts is not None
        assert counts.requests >= before
        before = counts.requests


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_a_lost_scrape_gives_the_same_totals_as_none_lost(drawn: list[tuple[int, bool]]) -> None:
    values = [sum(more for more, _ in drawn[: number + 1]) for number in range(len(drawn))]
    kept = [value for value, (_, lost) in zip(values, drawn, strict=True) if not lost]
    assert total(*[0, *values]) == total(*[0, *kept, values[-1]])


def test_a_series_counts_from_its_first_value() -> None:
    assert canary(Account(COUNTED), {TOTAL: [({"pod": "a"}, 1000.0)]}, {TOTAL: [({"pod": "a"}, 1007.0)]}) == Counts(
        7.0, (0.0,)
    )


def test_a_series_that_appears_after_others_of_its_pod_was_born_meanwhile() -> None:
    one, two = ({"pod": "a", "code": "200"}, 1000.0), ({"pod": "a", "code": "201"}, 7.0)
    assert canary(Account(COUNTED), {TOTAL: [one]}, {TOTAL: [one, two]}) == Counts(7.0, (0.0,))
    other = ({"pod": "b", "code": "200"}, 7.0)
    assert canary(Account(COUNTED), {TOTAL: [one]}, {TOTAL: [one, other]}) == Counts(0.0, (0.0,))


def test_the_first_errors_of_a_pod_count_though_no_error_of_it_was_seen_before() -> None:
    """A series of errors is there only once there are errors: all that came before its first scrape were lost."""
    good, bad = {"pod": "a", "code": "200"}, {"pod": "a", "code": "500"}
    first: Values = {TOTAL: [(good, 1000.0)]}
    then: Values = {TOTAL: [(good, 1010.0), (bad, 7.0)], BAD: [(bad, 7.0)]}
    assert canary(Account(COUNTED), first, then) == Counts(17.0, (7.0,))


def test_the_death_of_a_pod_is_no_reset_of_the_sum() -> None:
    a, b = {"pod": "a"}, {"pod": "b"}
    account = Account(COUNTED)
    assert canary(account, {TOTAL: [(a, 10.0), (b, 10.0)]}, {TOTAL: [(a, 20.0), (b, 15.0)]}) == Counts(15.0, (0.0,))
    assert canary(account, {TOTAL: [(b, 16.0)]}) == Counts(16.0, (0.0,))


def test_errors_are_also_what_is_not_good() -> None:
    source = Source(kind=Kind.COUNTER, parts={"total": "t", "good": "g"})
    good = ("good", "canary")
    first: Values = {TOTAL: [({}, 10.0)], good: [({}, 9.0)]}
    assert canary(Account(source), first, {TOTAL: [({}, 20.0)], good: [({}, 16.0)]}) == Counts(10.0, (3.0,))
    source = Source(kind=Kind.COUNTER, parts={"bad": "b", "good": "g"})
    first = {BAD: [({}, 1.0)], good: [({}, 9.0)]}
    assert canary(Account(source), first, {BAD: [({}, 3.0)], good: [({}, 17.0)]}) == Counts(10.0, (2.0,))


def edges(values: Mapping[str, float], arm: str = "canary") -> Values:
    return {("buckets", arm): [({"le": le}, value) for le, value in values.items()]}


def test_buckets_become_requests_beyond_each_edge_in_the_signal_s_unit() -> None:
    nothing, some = {"100": 0.0, "500": 0.0, "+Inf": 0.0}, {"100": 6.0, "500": 9.0, "+Inf": 10.0}
    account = Account(BUCKETS)
    account.hear(heard(edges(nothing, "stable"), 0.001))
    assert account.edges == (0.1, 0.5)
    assert canary(account, edges(nothing), edges(some)) == Counts(10.0, (4.0, 1.0))


def test_no_latency_is_measured_at_an_edge_of_zero_and_drift_has_all_edges() -> None:
    """OpenTelemetry's default buckets begin with 0, of which there is no logarithm."""
    zero = edges({"-1": 0.0, "0": 0.0, "5": 1.0, "+Inf": 2.0}, "stable")
    for kind, found in {Kind.HISTOGRAM: (5.0,), Kind.DRIFT: (-1.0, 0.0, 5.0)}.items():
        account = Account(Source(kind=kind, parts={"buckets": "x"}))
        assert account.hear(heard(zero))
        assert account.edges == found


def test_a_revision_that_was_not_scraped_had_counted_nothing_that_is_known() -> None:
    account = Account(COUNTED)
    told = heard({STABLE: [({}, 1.0)]})
    assert account.hear(told)
    assert account.pair(told) == (None, Counts(0.0, (0.0,)))


def test_a_copy_goes_on_by_itself() -> None:
    account = Account(COUNTED)
    canary(account, {TOTAL: [({}, 1.0)]})
    copy = account.copy()
    canary(copy, {TOTAL: [({}, 9.0)]})
    assert canary(account, {TOTAL: [({}, 3.0)]}) == Counts(2.0, (0.0,))


ODD: dict[str, tuple[Source, Values, str]] = {
    "a label that does not tell revisions apart": (
        COUNTED,
        {TOTAL: [({"a": "b"}, 1.0)], STABLE: [({"a": "b"}, 1.0)]},
        "label revision_name does not tell the revisions apart: both are answered with the same series",
    ),
    "a query of the policy's that does not": (
        GAUGE,
        {("value", "canary"): [({"__name__": "x"}, 1.0)], ("value", "stable"): [({"__name__": "x"}, 1.0)]},
        "its query does not tell the revisions apart",
    ),
    "counters of several names": (
        COUNTED,
        {TOTAL: [({"__name__": "a"}, 1.0), ({"__name__": "b"}, 1.0)]},
        "one query is answered with counters of several names: a, b",
    ),
    "two series of a gauge": (
        GAUGE,
        {("value", "stable"): [({"pod": "a"}, 1.0), ({"pod": "b"}, 2.0)]},
        "2 series where one is meant; sum them up, or choose one",
    ),
    "a histogram without le": (
        BUCKETS,
        {("buckets", "stable"): [({"pod": "a"}, 1.0)]},
        "without the label le; ask for its _bucket series",
    ),
    "a histogram with an le that is no number": (BUCKETS, edges({"many": 1.0, "+Inf": 2.0}), "without the label le"),
    "a histogram without +Inf": (BUCKETS, edges({"100": 1.0}), "without its last bucket, +Inf"),
    "revisions with other buckets": (
        BUCKETS,
        edges({"100": 1.0, "+Inf": 1.0}, "stable")
        | {("buckets", "canary"): [({"le": "+Inf", "r": "c"}, 1.0), ({"le": "9"}, 1.0)]},
        "the histogram of canary has other buckets than before, and cannot be compared",
    ),
    "pods with unlike buckets": (
        BUCKETS,
        {
            ("buckets", "canary"): [
                *[({"pod": "a", "le": le}, 1.0) for le in ("100", "500", "+Inf")],
                *[({"pod": "b", "le": le}, 1.0) for le in ("100", "+Inf")],
            ]
        },
        "the histograms of canary's pods have unlike buckets, and cannot be added up",
    ),
    "one bucket twice": (
        BUCKETS,
        {("buckets", "stable"): [({"le": le}, 1.0) for le in ("100", "100.0", "+Inf")]},
        "the histograms of stable's pods have unlike buckets, and cannot be added up",
    ),
    "buckets that are not cumulative": (
        BUCKETS,
        edges({"100": 3.0, "500": 2.0, "+Inf": 5.0}),
        "the histogram of canary is not cumulative: a bucket holds more than the next one up",
    ),
    "a query of good requests that finds none of stable's": (
        Source(kind=Kind.COUNTER, parts={"total": "t", "good": "g"}),
        {TOTAL: [({"r": "c"}, 1.0)], STABLE: [({"r": "s"}, 1.0)], ("good", "canary"): [({"r": "c"}, 1.0)]},
        "stable has requests, and nothing is told of those that were good; correct the query for them",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_an_answer_that_may_mean_anything_is_said_to_and_counts_for_nothing(case: str) -> None:
    source, values, words = ODD[case]
    account = Account(source)
    assert not account.hear(heard(values))
    assert words in account.odd


def test_buckets_that_change_are_not_understood_until_they_are_what_they_were() -> None:
    account = Account(BUCKETS)
    old, new = {"100": 1.0, "+Inf": 1.0}, {"200": 1.0, "+Inf": 1.0}
    understood = [account.hear(heard(edges(each, "stable"))) for each in (old, new, old)]
    assert understood == [True, False, True]
    assert account.odd == ""


def test_what_a_computed_gauge_is_answered_with_has_no_labels_and_is_of_either_revision() -> None:
    """A ratio of sums was always said not to tell the revisions apart."""
    for labels in ({}, {"namespace": "fraud"}):
        told = heard({("value", arm): [(labels, 0.9)] for arm in ("canary", "stable")})
        assert Account(GAUGE).hear(told)


def test_what_a_histogram_gained_while_it_was_not_understood_is_counted_once_it_is() -> None:
    """A pod without an edge made all its answers slower than that; it must not, and the others must lose nothing."""

    def pods(values: Mapping[str, Mapping[str, float]]) -> Values:
        return {
            ("buckets", "canary"): [
                ({"pod": pod, "le": le}, value) for pod, each in values.items() for le, value in each.items()
            ]
        }

    account = Account(BUCKETS)
    account.hear(heard(edges({"100": 0.0, "500": 0.0, "+Inf": 0.0}, "stable"), 0.001))
    instants = [
        pods({"a": {"100": 0.0, "500": 0.0, "+Inf": 0.0}}),
        pods({"a": {"100": 10.0, "500": 10.0, "+Inf": 10.0}, "b": {"100": 50.0, "+Inf": 50.0}}),
        pods({"a": {"100": 20.0, "500": 20.0, "+Inf": 20.0}, "b": {"100": 90.0, "+Inf": 90.0}}),
        pods({"a": {"100": 30.0, "500": 30.0, "+Inf": 30.0}, "c": {"100": 70.0, "500": 70.0, "+Inf": 70.0}}),
        pods({"a": {"100": 40.0, "500": 40.0, "+Inf": 40.0}, "c": {"100": 75.0, "500": 75.0, "+Inf": 75.0}}),
    ]
    understood = [account.hear(heard(each, 0.001)) for each in instants[:-1]]
    assert understood == [True, False, False, True]
    assert canary(account, instants[-1]) == Counts(45.0, (0.0, 0.0))


def test_buckets_that_are_cumulative_again_are_understood_again() -> None:
    account = Account(BUCKETS)
    good, fallen = {"100": 1.0, "500": 2.0, "+Inf": 3.0}, {"100": 4.0, "500": 2.0, "+Inf": 3.0}
    assert [account.hear(heard(edges(each))) for each in (good, fallen, fallen, good)] == [True, False, False, True]


RELABELLED: dict[str, tuple[list[list[tuple[dict[str, str], float]]], float]] = {
    "at once": ([[({"pod": "a"}, 1000.0)], [({"pod": "a", "z": "1"}, 1007.0)]], 7),
    "with the old one still shown": (
        [
            [({"pod": "a"}, 1000.0)],
            [({"pod": "a"}, 1000.0), ({"pod": "a", "z": "1"}, 1007.0)],
            [({"pod": "a"}, 1000.0), ({"pod": "a", "z": "1"}, 1009.0)],
            [({"pod": "a", "z": "1"}, 1010.0)],
        ],
        10,
    ),
    "several of them": (
        [
            [({"pod": "a", "code": "200"}, 1000.0), ({"pod": "a", "code": "500"}, 3.0)],
            [({"pod": "a", "status": "200"}, 1007.0), ({"pod": "a", "status": "500"}, 5.0)],
        ],
        9,
    ),
    "to and fro": ([[({"pod": "a", "replica": str(n % 2)}, 1000.0 + n)] for n in range(10)], 9),
    "with a restart": ([[({"pod": "a"}, 1000.0)], [({"pod": "a", "z": "1"}, 7.0)]], 7),
    "in another pod alone": (
        [
            [({"pod": "a"}, 1000.0), ({"pod": "b"}, 2000.0)],
            [({"pod": "a", "z": "1"}, 1007.0), ({"pod": "b"}, 2001.0)],
        ],
        8,
    ),
}


@pytest.mark.parametrize("case", RELABELLED)
def test_a_series_goes_on_under_other_labels_and_counts_no_past_again(case: str) -> None:
    instants, gained = RELABELLED[case]
    counts = canary(Account(COUNTED), *({TOTAL: told} for told in instants))
    assert counts is not None
    assert counts.requests == gained


def test_the_surest_label_names_the_pod() -> None:
    def pod(**labels: str) -> str:
        return Line.of(Series(labels, ()), 1.0).pod

    assert pod(instance="10.0.0.1:9091", pod="scorer-1") == "scorer-1"
    assert pod(instance="10.0.0.1:9091") == "10.0.0.1:9091"
    assert pod(job="x") == ""


def test_the_last_bucket_stays_the_last_in_any_unit() -> None:
    assert Line.of(Series({"le": "+Inf"}, ()), 0.001).edge == math.inf
