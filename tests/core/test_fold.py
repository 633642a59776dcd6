"""All changes of a tick: each on what the one before leaves, and none in the way of another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gitops_serving.core import ledger
from gitops_serving.core.errors import Invalid
from gitops_serving.core.model import Adopt, Place, Shift, Situation
from gitops_serving.core.propose import fold
from gitops_serving.core.rollout import read_rollouts

from .situations import NOON
from .test_propose import situation
from .trees import ONE, RECORD_PATH, SCORER, SCORER_PATH, record, tree
from .trees import text as manifest_text

if TYPE_CHECKING:
    from gitops_serving.testing.repository import FakeTree

OTHER = manifest_text(name="other")
SHARED = f"{ONE}---\n{OTHER}"


def both(of: FakeTree) -> list[Situation]:
    found = [r for r in read_rollouts(of, "demo", NOON).values() if not isinstance(r, Invalid)]
    return [replace(situation(of), rollout=rollout) for rollout in found]


def test_two_services_in_one_file_both_land() -> None:
    adopted = record(service="fraud/other", stable_text=OTHER)
    of = tree(
        SHARED.replace("models/one", "models/two"), record(), rollouts__demo__fraud__other=ledger.write_record(adopted)
    )
    changes, moved, wrong = fold([(Shift(5, "a push"), seen) for seen in both(of)], of)
    assert (len(changes), len(moved), wrong) == (2, 2, {})
    text = changes[-1].files[SCORER_PATH].decode()
    assert text.count("canaryTrafficPercent: 5\n") == 2
    assert len(text.splitlines()) == len(SHARED.splitlines()) + 4


def test_adoptions_share_one_commit() -> None:
    of = tree(SHARED)
    changes, moved, wrong = fold([(Adopt(), seen) for seen in both(of)], of)
    (change,) = changes
    assert (len(moved), wrong) == (2, {})
    assert set(change.files) == {RECORD_PATH, "rollouts/demo/fraud/other.yaml"}
    assert change.message == (
        "rollout(demo): adopt, 2 services\n\nThe cluster runs what Git holds.\n\n- fraud/other\n- fraud/scorer\n\n"
        "Rollout-Environment: demo\nRollout-Action: adopt\n"
    )


def test_what_cannot_be_written_stops_no_other_service() -> None:
    of = tree(SHARED)
    scorer_seen = replace(both(of)[1], rollout=replace(both(of)[1].rollout, place=Place("clusters/gone.yaml")))
    changes, moved, wrong = fold([(Adopt(), scorer_seen), (Adopt(), both(of)[0])], of)
    assert [change.service for change in changes] == ["fraud/other"]
    assert [seen.rollout.service for seen in moved] == ["fraud/other"]
    assert wrong[SCORER].path == "clusters/gone.yaml"
