"""Tables and trees, on a terminal and elsewhere.

Elsewhere means: a file, a pipe, a test.  There the text is plain, never cut or
wrapped, and the same on every machine.  On a terminal it is coloured, unless NO_COLOR
is set, and folded to its width.  No text of a cluster or a commit reaches either
unprinted: control characters are folded away.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from gitops_serving.core.ledger import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.tree import Tree

    from .story import Node

STYLES = {
    "Invalid": "red",
    "Unknown": "red",
    "fail": "bold red",
    "blind": "magenta",
    "silent": "yellow",
    "pass": "green",
    "Stepping": "cyan",
    "Taking over": "cyan",
    "Stable": "green",
    "Pending": "yellow",
    "Settling": "yellow",
    "abort": "red",
    "refuse": "red",
    "drop": "red",
    "promote": "green",
}
INDENT = "  "


def on_terminal() -> bool:
    """Tell whether a person looks at the output."""
    return sys.stdout.isatty()


def console() -> Console:
    """Make the console of a terminal; its width and colours are found out by the library."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], header: bool = True) -> None:
    """Print rows below their columns."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if on_terminal():
        _print_rich_table(columns, cells, header=header)
    else:
        print("\n".join(plain_table(columns, cells, header=header)))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool) -> list[str]:
    """Align rows in columns that are two spaces apart; the last one is as long as it is."""
    lines = [list(columns), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) - 1)]
    shown = lines if header else lines[1:]
    return [
        INDENT.join([*(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=True)), line[-1]]).rstrip()
        for line in shown
    ]


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        table.add_column(column, no_wrap=not last, overflow="fold", ratio=1 if last else None)
    for row in rows:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    console().print(table)


def print_story(node: Node) -> None:
    """Print a tree of lines."""
    if on_terminal():
        console().print(_rich_tree(node))
    else:
        print("\n".join(plain_story(node)))


def plain_story(node: Node, depth: int = 0) -> list[str]:
    """Write a tree as indented lines."""
    lines = [INDENT * depth + one_line(node.text)]
    for each in node.below:
        lines += plain_story(each, depth + 1)
    return lines


def _rich_tree(node: Node) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    drawn = Tree(Text(one_line(node.text), "bold"), guide_style="dim")
    _grow(drawn, node)
    return drawn


def _grow(drawn: Tree, node: Node) -> None:
    from rich.text import Text

    for each in node.below:
        text = one_line(each.text)
        label, colon, rest = text.partition(":")
        style = STYLES.get(label.rsplit(" ", 1)[-1], "bold" if label in {"now", "next"} else "")
        line = Text.assemble((label + colon, style), rest) if colon else Text(text)
        _grow(drawn.add(line), each)


def print_document(value: Any, form: str) -> None:
    """Print values as JSON or YAML."""
    print(json.dumps(value, indent=2) if form == "json" else _yaml(value))


def print_one(value: Any, form: str) -> None:
    """Print one of several documents: JSON on a line of its own, YAML below a marker."""
    print(json.dumps(value) if form == "json" else f"---\n{_yaml(value)}")


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n")
