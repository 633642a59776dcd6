"""Cells as tables of a page: false aborts of good canaries, detections of bad ones, and what waiting cost."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .compare import Cell

BEGIN, END = "<!-- tests.judging: begin -->", "<!-- tests.judging: end -->"


def markdown(cells: Sequence[Cell]) -> str:
    """Render what was measured in one grid of worlds; means are over its harmless ones."""
    parts = []
    if good := [cell for cell in cells if cell.harmless]:
        parts += [
            f"False aborts of harmless canaries, in % of {cells[0].runs} rollouts (95 % interval)\n",
            _table(good, _false_aborts, _mean_and_worst(good)),
            "Harmless rollouts that could have finished on time, in % / share of the time inconclusive, in %\n",
            _table(good, lambda cell: f"{100 * cell.finished / cell.runs:.0f} / {100 * cell.inconclusive:.0f}"),
        ]
    if bad := [cell for cell in cells if not cell.harmless]:
        parts += [
            f"Detections of bad canaries, in % of {cells[0].runs} rollouts (95 % interval) / median seconds of delay\n",
            _table(bad, _detection),
        ]
    return "\n".join(parts)


def _false_aborts(cell: Cell) -> str:
    return f"{100 * cell.share:.1f} ({_range(cell)})"


def _detection(cell: Cell) -> str:
    early = f", {100 * cell.early / cell.runs:.0f} too early" if cell.early else ""
    if cell.median_seconds is None:
        return f"0 ({_range(cell)}){early}"
    return f"{100 * cell.share:.0f} ({_range(cell)}) / {cell.median_seconds:.0f}{early}"


def _range(cell: Cell) -> str:
    low, high = cell.interval
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _mean_and_worst(cells: Sequence[Cell]) -> list[tuple[str, list[str]]]:
    by_judge = [[100 * cell.share for cell in cells if cell.judge == judge] for judge in _judges(cells)]
    return [
        ("*mean*", [f"*{statistics.fmean(shares):.1f}*" for shares in by_judge]),
        ("*worst*", [f"*{max(shares):.1f}*" for shares in by_judge]),
    ]


def _judges(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.judge for cell in cells))


def _table(cells: Sequence[Cell], text: Callable[[Cell], str], last: Sequence[tuple[str, list[str]]] = ()) -> str:
    """Lay cells out: a row a world, a column a judge."""
    judges, found = _judges(cells), {(cell.world, cell.judge): cell for cell in cells}
    rows = [
        (world, [text(found[world, judge]) for judge in judges])
        for world in dict.fromkeys(cell.world for cell in cells)
    ]
    lines = ["| | " + " | ".join(judge.rpartition(":")[2] for judge in judges) + " |", "|---|" + "---:|" * len(judges)]
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in [*rows, *last]]
    return "\n".join(lines) + "\n"


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the markers of a page, and nothing else of it."""
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{path}: needs the lines {BEGIN} and {END}, once each and in this order")
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{after}")
