from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.local.routing import Split, TableError, Target, parse_table, service_of, table_document

GOOD: dict[str, Any] = {
    "services": {
        "fraud/scorer": {
            "targets": [
                {"revision": "scorer-predictor-00002", "percent": 10},
                {"revision": "scorer-predictor-00001", "percent": 90},
            ]
        }
    },
    "revisions": {
        "fraud/scorer-predictor-00001": {"configuration": "scorer-predictor", "replicas": ["/s/a"], "concurrency": 0},
        "fraud/scorer-predictor-00002": {"configuration": "scorer-predictor", "replicas": [], "concurrency": 2},
    },
}


def split_of(*percents: int) -> Split:
    return Split(tuple(Target(f"r{number}", percent) for number, percent in enumerate(percents)))


def worst_deviation(split: Split, requests: int) -> float:
    """Serve requests one by one and give the largest distance of any count from its exact share at any moment."""
    counts = dict.fromkeys((target.revision for target in split.targets), 0)
    worst = 0.0
    for served in range(1, requests + 1):
        chosen = split.pick()
        assert chosen is not None
        counts[chosen] += 1
        for target in split.targets:
            worst = max(worst, abs(counts[target.revision] - served * target.percent / 100))
    return worst


@given(st.integers(0, 100), st.integers(1, 1_000))
def test_two_targets_are_never_more_than_one_request_off(percent: int, requests: int) -> None:
    assert worst_deviation(split_of(percent, 100 - percent), requests) < 1


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 400))
def test_three_targets_are_never_more_than_one_request_off(one: int, other: int, requests: int) -> None:
    low, high = sorted((one, other))
    assert worst_deviation(split_of(low, high - low, 100 - high), requests) < 1


@given(st.integers(0, 100))
def test_a_hundred_requests_are_split_exactly(percent: int) -> None:
    split = split_of(percent, 100 - percent)
    picks = [split.pick() for _ in range(100)]
    assert picks.count("r0") == percent


def test_fifty_requests_at_ten_percent_show_five() -> None:
    split = split_of(10, 90)
    assert [split.pick() for _ in range(50)].count("r0") == 5


def test_a_target_without_a_share_is_never_picked() -> None:
    split = split_of(0, 100)
    assert {split.pick() for _ in range(300)} == {"r1"}


def test_no_target_means_no_pick() -> None:
    assert Split(()).pick() is None


def test_a_table_survives_being_written_and_read() -> None:
    table = parse_table(GOOD)
    assert table_document(table) == GOOD
    assert parse_table(table_document(table)) == table


def test_a_revision_named_twice_has_the_sum_of_its_shares() -> None:
    targets = [
        {"revision": "scorer-predictor-00001", "percent": 30},
        {"revision": "scorer-predictor-00001", "percent": 70},
    ]
    table = parse_table(GOOD | {"services": {"fraud/scorer": {"targets": targets}}})
    assert table.services["fraud/scorer"] == (Target("scorer-predictor-00001", 100),)


def test_a_service_may_have_no_targets_yet() -> None:
    table = parse_table({"services": {"fraud/scorer": {"targets": []}}, "revisions": {}})
    assert table.services["fraud/scorer"] == ()


@pytest.mark.parametrize(
    ("section", "key", "entry", "problem"),
    [
        ("services", "fraud", {"targets": []}, "namespace/name"),
        ("services", "fraud/x", {"targets": "all"}, "targets"),
        ("services", "fraud/x", {"targets": [{"revision": "scorer-predictor-00001", "percent": 99}]}, "99, not to 100"),
        ("services", "fraud/x", {"targets": [{"revision": "scorer-predictor-00001", "percent": -1}]}, "percent from 0"),
        ("services", "fraud/x", {"targets": [{"revision": "scorer-predictor-00001", "percent": True}]}, "percent"),
        ("services", "fraud/x", {"targets": [{"revision": "unheard-of", "percent": 100}]}, "unheard-of is missing"),
        ("revisions", "fraud/x", {"configuration": "", "replicas": [], "concurrency": 0}, "configuration"),
        ("revisions", "fraud/x", {"configuration": "c", "replicas": ["relative"], "concurrency": 0}, "absolute"),
        ("revisions", "fraud/x", {"configuration": "c", "replicas": ["/" + "x" * 107], "concurrency": 0}, "107 bytes"),
        ("revisions", "fraud/x", {"configuration": "c", "replicas": [], "concurrency": -1}, "concurrency"),
        ("revisions", "fraud/x", [], "not an object"),
    ],
)
def test_a_faulty_entry_is_named(section: str, key: str, entry: object, problem: str) -> None:
    with pytest.raises(TableError) as refused:
        parse_table(GOOD | {section: {**GOOD[section], key: entry}})
    assert len(refused.value.problems) == 1
    assert problem in str(refused.value)
    assert key in str(refused.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(TableError) as refused:
        parse_table({"services": {"bad": {}, "a/b": {"targets": 1}}, "revisions": {"c/d": {}}})
    assert len(refused.value.problems) == 5


@pytest.mark.parametrize("document", [None, [], "table", {}])
def test_a_document_that_is_no_table_is_refused(document: object) -> None:
    with pytest.raises(TableError):
        parse_table(document)


@pytest.mark.parametrize(
    ("host", "path", "found", "upstream_path"),
    [
        ("scorer.fraud.example.com", "/v1/models", "fraud/scorer", "/v1/models"),
        ("SCORER.fraud.example.com:8080", "/", "fraud/scorer", "/"),
        ("scorer-predictor.fraud.svc.cluster.local", "/v2", "fraud/scorer", "/v2"),
        ("scorer.fraud", "/v2", "fraud/scorer", "/v2"),
        ("127.0.0.1:4000", "/serving/fraud/scorer/v1/models/m:predict", "fraud/scorer", "/v1/models/m:predict"),
        ("127.0.0.1:4000", "/serving/fraud/scorer", "fraud/scorer", "/"),
        ("scorer.fraud.example.com", "/serving/fraud/other/v2", None, "/v2"),
        ("127.0.0.1:4000", "/v1/models", None, "/v1/models"),
        ("scorer.other.example.com", "/v1", None, "/v1"),
        ("scorer", "/v1", None, "/v1"),
        ("", "/v1", None, "/v1"),
    ],
)
def test_a_request_is_addressed_by_host_or_by_path(host: str, path: str, found: str | None, upstream_path: str) -> None:
    assert service_of(parse_table(GOOD), host, path) == (found, upstream_path)


def test_a_service_whose_own_name_ends_in_predictor_is_found_first() -> None:
    empty: dict[str, Any] = {"targets": []}
    table = parse_table({"services": {"a/x": empty, "a/x-predictor": empty}, "revisions": {}})
    assert service_of(table, "x-predictor.a.example.com", "/")[0] == "a/x-predictor"
