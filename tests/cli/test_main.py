"""The command line as a whole: exit codes, help, errors, and the page about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gitops_serving.cli import codes, commands, reference, verbs
from gitops_serving.core.errors import Conflict, Denied, Invalid, Misnamed, Refused, Unavailable

if TYPE_CHECKING:
    from tests.cli.fleet import Fleet

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
HEAVY = ("kubernetes", "pygit2", "prometheus_api_client", "apscheduler", "requests", "rich", "structlog", "yaml")
LISTED = """\
import sys
from gitops_serving.cli.main import main
sys.argv = ["gitops-serving", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    assert ended.code in (0, None), ended.code
print("\\n".join(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["get", "rollouts", "--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = LISTED.format(arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    loaded = {name.split(".")[0] for name in ended.stderr.split()}
    assert loaded.isdisjoint(HEAVY)
    assert "gitops_serving.core.model" not in ended.stderr.split()
    assert ended.stdout


def test_the_reference_page_is_what_the_commands_say() -> None:
    """Mend it with: python -m gitops_serving.cli.reference > docs/reference/cli.md."""
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_the_page_and_the_help_know_every_exit_code(fleet: Fleet) -> None:
    said = fleet.run("--help").out
    page = reference.page()

    for code, meaning in codes.MEANINGS.items():
        assert f"{code:2}  {meaning}" in said
        assert f"| {code} | {meaning} |" in page


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("the file is wrong", code="x", remedy="mend it"), 2),
        (Unavailable("nobody answers"), 3),
        (Conflict("it moved"), 4),
        (Refused("protected branch"), 5),
        (Denied("a missing right"), 5),
        (Misnamed("no such branch"), 2),
        (RuntimeError("a slip"), 70),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(verbs, "resume", fail)
    ended = fleet.run("resume", "scorer")

    assert ended.code == code
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert str(error) in ended.err
    assert "Traceback" not in ended.err


def test_a_traceback_is_shown_to_whoever_asks_for_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(codes.DEBUG, "1")

    with pytest.raises(Invalid, match="no service nobody"):
        fleet.run("history", "nobody")


def test_several_complaints_are_one_block(fleet: Fleet) -> None:
    ended = fleet.run("history", "scorer", "--token-file", "/nowhere/token", "--known-hosts", "/nowhere/hosts")

    assert ended.code == 2
    assert ended.err == (
        "error: there is no file /nowhere/token for --token-file; correct the path\n"
        "       there is no file /nowhere/hosts for --known-hosts; correct the path\n"
    )


def test_a_wrong_option_is_a_usage_error(fleet: Fleet) -> None:
    ended = fleet.run("history", "scorer", "--frobnicate")

    assert ended.code == 2
    assert "No such option: --frobnicate" in ended.err


def test_without_a_repository_the_command_says_how_to_name_one(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITOPS_SERVING_REPO")
    ended = fleet.run("get", "rollouts")

    assert (ended.code, ended.err) == (
        2,
        "error: no repository is named; give --repo URL, or set GITOPS_SERVING_REPO\n",
    )


@pytest.mark.parametrize("wrong", [("--repo", "/nowhere/fleet.git"), ("--branch", "nowhere"), ("--repo", "x://y")])
def test_a_repository_or_branch_that_is_not_there_is_a_wrong_option_and_no_server_s_no(
    fleet: Fleet, wrong: tuple[str, str]
) -> None:
    for command in (("get", "rollouts"), ("run", "--once"), ("history", "scorer")):
        ended = fleet.run(*command, *wrong)

        assert ended.code == codes.USAGE
        assert wrong[1] in ended.err or "unknown kind" in ended.err


def test_every_command_has_help_that_begins_with_a_short_line() -> None:
    for command in (*commands.COMMANDS, commands.rollouts):
        first = (command.__doc__ or "").partition("\n")[0]
        assert 0 < len(first) <= 45, command.__name__
