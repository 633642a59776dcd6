"""The demonstration's report: what it reads from commits and counts, and what it finds fault with."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitops_serving.cli import demo_report
from gitops_serving.cli.demo_report import Ended, Errors, Served
from gitops_serving.core.ledger import Entry
from gitops_serving.core.model import Commit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STABLE, CANARY = "scorer-predictor-00001", "scorer-predictor-00002"


def commit(number: int, action: str, before: int | None = None, weight: int | None = None) -> Commit:
    entry = Entry(
        service="fraud/scorer",
        action=action,
        step="",
        weight_before=before,
        weight=weight,
        revision="a" * 12,
        environment="demo",
        because=f"reason {number}",
        details=("pass: errors 0%",),
    )
    return Commit(f"{number:040x}", "gitops-serving <x@y>", NOON + timedelta(seconds=number), entry.message())


def history(*moves: tuple[str, int | None, int | None]) -> list[Commit]:
    commits = [commit(number, *move) for number, move in enumerate(moves)]
    return commits[::-1]


PROMOTED = history(
    ("adopt", None, None),
    ("shift", 0, 10),
    ("shift", 10, 25),
    ("shift", 25, 50),
    ("shift", 50, 100),
    ("promote", None, None),
)
GOOD = Ended(
    service="fraud/scorer",
    expected="promoted",
    before="b" * 12,
    after="a" * 12,
    left="a" * 12,
    moves=demo_report.moves_of(PROMOTED),
    served=(Served(10, 270, 30), Served(25, 225, 75), Served(50, 150, 150), Served(100, 0, 200)),
    errors=Errors(stable=0, canary=0, nobody=0),
)
BAD = replace(
    GOOD,
    expected="aborted",
    left="b" * 12,
    moves=demo_report.moves_of(history(("shift", 0, 10), ("abort", 10, 0), ("settle", None, None))),
    served=(Served(10, 270, 30),),
    errors=Errors(stable=0, canary=9, nobody=0),
)


def epoch(targets: dict[str, int], requests: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {"since": "2026-01-01T12:00:00.000+00:00", "targets": targets, "requests": requests}


def test_moves_come_in_the_order_they_were_made_and_without_the_adoption() -> None:
    moves = demo_report.moves_of(PROMOTED)

    assert [(move.action, move.before, move.weight) for move in moves] == [
        ("shift", 0, 10),
        ("shift", 10, 25),
        ("shift", 25, 50),
        ("shift", 50, 100),
        ("promote", None, None),
    ]
    assert (moves[0].reason, moves[0].at, moves[0].commit) == ("reason 1", "2026-01-01T12:00:01Z", f"{1:040x}")


def test_a_persons_commit_is_no_move() -> None:
    merge = Commit("f" * 40, "Ada <a@b>", NOON, "Merge pull request #1\n\nServe another model\n")

    assert demo_report.moves_of([merge]) == ()


def test_requests_are_added_up_by_the_weight_they_were_served_at() -> None:
    epochs = [
        epoch({STABLE: 100}, {STABLE: {"2xx": 90}}),
        epoch({STABLE: 90, CANARY: 10}, {STABLE: {"2xx": 89, "5xx": 1}, CANARY: {"2xx": 7, "5xx": 3}}),
        epoch({STABLE: 90, CANARY: 10}, {STABLE: {"2xx": 9}, CANARY: {"2xx": 1}}),
        epoch({CANARY: 100}, {CANARY: {"2xx": 50}}),
    ]

    found = demo_report.served(epochs, frozenset({CANARY}))

    assert found == (Served(10, 99, 11), Served(100, 0, 50))
    assert found[0].share == 0.1


def test_a_revision_that_is_not_the_canary_counts_as_stable_whatever_its_name() -> None:
    epochs = [epoch({STABLE: 90, CANARY: 10}, {STABLE: {"2xx": 90}, CANARY: {"2xx": 10}})]

    assert demo_report.served(epochs, frozenset({"scorer-predictor-00003"})) == ()


def test_errors_are_told_apart_by_who_failed() -> None:
    load = {
        "sent": 110,
        "dropped": 2,
        "revisions": {STABLE: {"2xx": 80, "5xx": 1}, CANARY: {"2xx": 7, "5xx": 3}},
    }

    assert demo_report.errors(load, frozenset({CANARY})) == Errors(stable=1, canary=3, nobody=21)


@pytest.mark.parametrize("ended", [GOOD, BAD], ids=["promoted", "aborted"])
def test_nothing_is_wrong_with_a_rollout_that_went_as_it_should(ended: Ended) -> None:
    assert demo_report.problems(ended) == []


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (replace(GOOD, moves=BAD.moves), "to be promoted and was aborted"),
        (replace(BAD, moves=BAD.moves[:1]), "to be aborted and was not finished"),
        (replace(GOOD, moves=(*GOOD.moves[:1], *GOOD.moves)), r"weights were \[10, 10, 25, 50, 100\]"),
        (replace(GOOD, moves=(*GOOD.moves[:1], *GOOD.moves[2:])), r"weights were \[10, 50, 100\]"),
        (replace(BAD, moves=BAD.moves[1:]), r"weights were \[\]"),
        (replace(BAD, served=(Served(10, 170, 20),)), "only 190 requests were counted at weight 10"),
        (replace(BAD, served=(Served(10, 264, 36),)), "12.0% of the requests at weight 10"),
        (replace(BAD, served=()), "no request was counted at weight 10"),
        (replace(GOOD, left=GOOD.before), "left with bbbbbbbbbbbb as its stable revision"),
        (replace(BAD, left=BAD.after), "left with aaaaaaaaaaaa as its stable revision"),
        (replace(BAD, errors=Errors(stable=1, canary=9, nobody=0)), "1 requests failed at stable"),
        (replace(BAD, errors=Errors(stable=0, canary=9, nobody=4)), "and 4 at none"),
        (replace(GOOD, errors=Errors(stable=0, canary=1, nobody=0)), "1 requests failed at the good canary"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_told(ended: Ended, told: str) -> None:
    assert re.search(told, "\n".join(demo_report.problems(ended)))


def test_the_report_is_ok_only_if_nothing_is_wrong() -> None:
    def document(*wrong: str) -> dict[str, Any]:
        return demo_report.document([GOOD, BAD], wrong=wrong, started=NOON, now=NOON, kills=0, restarts=0)

    assert document()["ok"] is True
    assert document("fraud/scorer: it was late")["ok"] is False


def test_each_rollout_is_ok_by_itself() -> None:
    late = replace(GOOD, left=GOOD.before)
    report = demo_report.document([late, BAD], wrong=("it",), started=NOON, now=NOON, kills=0, restarts=0)
    assert [rollout["ok"] for rollout in report["rollouts"]] == [False, True]


def test_the_report_tells_every_move_and_every_count() -> None:
    report = demo_report.document([BAD], wrong=(), started=NOON, now=NOON, kills=3, restarts=2)

    assert report["rollouts"] == [
        {
            "service": "fraud/scorer",
            "ok": True,
            "from": "b" * 12,
            "to": "a" * 12,
            "outcome": "aborted",
            "moves": [
                {
                    "commit": f"{0:040x}",
                    "action": "shift",
                    "weight": 10,
                    "at": "2026-01-01T12:00:00Z",
                    "reason": "reason 0",
                },
                {
                    "commit": f"{1:040x}",
                    "action": "abort",
                    "weight": 0,
                    "at": "2026-01-01T12:00:01Z",
                    "reason": "reason 1",
                },
                {
                    "commit": f"{2:040x}",
                    "action": "settle",
                    "weight": None,
                    "at": "2026-01-01T12:00:02Z",
                    "reason": "reason 2",
                },
            ],
            "served": [{"weight": 10, "requests": {"stable": 270, "canary": 30}, "share": 0.1}],
        }
    ]
    assert (report["kills"], report["restarts"]) == (3, 2)
    assert report["errors"] == {"fraud/scorer": {"stable": 0, "canary": 9, "nobody": 0}}
