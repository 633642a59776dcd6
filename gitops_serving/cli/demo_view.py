"""How the demonstration is shown: alive on a terminal, elsewhere as plain lines, one for each change.

Texts of commits and of the cluster are folded to one printable line before they are shown.  What is shown is decided
elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from gitops_serving.cli import render
from gitops_serving.core.ledger import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Group, RenderableType

    from gitops_serving.cli.demo_watch import Row
    from gitops_serving.cli.history import Told as Move

BAR_CELLS = 20
LAST_ENTRIES = 8


class View(Protocol):
    """Whatever a person looks at."""

    def say(self, text: str) -> None:
        """Say something once."""
        ...

    def show(self, rows: Sequence[Row]) -> None:
        """Show how the services are now."""
        ...

    def close(self) -> None:
        """Stop showing; what was said stays."""
        ...


def open_view() -> View:
    """Make the view that fits where the output goes."""
    return Alive() if render.on_terminal() else Plain()


class Plain:
    """One line for each change."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown: dict[str, tuple[str, ...]] = {}
        self._entries: set[str] = set()

    def say(self, text: str) -> None:
        """Say something once."""
        for line in text.splitlines():
            print(f"{time.monotonic() - self._began:6.1f} s  {line}", flush=True)

    def show(self, rows: Sequence[Row]) -> None:
        """Say what changed since the last time."""
        for move in entries(rows):
            if move.commit not in self._entries:
                self._entries.add(move.commit)
                self.say(f"commit {move.commit[:7]}  {entry(rows, move)}")
        for row in rows:
            now = (row.phase, "" if row.weight is None else str(row.weight), row.step, row.verdict, row.wrong)
            if now != self._shown.get(row.service):
                self._shown[row.service] = now
                self.say(line(row))

    def close(self) -> None:
        """Nothing has to be put away."""


class Alive:
    """A table that is drawn anew, with what was said above it."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=render.console(), auto_refresh=False, transient=True)
        self._live.start()
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print above the table."""
        self._live.console.print(text)

    def show(self, rows: Sequence[Row]) -> None:
        """Draw everything anew."""
        self._live.update(drawn(rows, time.monotonic() - self._began), refresh=True)

    def close(self) -> None:
        """Take the table away; the report that follows says more."""
        self._live.stop()


def entries(rows: Sequence[Row]) -> list[Move]:
    """List the ledger's entries of all services in the order of their time."""
    return sorted((move for row in rows for move in row.moves), key=lambda move: move.at)


def entry(rows: Sequence[Row], move: Move) -> str:
    """Sum up an entry in one line."""
    service = next(row.service for row in rows if move in row.moves)
    weights = "" if move.weight is None else f" {move.before}% -> {move.weight}%"
    return one_line(f"{service}: {move.action}{weights}. {move.reason}")


def line(row: Row) -> str:
    """Sum up a service in one line."""
    at = "" if row.weight is None else f" at {row.weight}%"
    step = f" (step {row.step})" if row.step else ""
    verdict = f" {row.verdict}:" if row.verdict else ""
    return one_line(f"{row.service}: {row.phase}{at}{step}.{verdict} {row.wrong or row.message}")


def bar(weight: int) -> str:
    """Draw a weight."""
    full = round(BAR_CELLS * weight / 100)
    return "█" * full + "░" * (BAR_CELLS - full)


def counted(row: Row) -> str:
    """Say how many requests each revision got at the present weight."""
    if row.served is None:
        return ""
    return f"{row.served.canary} / {row.served.stable}  {row.served.share:.1%}"


def drawn(rows: Sequence[Row], elapsed: float) -> Group:
    """Draw the services and the last entries."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("SERVICE", "PHASE", "STEP", "WEIGHT", "CANARY / STABLE", "VERDICT"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        weight = f"{bar(row.weight or 0)} {row.weight or 0:3d}%"
        cells = (row.service, row.phase, row.step, weight, counted(row), row.verdict)
        table.add_row(*(Text(cell, render.STYLES.get(cell, "")) for cell in cells))
    words = [Text(line(row), "dim", overflow="ellipsis", no_wrap=True) for row in rows]
    return Group(Text(f"\n{elapsed:.0f} s", "dim"), table, Text(), *words, Text(), *_last(rows))


def _last(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Draw the last entries of the ledger."""
    from rich.text import Text

    for move in entries(rows)[-LAST_ENTRIES:]:
        style = render.STYLES.get(move.action, "cyan")
        text = Text.assemble((move.commit[:7], "dim"), "  ", (entry(rows, move), style))
        text.no_wrap, text.overflow = True, "ellipsis"
        yield text
