"""What is said before a rollout starts, where a history has to be read in several portions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gitops_serving.controller.weigh import Memory, weigh
from gitops_serving.core.model import Timing
from tests.core.situations import AT_REST, IDLE, MINUTE, NOON

from .answers import ERRORS, SECOND, STARTED, Answers, policy

if TYPE_CHECKING:
    from .answers import Answer


def test_what_stable_was_like_is_read_to_its_end_though_blocks_are_short() -> None:
    """The first of several portions was read again and again, and stable had no traffic in it."""
    rules = replace(policy(ERRORS), timing=Timing(block=2 * SECOND, warm_up=3 * SECOND, warm_up_after_shift=2 * SECOND))
    now = (NOON + 10 * MINUTE - STARTED).total_seconds()
    young: dict[str, Answer] = {
        "total": [({}, lambda t: 18.0 * (t - now + 60) if t > now - 60 else None)],
        "bad": [({}, lambda t: 0.0 if t > now - 60 else None)],
    }
    pending = replace(IDLE.rollout, wanted="v2")
    live = replace(AT_REST, rolled="scorer-predictor-00001")
    found = weigh(Answers({}, young), Memory(), rollout=pending, policy=rules, live=live, now=NOON + 10 * MINUTE)
    assert (found.plan.behind, found.plan.last) == (0, -1)
    assert "requests/s these steps can detect errors" in found.verdict.foresight
