"""The controller as a command: once, on fakes; and as a process of its own, with signals."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gitops_serving import wiring
from gitops_serving.core.errors import Conflict
from tests.cli import fleet as fleets
from tests.cli.fleet import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.fleet import Fleet

SECONDS = 60.0  # of patience with a process that starts


def lines(fleet: Fleet) -> list[str]:
    """What was appended, oldest first."""
    return [commit.message.partition("\n")[0] for commit in reversed(fleet.git.commits())]


def test_a_good_revision_is_rolled_out_tick_by_tick(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.push("fraud/scorer", "2")
    for _ in range(12):
        fleet.pass_time(30)
        ended = fleet.once()
        assert (ended.code, ended.err) == (0, "")

    assert lines(fleet) == [
        "first commit",
        "rollout(fraud/scorer): adopt",
        "model 2",
        "rollout(fraud/scorer): shift, 0% -> 10%",
        "rollout(fraud/scorer): shift, 10% -> 50%",
        "rollout(fraud/scorer): shift, 50% -> 100%",
        "rollout(fraud/scorer): promote",
    ]
    assert b"canaryTrafficPercent" not in (fleet.git.read("clusters/demo/fraud/scorer.yaml") or b"")


def test_a_bad_revision_is_aborted_and_git_holds_the_stable_one_again(fleet: Fleet) -> None:
    fleet.adopt()
    fleet.push("fraud/scorer", "2")
    for _ in range(8):
        fleet.pass_time(30, bad=0.4)
        assert fleet.once().code == 0

    assert lines(fleet)[3:] == [
        "rollout(fraud/scorer): shift, 0% -> 10%",
        "rollout(fraud/scorer): abort, 10% -> 0%",
        "rollout(fraud/scorer): settle",
    ]
    assert b"models/1" in (fleet.git.read("clusters/demo/fraud/scorer.yaml") or b"")


def test_a_wrong_file_is_a_negative_answer_and_stops_no_other_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = environment("demo", "fraud/scorer", "search/ranker")
    path = "clusters/demo/fraud/scorer.yaml"
    fleet = fleets.make(tmp_path, monkeypatch, capsys, {**files, path: files[path] + b"  broken: [\n"})

    ended = fleet.once()

    assert (ended.code, ended.out) == (1, "rollout(search/ranker): adopt\n")
    assert ended.err.startswith(f"error: fraud/scorer: {path}:")


def test_a_push_that_is_refused_is_an_error_that_quotes_the_server(fleet: Fleet) -> None:
    fleet.git.hook("pre-receive", "echo 'main is protected' >&2; exit 1")

    ended = fleet.once()

    assert ended.code == 5
    assert "main is protected" in ended.err


def test_what_the_cluster_refuses_is_a_negative_answer_with_its_words(fleet: Fleet) -> None:
    fleet.cluster.refuses = lambda _: "denied by webhook"

    ended = fleet.once()

    assert ended.code == 1
    assert ended.err == "error: fraud/scorer: the cluster refused what is due: denied by webhook\n"
    assert "nothing to append" in ended.out


def test_a_branch_that_moves_meanwhile_is_looked_at_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, tries = wiring.Office.desk, []

    def raced(office: wiring.Office, tree: object = None) -> object:
        tries.append(tree)
        if len(tries) < 3:
            raise Conflict("it moved")
        return desk(office)

    monkeypatch.setattr(wiring.Office, "desk", raced)

    assert fleet.once().out == "rollout(fraud/scorer): adopt\n"


def test_every_environment_is_served_and_one_without_a_cluster_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**environment("a", "fraud/scorer"), **environment("b", "fraud/scorer")}
    files["clusters/a/cluster.yaml"] = files["clusters/a/cluster.yaml"].replace(b"kubernetes", b"local")
    fleet = fleets.make(tmp_path, monkeypatch, capsys, files)

    ended = fleet.once("--local-state", str(tmp_path / "state"))

    assert ended.code == 3
    assert ended.out == "rollout(fraud/scorer): adopt\n"
    assert "environment a is not up" in ended.err


@contextmanager
def running(fleet: Fleet, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the controller as a process, on an environment whose local cluster is not up."""
    path = "clusters/demo/cluster.yaml"
    fleet.git.push({path: (fleet.git.read(path) or b"").replace(b"kind: kubernetes", b"kind: local")})
    command = [sys.executable, "-m", "gitops_serving", "run", "--local-state", str(fleet.path / "state"), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    """Wait for the first log line."""
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], SECONDS)[0], "nothing was logged in time"
    return process.stderr.readline()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_controller_with_success(fleet: Fleet, number: signal.Signals) -> None:
    with running(fleet, "--log-format", "json") as process:
        logged = json.loads(first_line(process))
        process.send_signal(signal.SIGHUP)  # wakes it, and no more
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)

    assert process.returncode == 0
    assert (logged["event"], logged["level"], logged["environment"]) == ("failed", "error", "demo")
    assert "start it with: gitops-serving local up" in logged["message"]
    assert (out, err) == ("", "")  # the same error is not logged again


@pytest.mark.slow
def test_log_lines_for_people_are_plain_where_nobody_has_a_terminal(fleet: Fleet) -> None:
    with running(fleet) as process:
        logged = first_line(process)

    assert "\x1b" not in logged
    assert " [error    ] failed " in logged
    assert "environment=demo" in logged
