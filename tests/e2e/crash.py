"""The demonstration under fire: its controller is killed with SIGKILL at random moments, fifty times in all.

``python -m tests.e2e.crash [--seed N] [--dir DIR]`` plays the demonstration three times and kills the controller while
it does so.  At the end Git is asked whether anything was lost or done twice, and the load generators whether anybody
noticed.  The moments are drawn from a seed; what the controller is doing at them is not, and that is the point.

Exits with 0 only if all three runs ended as the demonstration does by itself.
"""

# ruff: noqa: T201 -- a program, and the table is its output
from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops_serving.cli import demo_stage
from gitops_serving.cli.demo import demo
from tests.e2e.evidence import faults, running

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS, KILLS = 3, 50
# A start takes one to two seconds: some kills hit it, most hit a controller at work.
LEAST_SECONDS, MOST_SECONDS = 0.4, 5.0
COLUMNS = ("RUN", "EXIT", "KILLS", "RESTARTS", "SECONDS", "MOVES", "PREDICTIONS", "FAILED", "FAULTS")


class Chaos:
    """A keeper whose process is killed now and then, from a thread of its own."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, kills: int, draw: random.Random) -> None:
        self._kept = demo_stage.Kept(name, command, log)
        self._left, self._draw = kills, draw
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill_now_and_then, name="chaos")
        self.kills = 0
        self._thread.start()

    @property
    def restarts(self) -> int:
        """Count the starts after the first."""
        return self._kept.restarts

    def tend(self) -> None:
        """Start the process again if it was killed."""
        self._kept.tend()

    def stop(self) -> None:
        """End killing first, then the process."""
        self._over.set()
        self._thread.join()
        self._kept.stop()

    def _kill_now_and_then(self) -> None:
        while self.kills < self._left and not self._over.wait(self._draw.uniform(LEAST_SECONDS, MOST_SECONDS)):
            process = self._kept.process
            if process.poll() is None:  # else it is about to be started again, and was killed already
                process.send_signal(signal.SIGKILL)
                self.kills += 1


@dataclass(slots=True)
class Run:
    """What came of one run."""

    code: int
    report: dict[str, Any]
    faults: list[str] = field(default_factory=list)
    predictions: int = 0


def play(place: Path, kills: int, draw: random.Random) -> Run:
    """Play the demonstration once, and look for what the kills have done."""

    def keeper(name: str, command: Sequence[str], log: Path) -> Chaos:
        return Chaos(name, command, log, kills=kills, draw=draw)

    code = demo(place, keeper=keeper)
    written = place / "report.json"
    if not written.exists():
        return Run(code, {}, ["there is no report"])
    report = json.loads(written.read_text(encoding="utf-8"))
    loads = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(place.glob("load-*.json"))]
    found = [*report["problems"], *faults(place / "fleet.git", report)]
    left = running(place)
    if left:
        found.append(f"processes were left running: {left}")
    return Run(code, report, found, sum(load["answered"] for load in loads))


def row(number: int, run: Run) -> list[str]:
    """Write a run as a line of the table."""
    report = run.report
    if not report:
        return [str(number), str(run.code), *["-"] * 6, "; ".join(run.faults)]
    errors = report["errors"].values()
    times = (report["started"], report["ended"])
    seconds = sum(sign * _seconds(at) for sign, at in zip((-1, 1), times, strict=True)) % 86_400
    return [
        *(str(number), str(run.code), str(report["kills"]), str(report["restarts"]), str(seconds)),
        str(sum(len(rollout["moves"]) for rollout in report["rollouts"])),
        str(run.predictions),
        f"{sum(e['stable'] + e['nobody'] for e in errors)} + {sum(e['canary'] for e in errors)} of the bad model",
        "; ".join(run.faults) or "none",
    ]


def main() -> int:
    """Play all runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--dir", type=Path, help="where the runs are kept; a temporary directory if absent")
    options = parser.parse_args()
    root = options.dir or Path(tempfile.mkdtemp(prefix="gitops-serving-chaos-"))
    draw = random.Random(options.seed)
    runs: list[Run] = []
    for number in range(1, RUNS + 1):
        left = KILLS - sum(run.report.get("kills", 0) for run in runs)
        runs.append(play(root / f"run{number}", -(-left // (RUNS + 1 - number)), draw))
    print(f"\n{KILLS} kills were to be made, with seed {options.seed}; the runs are in {root}\n")
    _print([list(COLUMNS), *(row(number, run) for number, run in enumerate(runs, 1))])
    kills = sum(run.report.get("kills", 0) for run in runs)
    good = kills == KILLS and all(run.code == 0 and not run.faults for run in runs)
    print(f"\n{kills} kills: {'nothing was lost, doubled or dropped' if good else 'NOT as it should be'}")
    return 0 if good else 1


def _print(rows: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _seconds(at: str) -> int:
    hours, minutes, seconds = at[11:19].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


if __name__ == "__main__":
    sys.exit(main())
