"""Measure judges in generated worlds, and write what was measured into a page.

python -m tests.judging --runs 200 --jobs 2 --write docs/judging.md
python -m tests.judging --runs 50 --grid healthy --judge tests.judging.ours:standard --judge flagger10
python -m tests.judging --runs 2 --judge tests.judging.ours:standard --prove "gitops-serving judge --jsonl"
python -m tests.judging --serve flagger10 < messages.jsonl
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .compare import as_json, compare, factory
from .grids import GRIDS
from .peers import PEERS
from .report import markdown, write_between
from .stream import Piped, differences, serve
from .worlds import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .compare import Cell
    from .worlds import World


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    asked = _parser().parse_args(arguments)
    worlds = [world for grid in asked.grid or GRIDS for world in GRIDS[grid]]
    worlds = [world for world in worlds if asked.world in world.name]
    if not worlds:
        sys.stderr.write(f"no world has {asked.world!r} in its name\n")
        return 2
    judges = asked.judge or list(PEERS)
    if asked.serve:
        serve(factory(asked.serve), sys.stdin, sys.stdout)
    elif asked.stream:
        _stream(worlds, range(asked.seed, asked.seed + asked.runs))
    elif asked.prove:
        return _prove(judges[0], shlex.split(asked.prove), worlds, range(asked.seed, asked.seed + asked.runs))
    else:
        _measure(worlds, judges, asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.judging", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="rollouts of each world")
    parser.add_argument("--seed", type=int, default=0, help="of the first rollout; the next ones count on")
    parser.add_argument(
        "--grid", action="append", choices=list(GRIDS), help="may be repeated; all of them if not given"
    )
    parser.add_argument("--world", default="", help="only worlds with this in their name")
    parser.add_argument("--judge", action="append", help="a peer or module:attribute; may be repeated; else all peers")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write all cells to this file")
    parser.add_argument("--write", type=Path, help="write the tables between the markers of this page")
    parser.add_argument("--prove", metavar="COMMAND", help="compare the answers of the first judge with this process's")
    parser.add_argument("--serve", metavar="JUDGE", help="be such a process: messages in, answers out")
    parser.add_argument("--stream", action="store_true", help="only print the messages")
    return parser


def _measure(worlds: Sequence[World], judges: Sequence[str], asked: argparse.Namespace) -> None:
    cells: list[Cell] = []
    width = max(len(world.name) for world in worlds)
    _say(" " * width, *(f"{judge.rpartition(':')[2]:>13}" for judge in judges))
    for row in compare(worlds, judges, runs=asked.runs, first_seed=asked.seed, jobs=asked.jobs):
        shown = [f"{100 * cell.share:.1f} /{cell.median_seconds or 0:5.0f}" for cell in row]
        _say(f"{row[0].world:{width}}", *(f"{text:>13}" for text in shown))
        cells += row
    if asked.json:
        asked.json.write_text(json.dumps(as_json(cells), indent=1) + "\n")
    if asked.write:
        parts = [[cell for cell in cells if cell.world in {world.name for world in grid}] for grid in GRIDS.values()]
        write_between(asked.write, "\n".join(markdown(part) for part in parts if part))


def _stream(worlds: Sequence[World], seeds: Sequence[int]) -> None:
    for world, seed in itertools.product(worlds, seeds):
        for message in samples(world, seed):
            _say(json.dumps(message, separators=(",", ":")))


def _prove(judge: str, command: Sequence[str], worlds: Sequence[World], seeds: Sequence[int]) -> int:
    with Piped(command) as piped:
        for where, sample, here, there in differences(factory(judge), piped, worlds, seeds):
            _say(f"{where}, t = {sample['t']:g}: {here} inside, {there} through the pipes")
            return 1
    _say(f"{len(worlds) * len(seeds)} runs, every answer the same")
    return 0


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
