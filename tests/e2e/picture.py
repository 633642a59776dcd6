"""Draw docs/demo.svg from a real run of the demonstration on a real terminal.

    python -m tests.e2e.picture docs/demo.svg

Takes the screen while the good version stands at its last step, and again at the end.  Needs tmux.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

SESSION = "gitops-serving-picture"
COLUMNS, LINES = 124, 70
SECONDS = 240
FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # they would be fetched from a stranger


def tmux(*arguments: str) -> str:
    """Run tmux; raises CalledProcessError."""
    return subprocess.run(["tmux", *arguments], check=True, capture_output=True, text=True).stdout


def screen_with(words: str) -> str:
    """Wait until the screen shows something, and take it with its colours."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        screen = tmux("capture-pane", "-p", "-e", "-J", "-t", SESSION)
        if words in Text.from_ansi(screen).plain:
            return screen
        time.sleep(0.3)
    raise SystemExit(f"the demonstration never showed {words!r}")


def between(screen: str, first: str, last: str) -> list[Text]:
    """Cut a screen from the line with some words to the one before others."""
    lines = [Text.from_ansi(line) for line in screen.splitlines()]
    start = next(number for number, line in enumerate(lines) if first in line.plain)
    end = next((number for number, line in enumerate(lines) if number > start and last in line.plain), len(lines))
    while end > start and not lines[end - 1].plain.strip():
        end -= 1
    return lines[start:end]


def main() -> None:
    """Run the demonstration in a terminal of its own, and draw what it shows."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        command = f"{sys.executable} -m gitops_serving demo --dir {directory}/d; echo THE END; cat"
        tmux("new-session", "-d", "-s", SESSION, "-x", str(COLUMNS), "-y", str(LINES), command)
        try:
            middle, end = screen_with("50%  1"), screen_with("THE END")
        finally:
            tmux("kill-session", "-t", SESSION)
    console = Console(record=True, width=COLUMNS, file=sys.stderr)
    console.print(Text("$ make demo", "bold"), Text("…"), *between(middle, "SERVICE", "\0"), sep="\n", soft_wrap=True)
    console.print(Text("…\n", ""))
    console.print(*between(end, "The ledger", "Where to look next"), sep="\n", soft_wrap=True)
    target.write_text(FONTS.sub("", console.export_svg(title="gitops-serving")), encoding="utf-8")


if __name__ == "__main__":
    main()
