"""``gitops-serving``: the commands, and what the process ends with.

Each command is a module of its own.  Here is their order, and the one place where an
error becomes a line on stderr and an exit code.
"""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 -- typer reads it at run time
from typing import Annotated

import typer

from gitops_serving.core.errors import GitopsServingError

from . import codes, commands, local

EPILOG = "\n".join(
    [
        "\b",  # the next lines stay as they are
        "Exit codes:",
        *(f"  {code:2}  {meaning}" for code, meaning in codes.MEANINGS.items()),
        "",
        "Most options may be given as environment variables, whose names stand in [brackets].",
        f"{codes.DEBUG}=1 shows the traceback of an error.",
    ]
)

app = typer.Typer(
    name="gitops-serving",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.add_typer(commands.get, name="get")
for command in commands.COMMANDS:
    app.command()(command)
app.add_typer(local.app, name="local")


@app.command()
def demo(
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Where everything of it is kept; a temporary place if absent."),
    ] = None,
    until_stopped: Annotated[
        bool, typer.Option("--until-stopped", help="Stay up after the last act, and stop with Ctrl-C.")
    ] = False,
) -> None:
    """Play a good and a bad rollout on this machine.

    A local cluster, with real model servers and a real Prometheus, is brought up for it.
    """
    from .demo import demo as play

    raise typer.Exit(play(directory, until_stopped))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(f"gitops-serving {installed('gitops-serving')}")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Roll out KServe models by Git: every move is a commit, every verdict has its evidence."""


def main() -> None:
    """Run the command line, and end with its exit code."""
    try:
        app()
    except GitopsServingError as error:
        if codes.debugging():
            raise
        codes.complain(error)
        sys.exit(codes.code_of(error))
    except Exception as error:
        if codes.debugging():
            raise
        codes.say(f"this is a bug: {type(error).__name__}: {error}; report it with what {codes.DEBUG}=1 shows")
        sys.exit(codes.BUG)
