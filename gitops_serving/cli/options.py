"""The options that every command shares, and how they become Settings.

A command takes `settings` as its first argument; `shared` puts the options in its
place.  What they mean is `config`'s business.
"""

from __future__ import annotations

import functools
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gitops_serving.config import OPTIONS, Settings, read_settings, variable

if TYPE_CHECKING:
    from collections.abc import Callable

Name = Annotated[str, typer.Argument(metavar="NAME", help="namespace/name, or the name if only one service has it.")]


def _option(name: str, metavar: str, text: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    return typer.Option(flag, metavar=metavar, help=f"{text}  [{variable(name)}]", show_default=False)


Path_ = Path | None
Text_ = str | None
SHARED: dict[str, Any] = {
    "repo": Annotated[Text_, _option("repo", "URL", "The repository of the fleet, or a path to it.")],
    "branch": Annotated[Text_, _option("branch", "NAME", "Its branch; main if absent.")],
    "env": Annotated[
        list[str] | None, _option("env", "NAME", "An environment; may be repeated; all under clusters/ if absent.")
    ],
    "token_file": Annotated[Path_, _option("token_file", "FILE", "A file with the token for https.")],
    "ssh_key_file": Annotated[Path_, _option("ssh_key_file", "FILE", "A file with the private key for ssh.")],
    "known_hosts": Annotated[Path_, _option("known_hosts", "FILE", "The hosts that ssh may trust.")],
    "kubeconfig": Annotated[Text_, _option("kubeconfig", "FILE", "The kubeconfig, in place of kubectl's default.")],
    "context": Annotated[Text_, _option("context", "NAME", "Its context, in place of the environment's.")],
    "local_state": Annotated[Path_, _option("local_state", "DIR", "Where the local cluster lives.")],
    "prometheus": Annotated[Text_, _option("prometheus", "URL", "Prometheus, in place of the environment's.")],
    "cache_dir": Annotated[Path_, _option("cache_dir", "DIR", "Where clones are kept; may be deleted at any time.")],
}
assert tuple(SHARED) == OPTIONS


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that takes Settings be called with the options of every command."""
    signature = inspect.signature(command)
    types = get_type_hints(command, localns={"Settings": Settings}, include_extras=True)
    own = [each.replace(annotation=types[each.name]) for each in signature.parameters.values()][1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in SHARED.items()
    ]

    @functools.wraps(command)
    def called(**arguments: Any) -> None:
        options = {name: arguments.pop(name) for name in SHARED}
        command(read_settings(options, os.environ), **arguments)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + added
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by typer
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
