"""A gauge before its fourth window: it may not pass, and is no silence either."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gitops_serving.core.measure import Outcome

from .answers import SCORE, SECOND, STARTED, Answers, over

if TYPE_CHECKING:
    from .answers import Answer


def test_a_gauge_whose_windows_keep_coming_is_waited_for_and_is_no_silence() -> None:
    """A policy whose patience ended before the fourth window took every version back."""
    answers = Answers({"value": [({}, lambda t: 0.9 + t % 7 / 700)]}, {"value": [({}, lambda t: 0.9 + t % 5 / 500)]})
    found = {(at - STARTED) // SECOND: each.verdict for at, each in over(answers, 600, SCORE)}
    waiting = [verdict for t, verdict in found.items() if 200 <= t <= 360]
    assert {verdict.outcome for verdict in waiting} == {Outcome.SILENT}
    assert all("of 4 windows needed before it says anything" in verdict.because for verdict in waiting)
    assert {verdict.silent_for for verdict in waiting} == {timedelta()}
    assert found[600].outcome is Outcome.PASS


def test_a_gauge_whose_windows_stop_before_the_fourth_is_silent() -> None:
    ends: dict[str, Answer] = {"value": [({}, lambda t: 0.9 + t % 7 / 700 if t < 280 else None)]}
    verdict = over(Answers(ends, {"value": [({}, lambda t: 0.9 + t % 5 / 500)]}), 900, SCORE)[-1][1].verdict
    assert verdict.outcome is Outcome.SILENT
    assert verdict.silent_for > timedelta(minutes=4)
