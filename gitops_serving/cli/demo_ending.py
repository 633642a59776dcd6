"""The demonstration's last words: the ledger as Git shows it, a table, and where to look next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops_serving.cli import demo_fleet, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gitops_serving.cli.demo_fleet import Fleet
    from gitops_serving.cli.demo_report import Ended
    from gitops_serving.local.statedir import StateDir

COLUMNS = ("SERVICE", "FROM", "TO", "OUTCOME", "WEIGHT", "CANARY", "STABLE", "SHARE")


def print_ending(place: Path, fleet: Fleet, rollouts: Sequence[Ended], wrong: Sequence[str]) -> None:
    """Print what happened and where to read more."""
    print("\nThe ledger, as `git log --oneline` shows it:\n")
    print(demo_fleet.git(fleet.remote, "log", "--oneline", "--no-decorate", demo_fleet.BRANCH))
    render.print_table(COLUMNS, [row for ended in rollouts for row in _rows(ended)])
    print()
    for ended in rollouts:
        last = [move for move in ended.moves if move.action in {"promote", "abort"}][-1:]
        for move in last:
            print(f"{ended.service}: {ended.outcome}. {move.reason}")
    for each in wrong:
        print(f"wrong: {each}")
    print("\nWhere to look next:\n")
    for command in _commands(place, fleet, rollouts):
        print(f"  {command}")


def print_running(fleet: Fleet, state: StateDir, where: Mapping[str, Any]) -> None:
    """Print what can be played with while everything runs."""
    us, repo = program(), ["--repo", str(fleet.remote), "--local-state", str(state.root)]
    predict = f"{where['gateway']}/serving/{demo_fleet.NAMESPACE}/scorer/v1/models/scorer:predict"
    body = fleet.remote.parent / "models/requests.jsonl"
    commands = [
        [*us, "get", "rollouts", *repo],
        [*us, "explain", "scorer", *repo],
        [*us, "backtest", *repo],
        [*us, "hold", "scorer", "--reason", "let me look", *repo],
        [*us, "local", "status", "--state", str(state.root)],
        ["kubectl", "--kubeconfig", str(where["kubeconfig"]), "get", "isvc", "-A"],
        ["git", "clone", str(fleet.remote)],
    ]
    print("\nEverything goes on until Ctrl-C. Predictions, metrics, and what to try:\n")
    print(f"  head -1 {shlex.quote(str(body))} | curl -H 'Content-Type: application/json' -d @- {predict}")
    print(f"  curl {where['gatewayAdmin']}/metrics")
    print(f"  Prometheus: {where['prometheus']}")
    for command in commands:
        print(f"  {shlex.join(command)}")
    sys.stdout.flush()


def program() -> list[str]:
    """Tell how we are called: by our name, or where that is not on PATH, by our path."""
    if shutil.which("gitops-serving"):
        return ["gitops-serving"]
    beside = Path(sys.executable).with_name("gitops-serving")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "gitops_serving"]


def _rows(ended: Ended) -> list[list[str]]:
    """Write a rollout as rows, one for each weight."""
    first = [ended.service, ended.before, ended.after, ended.outcome or "not finished"]
    rows = [[f"{one.weight}%", str(one.canary), str(one.stable), f"{one.share:.1%}"] for one in ended.served]
    return [[*(first if number == 0 else [""] * len(first)), *row] for number, row in enumerate(rows or [[""] * 4])]


def _commands(place: Path, fleet: Fleet, rollouts: Sequence[Ended]) -> list[str]:
    """List what a person may want to type."""
    remote = str(fleet.remote)
    commands = [[*program(), "history", ended.service, "--repo", remote] for ended in rollouts]
    aborts = [move.commit[:12] for ended in rollouts for move in ended.moves if move.action == "abort"]
    commands += [["git", "-C", remote, "show", commit] for commit in aborts]
    commands += [
        ["git", "-C", remote, "show", f"{demo_fleet.BRANCH}:rollouts/{demo_fleet.ENVIRONMENT}/{ended.service}.yaml"]
        for ended in rollouts[-1:]
    ]
    state, drawn = str(place / "state"), str(place / "evidence.svg")
    commands += [
        [*program(), "local", "up", "--state", state],  # for its Prometheus, which still has what happened
        [*program(), "backtest", "--repo", remote, "--local-state", state, "--picture", drawn],
        [*program(), "local", "down", "--state", state],
    ]
    commands += [["less", str(place / "report.json")], ["ls", str(place / "logs"), str(place / "state" / "logs")]]
    return [shlex.join(command) for command in commands]
