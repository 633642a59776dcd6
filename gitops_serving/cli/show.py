"""``get`` and ``explain``: look at Git, cluster and Prometheus, and change nothing."""

from __future__ import annotations

import time
from dataclasses import astuple
from typing import TYPE_CHECKING

from gitops_serving import wiring
from gitops_serving.core.errors import GitopsServingError, Invalid

from . import codes, listing, names, render
from .look import Sight, look, offices, repository
from .story import story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gitops_serving.config import Settings

    from .listing import Row

COLUMNS = ("ENVIRONMENT", "NAMESPACE", "NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "MESSAGE")


def rollouts(settings: Settings, namespace: str | None, output: str, every_seconds: float | None) -> int:
    """List the services; with a pause, go on with rows that change."""
    if every_seconds is not None and output != "table":
        raise Invalid("--watch prints a table only", code="usage", remedy="leave out --watch, or --output")
    with repository(settings) as opened:
        tree = opened.fetch()
        chosen = wiring.environments(settings, tree)
        with offices(settings, chosen, opened) as made:
            sight = look(made, tree)
            if output == "table":
                shown = rows(sight, namespace)
                print_rows(shown, header=bool(sight.snapshots), several=len(chosen) > 1)
            else:
                render.print_document(listing.document(sight.snapshots, namespace), output)
            code = complaints(sight)
            if every_seconds is not None:
                follow(
                    lambda: look(made, opened.fetch()),
                    shown,
                    namespace,
                    several=len(chosen) > 1,
                    pause_seconds=every_seconds,
                )
    return code


def explain(settings: Settings, name: str, output: str) -> int:
    """Tell everything about one service."""
    with repository(settings) as opened:
        tree = opened.fetch()
        chosen = wiring.environments(settings, tree)
        environment, service = names.find(name, tree, chosen, wiring.clock())
        with offices(settings, [environment], opened) as made:
            sight = look(made, tree)
    if sight.errors:
        raise sight.errors[0]
    (snapshot,) = sight.snapshots
    seen = next(each for each in snapshot.services if each.service == service)
    if output == "text":
        render.print_story(story(seen, snapshot))
    else:
        told = {"apiVersion": listing.API_VERSION, "kind": "Rollout", **listing.item(seen, snapshot)}
        render.print_document(told, output)
    return complaints(sight, service)


def rows(sight: Sight, namespace: str | None) -> list[Row]:
    """List the rows of all that was seen."""
    return [
        listing.row(seen, snapshot.environment)
        for snapshot in sight.snapshots
        for seen in snapshot.services
        if namespace is None or seen.service.startswith(f"{namespace}/")
    ]


def print_rows(shown: Sequence[Row], *, header: bool, several: bool) -> None:
    """Print rows, with their environment where there are several."""
    first = 0 if several else 1
    if shown or header:
        render.print_table(COLUMNS[first:], [astuple(row)[first:] for row in shown], header=header)


def complaints(sight: Sight, service: str | None = None) -> int:
    """Print what could not be looked at, and say what to end with."""
    for error in sight.errors:
        codes.complain(error)
    if sight.errors:
        return codes.code_of(sight.errors[0])
    seen = [each for snapshot in sight.snapshots for each in snapshot.services if service in (None, each.service)]
    return codes.NEGATIVE if any(each.invalid or each.error for each in seen) else codes.OK


def follow(
    again: Callable[[], Sight], shown: Sequence[Row], namespace: str | None, *, several: bool, pause_seconds: float
) -> None:
    """Print rows that change, until Ctrl-C; a failing look is told once, and tried again."""
    known = {(row.environment, row.namespace, row.name): row for row in shown}
    said = ""
    while True:
        time.sleep(pause_seconds)
        try:
            sight = again()
        except GitopsServingError as error:
            sight = Sight((), (error,))
        errors = "\n".join(str(error) for error in sight.errors)
        if errors and errors != said:
            complaints(sight)
        said = errors
        new = {(row.environment, row.namespace, row.name): row for row in rows(sight, namespace)}
        print_rows([row for key, row in new.items() if row != known.get(key)], header=False, several=several)
        known |= new
