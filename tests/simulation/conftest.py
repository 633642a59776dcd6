"""What happened in all worlds of a run, at its end."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.yamltext import documents, edit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Scan each text once: worlds read the same few again and again, and what is scanned never changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "parse", lru_cache(maxsize=256)(documents.parse))
        patch.setattr(edit, "parse", documents.parse)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what the shards counted."""
    told: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        told.update({what: number for what, number in report.user_properties if isinstance(number, int)})
    if told:
        words = ", ".join(f"{what} {number:,}" for what, number in sorted(told.items()))
        terminalreporter.write_line(f"in these worlds: {words}")
