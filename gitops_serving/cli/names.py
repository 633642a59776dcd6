"""Which service a person means: ``namespace/name``, or a name that only one service has."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from gitops_serving.core.errors import Invalid
from gitops_serving.core.rollout import read_rollouts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gitops_serving.ports import Tree

MOST_NAMES = 8  # in a message


def find(name: str, tree: Tree, environments: Iterable[str], now: datetime) -> tuple[str, str]:
    """Return environment and service; raises Invalid with the candidates where it is not exactly one."""
    services = [(env, service) for env in environments for service in read_rollouts(tree, env, now)]
    found = [each for each in services if name in (each[1], each[1].split("/")[-1])]
    if len(found) == 1:
        return found[0]
    several = len({env for env, _ in services}) > 1
    if found:
        raise Invalid(
            f"several services are called {name}: {_listed(found, several=several)}",
            code="ambiguous",
            remedy="say which one: write namespace/name" + (", and its environment with --env" if several else ""),
        )
    words = {word: each for each in services for word in (each[1].split("/")[-1], each[1])}
    near = list(dict.fromkeys(words[word] for word in get_close_matches(name, words, n=3)))
    remedy = f"did you mean {_listed(near, several=several)}?" if near else _known(services, several=several)
    raise Invalid(f"there is no service {name}", code="unknown", remedy=remedy)


def _known(services: list[tuple[str, str]], *, several: bool) -> str:
    return f"there are: {_listed(services, several=several)}" if services else "there is none at all"


def _listed(services: list[tuple[str, str]], *, several: bool) -> str:
    """List services, with their environments where there are several."""
    names = [f"{service} in {env}" if several else service for env, service in services]
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
