"""What happened in all worlds of a run, at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what the shards counted."""
    told: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        told.update({what: number for what, number in report.user_properties if isinstance(number, int)})
    if told:
        words = ", ".join(f"{what} {number:,}" for what, number in sorted(told.items()))
        terminalreporter.write_line(f"in these worlds: {words}")
