"""The demonstration as a person runs it, from the command line to the last line of its report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

LONGEST_SECONDS = 400


@dataclass(frozen=True, slots=True)
class Played:
    place: Path
    code: int
    out: str
    errors: str

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.place / "report.json").read_text(encoding="utf-8"))
        return report

    def rollout(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.report["rollouts"] if each["service"] == service)
        return found


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    """Play the demonstration once; all tests look at what it left."""
    with tempfile.TemporaryDirectory(prefix="gs-") as name:  # pytest's own paths can be long for unix sockets
        place = Path(name) / "demo"
        done = subprocess.run(
            [sys.executable, "-m", "gitops_serving", "demo", "--dir", str(place)],
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        yield Played(place, done.returncode, done.stdout, done.stderr)


def test_the_demonstration_ends_well(played: Played) -> None:
    assert (played.code, played.errors) == (0, ""), played.out
    assert "each service has answered 600 of 600 requests" in played.out
    assert played.report["ok"] is True
    assert played.report["problems"] == []


def test_the_good_model_takes_every_step_and_is_promoted(played: Played) -> None:
    rollout = played.rollout("fraud/scorer")

    assert rollout["outcome"] == "promoted"
    assert [(move["action"], move["weight"]) for move in rollout["moves"]] == [
        ("shift", 10),
        ("shift", 25),
        ("shift", 50),
        ("shift", 100),
        ("promote", None),
    ]


def test_the_bad_model_is_aborted_on_proof_and_the_stable_one_is_restored(played: Played) -> None:
    rollout = played.rollout("fraud/ranker")
    abort = next(move for move in rollout["moves"] if move["action"] == "abort")

    assert rollout["outcome"] == "aborted"
    assert abort["reason"].startswith(("Errors ", "Latency ", "Breakage: "))  # it is slow too, and either may be first
    assert "and 20 is proof" in abort["reason"]
    assert rollout["moves"][-1]["action"] == "settle"


def test_the_first_commit_of_either_says_what_its_steps_can_detect(played: Played) -> None:
    for service in ("fraud/scorer", "fraud/ranker"):
        commit = played.rollout(service)["moves"][0]["commit"]
        told = evidence.git(played.place / "fleet.git", "show", "--no-patch", "--format=%B", commit)

        assert "requests/s these steps can detect errors of +" in told.replace("\n", " "), told


def test_a_promotion_leaves_the_new_model_in_git_and_an_abort_the_old_one(played: Played) -> None:
    for name, model in (("scorer", "scorer-v2"), ("ranker", "ranker-v1")):
        manifest = evidence.git(played.place / "fleet.git", "show", f"main:clusters/demo/fraud/{name}.yaml")

        assert f"storageUri: {(played.place / 'models' / model).as_uri()}\n" in manifest
        assert "canaryTrafficPercent" not in manifest


def test_every_weight_got_its_share_of_the_requests(played: Played) -> None:
    weights = {each["service"]: [one["weight"] for one in each["served"]] for each in played.report["rollouts"]}
    for rollout in played.report["rollouts"]:
        for one in rollout["served"]:
            assert sum(one["requests"].values()) >= 200
            assert one["share"] == pytest.approx(one["weight"] / 100, abs=0.01)

    assert weights["fraud/scorer"] == [10, 25, 50, 100]


def test_only_the_bad_model_failed_anybody(played: Played) -> None:
    errors = played.report["errors"]

    assert errors["fraud/scorer"] == {"stable": 0, "canary": 0, "nobody": 0}
    assert errors["fraud/ranker"]["canary"] > 0
    assert (errors["fraud/ranker"]["stable"], errors["fraud/ranker"]["nobody"]) == (0, 0)


def test_no_move_is_lost_doubled_or_larger_than_one_line(played: Played) -> None:
    assert evidence.faults(played.place / "fleet.git", played.report) == []


def test_people_merge_and_the_controller_only_moves(played: Played) -> None:
    lines = evidence.git(played.place / "fleet.git", "log", "--format=%an|%P|%s", "main").splitlines()
    authors = {line.split("|")[0] for line in lines if line.split("|")[2].startswith("rollout(")}
    merges = [line for line in lines if " " in line.split("|")[1]]

    assert authors == {"gitops-serving"}
    assert [line.split("|")[0] for line in merges] == ["Ada Example"] * 2


def test_what_is_printed_ends_with_the_ledger_and_where_to_look(played: Played) -> None:
    log = evidence.git(played.place / "fleet.git", "log", "--oneline", "--no-decorate", "main")

    assert log in played.out
    assert f"less {played.place / 'report.json'}" in played.out


def test_nothing_is_left_running(played: Played) -> None:
    assert evidence.running(played.place) == {}


def test_a_stopped_demonstration_ends_everything_that_it_started() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="gs-") as name,
        subprocess.Popen(
            [sys.executable, "-m", "gitops_serving", "demo", "--dir", f"{name}/demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "sending" in line:  # cluster, model servers and controller run, and the load is about to
                break
        started = evidence.running(Path(name))
        process.terminate()
        said = process.stderr.read()

        assert process.wait(60) == 128 + signal.SIGTERM, said
        assert len(started) > 5
        assert "stopped by SIGTERM; nothing was left running" in said
        assert evidence.running(Path(name)) == {}
