"""The evidence is worth something: each kind of fault in a ledger is found."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.cli import demo_fleet
from tests.e2e import evidence

if TYPE_CHECKING:
    from pathlib import Path

    from gitops_serving.cli.demo_fleet import Fleet

SERVICE = "fraud/scorer"
MANIFEST, RECORD = f"clusters/demo/{SERVICE}.yaml", f"rollouts/demo/{SERVICE}.yaml"
SOUND = ["adopt", "shift, 0% -> 10%", "shift, 10% -> 25%", "abort, 25% -> 0%", "settle"]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return demo_fleet.create(tmp_path, {"scorer": tmp_path / "scorer-v1"})


def played(fleet: Fleet, moves: list[str], *, lines: int = 1) -> dict[str, Any]:
    """Commit moves as the controller would, ``lines`` of the manifest in each, and report them."""
    commits = []
    for number, move in enumerate(moves):
        for path in (MANIFEST, RECORD):
            file = fleet.clone / path
            file.parent.mkdir(parents=True, exist_ok=True)
            before = file.read_text().splitlines() if file.exists() else []
            kept = before[: len(before) - lines] if number else [*before, *["0"] * lines]
            file.write_text("".join(f"{line}\n" for line in [*kept, *[f"{number}"] * (lines if number else 0)]))
        demo_fleet.git(fleet.clone, "add", "--all")
        demo_fleet.git(fleet.clone, "commit", "-m", f"rollout({SERVICE}): {move}")
        commits.append(demo_fleet.git(fleet.clone, "rev-parse", "HEAD").strip())
    demo_fleet.git(fleet.clone, "push", "origin", "main")
    named = [{"commit": commit} for commit, move in zip(commits, moves, strict=True) if move != "adopt"]
    return {"rollouts": [{"service": SERVICE, "outcome": "aborted", "moves": named}]}


def test_a_sound_ledger_has_no_faults(fleet: Fleet) -> None:
    report = played(fleet, SOUND)

    assert evidence.faults(fleet.remote, report) == []


@pytest.mark.parametrize(
    ("moves", "told"),
    [
        ([*SOUND[:2], *SOUND[1:]], r"shifted to \[10, 10, 25\]"),
        (["adopt", "shift, 0% -> 25%", *SOUND[3:]], r"shifted to \[25\]"),
        (["adopt", "shift, 5% -> 10%", *SOUND[3:]], "from a weight that it did not have"),
        (SOUND[:4], "said to be aborted"),
        ([*SOUND[:4], *SOUND[3:]], "said to be aborted"),
        ([*SOUND[:2], "repair", *SOUND[2:]], "said to be aborted"),
        (["adopt", *SOUND], "not adopted once and first"),
        (SOUND[1:], "not adopted once and first"),
    ],
)
def test_a_move_that_is_lost_doubled_or_out_of_order_is_found(fleet: Fleet, moves: list[str], told: str) -> None:
    report = played(fleet, moves)

    found = "; ".join(evidence.faults(fleet.remote, report))

    assert re.search(told, found), found


def test_a_shift_that_changes_two_lines_is_found(fleet: Fleet) -> None:
    report = played(fleet, SOUND, lines=2)

    assert "the shift of fraud/scorer to 25 changed" in "; ".join(evidence.faults(fleet.remote, report))


def test_a_move_that_the_report_leaves_out_is_found(fleet: Fleet) -> None:
    report = played(fleet, SOUND)
    del report["rollouts"][0]["moves"][1]

    assert evidence.faults(fleet.remote, report) == ["the report's moves of fraud/scorer are not those of Git"]


@pytest.mark.parametrize("named", [True, False])
def test_a_process_is_found_by_the_place_that_it_names(tmp_path: Path, named: bool) -> None:
    command = ["sh", "-c", "echo ready; read line", "sh", str(tmp_path) if named else "elsewhere"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # before, its command line may not be set up yet
        found = evidence.running(tmp_path)
        process.kill()

    assert list(found) == ([str(process.pid)] if named else [])
