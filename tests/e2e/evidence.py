"""What a demonstration must leave behind, for the plain run and the one under fire: a sound ledger and no process.

The ledger is read with nothing but the git command: a fault of the controller's reading must not hide one of its
writing.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WEIGHTS = [10, 25, 50, 100]
MOVE = re.compile(r"rollout\((?P<service>[^)]+)\): (?P<action>\w+)(?:, (?P<before>\d+)% -> (?P<after>\d+)%)?")
ENDINGS = {"promoted": ["promote"], "aborted": ["abort", "settle"]}


def git(remote: Path, *arguments: str) -> str:
    """Ask git about a bare repository."""
    command = ["git", "-C", str(remote), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def moves(remote: Path) -> list[tuple[str, re.Match[str]]]:
    """List the controller's commits, oldest first, with what their first line says."""
    lines = git(remote, "log", "--reverse", "--topo-order", "--format=%H %s", "main").splitlines()
    found = [(line.split(" ", 1)[0], MOVE.fullmatch(line.split(" ", 1)[1])) for line in lines]
    return [(commit, match) for commit, match in found if match]


def numstat(remote: Path, commit: str) -> dict[str, tuple[int, int]]:
    """Count the added and removed lines of each file of a commit."""
    lines = git(remote, "show", "--numstat", "--format=", commit).split("\n")
    rows = [line.split("\t") for line in lines if line]
    return {path: (int(added), int(removed)) for added, removed, path in rows}


def faults(remote: Path, report: dict[str, Any]) -> list[str]:
    """Say what is wrong with the ledger of a demonstration: moves that are lost, doubled, out of order or too large."""
    wrong = [fault for rollout in report["rollouts"] for fault in _faults_of(remote, rollout)]
    # A push that lost the race may leave its commit behind, which is not on any branch and harms nobody.
    wrong += [
        f"the repository is damaged: {line}" for line in git(remote, "fsck", "--strict", "--no-dangling").splitlines()
    ]
    return wrong


def _faults_of(remote: Path, rollout: dict[str, Any]) -> Iterator[str]:
    """Look at the commits of one service."""
    service, outcome = rollout["service"], rollout["outcome"]
    mine = [(commit, match) for commit, match in moves(remote) if match["service"] == service]
    mine = [(commit, match) for commit, match in mine if match["action"] != "adopt"]
    named = [match["action"] for _, match in mine]
    shifts = [(commit, match) for commit, match in mine if match["action"] == "shift"]
    weights = [int(match["after"]) for _, match in shifts]
    if weights != WEIGHTS[: len(weights)]:
        yield f"{service} was shifted to {weights}"
    if [int(match["before"]) for _, match in shifts] != [0, *weights[:-1]]:
        yield f"{service} was shifted from a weight that it did not have"
    if named != ["shift"] * len(shifts) + ENDINGS.get(outcome, ["an end"]):
        yield f"{service} was moved by {named} and is said to be {outcome}"
    if [move["commit"] for move in rollout["moves"]] != [commit for commit, _ in mine]:
        yield f"the report's moves of {service} are not those of Git"
    record, manifest = f"rollouts/demo/{service}.yaml", f"clusters/demo/{service}.yaml"
    lines = git(remote, "log", "--format=%s", "main", "--", record).splitlines()
    if [line for line in lines if "adopt" in line] != lines[-1:]:  # two services may share the commit
        yield f"{service} was not adopted once and first: {lines}"
    for commit, match in shifts[1:]:
        files = numstat(remote, commit)
        if files.keys() != {manifest, record} or files[manifest] != (1, 1):
            yield f"the shift of {service} to {match['after']} changed {files}"


def running(place: Path) -> dict[str, bytes]:
    """List the processes whose command line names a directory, by their ids."""
    commands = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands[path.parent.name] = path.read_bytes()
        except OSError:  # it ended just now
            continue
    return {pid: command for pid, command in commands.items() if os.fsencode(str(place)) in command}
