from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gitops_serving.core.explain import ACTIONS

from . import phases
from .exhaustion import cases
from .situations import checked

if TYPE_CHECKING:
    from .phases import Run

PAGE = Path(__file__).parents[2] / "docs" / "phases.md"


@pytest.fixture(scope="module")
def found() -> Run:
    return phases.run()


def test_no_situation_raises(found: Run) -> None:
    assert found.situations > 50_000


def test_all_cases_of_a_row_get_one_answer(found: Run) -> None:
    """None: no case ever gets there.  Two: the words of the row do not say all that `decide` looks at."""
    mixed = [(name, row) for name, rows in found.sections.items() for row in rows if len(row.answers) != 1]
    assert mixed == []


def test_every_move_occurs(found: Run) -> None:
    moves = {name for names in found.moves.values() for name in names}
    assert moves == set(ACTIONS.values()) - {"wait"}


def test_the_situations_asked_about_can_exist() -> None:
    for number, (_, seen) in enumerate(cases()):
        if number % 97 == 0:
            checked(seen)


def test_the_page_is_current(found: Run) -> None:
    """`make docs` writes it anew."""
    assert PAGE.read_text() == phases.page(found)
