"""A fleet of one service, for tests of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli import fleet as fleets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fleet:
    return fleets.make(tmp_path, monkeypatch, capsys, fleets.environment("demo", "fraud/scorer"))
