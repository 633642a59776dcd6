from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gitops_serving.cli.identity import author
from gitops_serving.core.errors import Invalid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of git with a name and an address."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Cfg Example\n\temail = cfg@example.invalid\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("configured")
def test_what_is_given_comes_before_variables_and_variables_before_the_configuration() -> None:
    variables = {"GIT_AUTHOR_NAME": "Var Example", "GIT_AUTHOR_EMAIL": "var@example.invalid"}

    assert author("Ada <ada@host>", variables) == "Ada <ada@host>"
    assert author(None, variables) == "Var Example <var@example.invalid>"
    assert author(None, {"GIT_AUTHOR_NAME": "Var Example"}) == "Var Example <cfg@example.invalid>"
    assert author(None, {}) == "Cfg Example <cfg@example.invalid>"


@pytest.mark.parametrize("given", ["Ada", "Ada <>", " <ada@host>", "Ada <a@b> <c@d>", "Ada\n<ada@host>", "A\nB <a@b>"])
def test_an_author_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(Invalid) as raised:
        author(given, {})

    assert raised.value.code == "author"
