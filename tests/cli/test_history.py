from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gitops_serving import wiring
from tests.cli.fleet import ADA
from tests.cli.test_get import stepping

if TYPE_CHECKING:
    import pytest

    from tests.cli.fleet import Fleet

RECORD = "rollouts/demo/fraud/scorer.yaml"


def test_the_ledger_is_listed_newest_first_with_author_and_reason(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.run("hold", "scorer", "--author", ADA, "--reason", "tea")
    ids = [str(commit.id)[:8] for commit in fleet.git.commits()]

    assert fleet.run("history", "scorer").out == (
        "TIME                  COMMIT    AUTHOR          ACTION  WEIGHT  REVISION      REASON\n"
        f"2026-01-01T12:01:20Z  {ids[0]}  Ada Example     hold    -       1380e3f160b2  Progress is held. tea\n"
        f"2026-01-01T12:00:30Z  {ids[1]}  gitops-serving  shift   0->10   1380e3f160b2  A new revision was pushed.\n"
        f"2026-01-01T12:00:00Z  {ids[3]}  gitops-serving  adopt   -       6274500b7907  "
        "The cluster runs what Git holds.\n"
    )


def test_history_needs_no_cluster(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.adopt()

    def connect(_: object) -> None:
        raise AssertionError("history looks at Git alone")

    monkeypatch.setattr(wiring, "connect", connect)

    assert "adopt" in fleet.run("history", "scorer").out


def test_a_commit_by_hand_is_told_by_its_first_line(fleet: Fleet) -> None:
    fleet.adopt()
    source = fleet.git.read(RECORD) or b""
    fleet.git.push({RECORD: source + b"# touched\n"}, "touch the record\n\nfor no reason\n")

    newest = fleet.run("history", "scorer").out.splitlines()[1]

    assert newest.endswith("Ann Example     -       -       -             touch the record")


def test_the_number_of_entries_can_be_limited(fleet: Fleet) -> None:
    stepping(fleet)

    assert len(fleet.run("history", "scorer", "--limit", "1").out.splitlines()) == 2
    assert len(fleet.run("history", "scorer", "--limit", "0").out.splitlines()) == 3


def test_machines_get_values(fleet: Fleet) -> None:
    stepping(fleet)
    told = json.loads(fleet.run("history", "scorer", "-o", "json").out)

    assert (told["kind"], told["service"]) == ("RolloutHistory", "fraud/scorer")
    newest = told["items"][0]
    assert (newest["action"], newest["before"], newest["weight"], newest["step"]) == ("shift", 0, 10, "1/2")
    assert newest["author"] == "gitops-serving <gitops-serving@demo.invalid>"


def test_a_service_without_a_record_has_no_entries_yet(fleet: Fleet) -> None:
    ended = fleet.run("history", "scorer")

    assert ended.code == 0
    assert ended.out.startswith("fraud/scorer has no entries yet")


def test_a_message_cannot_steer_the_terminal(fleet: Fleet) -> None:
    fleet.adopt()
    source = fleet.git.read(RECORD) or b""
    fleet.git.push({RECORD: source + b"# touched\n"}, "nasty \x1b[2J text")

    assert "\x1b" not in fleet.run("history", "scorer").out
