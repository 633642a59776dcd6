"""How the demonstration is shown: one plain line for each change, and a table on a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from gitops_serving.cli import demo_view
from gitops_serving.cli.demo_report import Served
from gitops_serving.cli.demo_view import Plain
from gitops_serving.cli.demo_watch import Row
from gitops_serving.cli.history import Told

MOVE = Told(
    at="2026-01-01T12:00:00Z",
    commit="1234567890" * 4,
    author="gitops-serving <x@y>",
    action="shift",
    step="2/3",
    before=10,
    weight=25,
    revision="a" * 12,
    policy="demo@1",
    reason="Errors 0% of 24 requests.",
)
ROW = Row(
    service="fraud/scorer",
    phase="Stepping",
    stable="b" * 12,
    weight=25,
    step="2/3",
    verdict="pass",
    message="Healthy, dwelling.",
    served=Served(25, 75, 25),
)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()]


def test_a_change_is_one_line_and_no_change_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    view = Plain()
    view.show([ROW])
    view.show([replace(ROW, message="Errors 0% of 30 requests.", served=Served(25, 90, 30))])
    view.show([replace(ROW, verdict="fail", message="Errors 40%.")])

    assert said(capsys) == [
        "fraud/scorer: Stepping at 25% (step 2/3). pass: Healthy, dwelling.",
        "fraud/scorer: Stepping at 25% (step 2/3). fail: Errors 40%.",
    ]


def test_an_entry_is_shown_once_before_what_it_led_to(capsys: pytest.CaptureFixture[str]) -> None:
    view = Plain()
    view.show([replace(ROW, moves=(MOVE,))])
    view.show([replace(ROW, moves=(MOVE,))])

    assert said(capsys) == [
        "commit 1234567  fraud/scorer: shift 10% -> 25%. Errors 0% of 24 requests.",
        "fraud/scorer: Stepping at 25% (step 2/3). pass: Healthy, dwelling.",
    ]


def test_entries_of_all_services_come_in_the_order_of_their_time() -> None:
    later = replace(MOVE, at="2026-01-01T12:00:09Z", commit="f" * 40)

    found = demo_view.entries([replace(ROW, moves=(later,)), replace(ROW, service="fraud/ranker", moves=(MOVE,))])

    assert found == [MOVE, later]


def test_no_text_of_a_commit_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().show([replace(ROW, message="\x1b[2J\nrollout: done")])

    assert said(capsys) == ["fraud/scorer: Stepping at 25% (step 2/3). pass:  [2J rollout: done"]


@pytest.mark.parametrize(("weight", "full"), [(0, 0), (10, 2), (25, 5), (50, 10), (100, 20)])
def test_the_bar_is_as_long_as_the_weight(weight: int, full: int) -> None:
    assert demo_view.bar(weight) == "█" * full + "░" * (20 - full)


def test_the_table_shows_weight_verdict_and_what_each_revision_got() -> None:
    console = Console(width=120, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(demo_view.drawn([replace(ROW, moves=(MOVE,))], 12.3))

    text = capture.get()
    assert "fraud/scorer  Stepping  2/3   █████░░░░░░░░░░░░░░░  25%  25 / 75  25.0%   pass" in text
    assert "1234567  fraud/scorer: shift 10% -> 25%. Errors 0% of 24 requests." in text
