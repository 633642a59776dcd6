"""A person's verbs, each as a real commit in a real repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gitops_serving.core import ledger
from tests.cli.fleet import ADA
from tests.cli.test_get import stepping

if TYPE_CHECKING:
    from tests.cli.fleet import Fleet

RECORD = "rollouts/demo/fraud/scorer.yaml"


def record(fleet: Fleet) -> ledger.Record:
    return ledger.read_record(fleet.git.read(RECORD) or b"", RECORD, "demo")


def test_hold_commits_in_the_name_of_the_person_who_asks(fleet: Fleet) -> None:
    stepping(fleet)

    ended = fleet.run("hold", "scorer", "--author", ADA, "--reason", "tea", "--until", "2026-01-01T14:00:00+01:00")

    newest = fleet.git.commits()[0]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "rollout(fraud/scorer): hold\n"
        "No weight of it rises until the hold ends: gitops-serving resume fraud/scorer\n"
        "A verdict that fails still aborts.\n"
    )
    assert f"{newest.author.name} <{newest.author.email}>" == ADA
    assert newest.message.startswith("rollout(fraud/scorer): hold\n\nProgress is held until 2026-01-01T13:00:00Z. tea")
    hold = record(fleet).hold
    assert hold is not None
    assert (hold.by, hold.reason) == (ADA, "tea")


def test_the_controller_obeys_a_hold_and_its_end(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.pass_time(10)
    fleet.run("hold", "scorer", "--author", ADA)

    held = fleet.once().out
    assert fleet.run("resume", "scorer", "--author", ADA).out.startswith("rollout(fraud/scorer): resume\n")
    resumed = fleet.once().out

    assert held == "demo: nothing to append; services seen: 1\n"
    assert resumed == "rollout(fraud/scorer): shift, 10% -> 50%\n"


def test_promote_skips_the_steps_that_are_left(fleet: Fleet) -> None:
    stepping(fleet)

    said = fleet.run("promote", "scorer", "--author", ADA).out

    assert said.startswith("rollout(fraud/scorer): ask-promote\n")
    assert fleet.once().out == "rollout(fraud/scorer): shift, 10% -> 100%\n"
    assert fleet.once().out == "rollout(fraud/scorer): promote\n"


def test_abort_returns_to_stable_and_retry_tries_again(fleet: Fleet) -> None:
    stepping(fleet)
    wanted = fleet.git.read("clusters/demo/fraud/scorer.yaml") or b""

    said = fleet.run("abort", "scorer", "--author", ADA, "--reason", "looks odd").out
    assert "The revision is refused until: gitops-serving retry fraud/scorer\n" in said
    assert fleet.once().out == "rollout(fraud/scorer): abort, 10% -> 0%\n"
    assert b"models/1" in (fleet.git.read("clusters/demo/fraud/scorer.yaml") or b"")
    assert fleet.once().out == "rollout(fraud/scorer): settle\n"

    said = fleet.run("retry", "scorer", "--author", ADA).out
    assert said.startswith("rollout(fraud/scorer): retry\n")
    assert b"models/2" in wanted
    assert b"models/2" in (fleet.git.read("clusters/demo/fraud/scorer.yaml") or b"")
    fleet.metrics.scrape(fleet.clock())
    assert fleet.once().out == "rollout(fraud/scorer): shift, 0% -> 10%\n"


def test_retry_of_a_revision_that_was_never_rejected_is_answered_with_those_that_were(fleet: Fleet) -> None:
    stepping(fleet)
    fleet.run("abort", "scorer", "--author", ADA)
    fleet.once()
    fleet.once()

    ended = fleet.run("retry", "scorer", "--revision", "123456789abc", "--author", ADA)

    assert ended.code == 2
    assert ended.err == "error: revision 123456789abc of fraud/scorer was not rejected; one of: 1380e3f160b2\n"


def test_a_word_about_nothing_is_an_error_and_no_commit(fleet: Fleet) -> None:
    fleet.adopt()
    before = fleet.git.head

    ended = fleet.run("abort", "scorer", "--author", ADA)

    assert ended.code == 2
    assert ended.err == "error: nothing of fraud/scorer is on trial; push a new revision first; see `get rollouts`\n"
    assert fleet.git.head == before


# Python has these instants, and none of them in UTC, or no room for a sum: "this is a bug: OverflowError".
BEYOND = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z")


@pytest.mark.parametrize("until", ["soon", "2026-01-01T14:00:00", "-5m", "0s", *BEYOND])
def test_an_end_of_a_hold_that_is_no_instant_is_refused(fleet: Fleet, until: str) -> None:
    fleet.adopt()

    ended = fleet.run("hold", "scorer", "--author", ADA, f"--until={until}")

    assert ended.code == 2
    assert until in ended.err
    assert record(fleet).hold is None


def test_a_server_that_refuses_a_word_is_quoted(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.git.hook("pre-receive", "echo 'main is protected' >&2; exit 1")

    ended = fleet.run("hold", "scorer", "--author", ADA)

    assert ended.code == 5
    assert "main is protected" in ended.err
    assert ended.out == ""


def test_without_an_author_nothing_is_committed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.adopt()
    before = fleet.git.head
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.chdir(fleet.path)

    ended = fleet.run("hold", "scorer")

    assert ended.code == 2
    assert ended.err == (
        'error: nobody knows in whose name to commit; give --author "Name <address>", '
        "or set user.name and user.email with git config\n"
    )
    assert fleet.git.head == before
