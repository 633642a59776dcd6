from __future__ import annotations

import pytest

from .stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def burning() -> Stage:
    """A canary that is measurably bad, before the tick that sees it."""
    found = Stage()
    found.on_trial("bad")
    found.pass_by(60)
    return found
