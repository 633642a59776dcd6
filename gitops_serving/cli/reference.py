"""The page ``docs/reference/cli.md``, made from the commands themselves.

``python -m gitops_serving.cli.reference > docs/reference/cli.md`` writes it; a test
compares the two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from . import codes
from .main import app
from .options import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = re.compile(r" \[(\w+)\]")
HEAD = """\
# Command line

Made by `python -m gitops_serving.cli.reference`; do not edit it by hand.

All commands print to a pipe or a file what they print to a terminal, without colours and never cut.
`NO_COLOR` takes the colours off a terminal too. Errors go to stderr as one block that says what happened,
to what, and what to do.
"""
WHERE = """\
Every command that reads the fleet takes these options. Each may be given as an environment variable instead,
whose name stands behind it; `GITOPS_SERVING_ENV` takes several names with commas between them. An address
never carries a credential.
"""


def page() -> str:
    """Write the whole page."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, "## Exit codes\n", _exit_codes(), "## Shared options\n", WHERE, _shared(root.commands["history"])]
    for path, command in _commands(root, ()):
        parts.append(_section(path, command))
    return "\n".join(parts)


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Walk all commands, with their full names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in codes.MEANINGS.items())
    return f"| code | meaning |\n| --- | --- |\n{rows}\n`{codes.DEBUG}=1` shows the traceback of an error.\n"


def _shared(command: Any) -> str:
    return _options([param for param in command.params if param.name in SHARED])


def _section(path: str, command: Any) -> str:
    """Describe one command."""
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    own = [p for p in command.params if p.param_type_name == "option" and p.name not in SHARED]
    shared = any(param.name in SHARED for param in command.params)
    usage = " ".join(["gitops-serving", path, *(_metavar(argument) for argument in arguments), "[OPTIONS]"])
    text = "\n".join(line.strip() for line in command.help.strip().splitlines())
    parts = [f"## {path}\n", f"```text\n{usage}\n```\n", f"{text}\n"]
    if own:
        parts.append(_options(own))
    if shared:
        parts.append("The [shared options](#shared-options) apply.\n")
    return "\n".join(parts)


def _options(params: list[Any]) -> str:
    """List options in a table."""
    rows = "".join(f"| `{_flags(param)}` | {_told(param)} |\n" for param in params)
    return f"| option | meaning |\n| --- | --- |\n{rows}"


def _flags(param: Any) -> str:
    flags = ", ".join(param.opts)
    return flags if param.is_flag else f"{flags} {_metavar(param)}"


def _metavar(param: Any) -> str:
    """Name a value as the command does, or else by its option."""
    return str(param.metavar or param.name.upper()).replace("|", "\\|")


def _told(param: Any) -> str:
    text = VARIABLE.sub(r"`\1`.", (param.help or "").replace("|", "\\|"))
    default = param.default
    shown = default not in (None, "", False) and not callable(default) and not param.is_flag
    return f"{text} Default: {default}." if shown else text


if __name__ == "__main__":
    print(page(), end="")
