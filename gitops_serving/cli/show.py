"""``get`` and ``explain``: look at Git, cluster and Prometheus, and change nothing."""

from __future__ import annotations

import sys
import time
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving import wiring
from gitops_serving.core.errors import GitopsServingError

from . import codes, listing, names, render
from .look import Sight, look, offices, repository
from .story import story

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gitops_serving.config import Settings

    from .listing import Row

COLUMNS = ("ENVIRONMENT", "NAMESPACE", "NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "MESSAGE")


@dataclass(frozen=True, slots=True)
class Shown:
    """One service: its row, by which it is told whether anything has changed, and all that is known of it."""

    row: Row
    values: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others."""
        return self.row.environment, self.row.namespace, self.row.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How services are printed."""

    output: str = "table"  # or json, yaml
    several: bool = False  # environments, which are named then

    def print(self, shown: Sequence[Shown], *, header: bool = False) -> None:
        """Print services one by one: as rows, or as documents on their own; at once, whoever reads them."""
        if self.output == "table":
            first = 0 if self.several else 1
            if shown or header:
                render.print_table(COLUMNS[first:], [astuple(each.row)[first:] for each in shown], header=header)
        for each in shown if self.output != "table" else ():
            render.print_one(each.values, self.output)
        sys.stdout.flush()


def rollouts(settings: Settings, namespace: str | None, output: str, every_seconds: float | None) -> int:
    """List the services; with a pause, go on with those that change."""
    with repository(settings) as opened:
        tree = opened.fetch()
        chosen = wiring.environments(settings, tree)
        with offices(settings, chosen, opened) as made:
            sight = look(made, tree)
            form, shown = Form(output=output, several=len(chosen) > 1), found(sight, namespace)
            if output == "table" or every_seconds is not None:
                form.print(shown, header=bool(sight.snapshots))
            else:
                render.print_document(listing.document([each.values for each in shown]), output)
            code = complaints(sight)
            if every_seconds is not None:
                follow(lambda: look(made, opened.fetch()), shown, namespace, form=form, pause_seconds=every_seconds)
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
        render.print_document(listing.rollout(seen, snapshot), output)
    return complaints(sight, service)


def found(sight: Sight, namespace: str | None) -> list[Shown]:
    """Sum up all that was seen."""
    return [
        Shown(listing.row(seen, snapshot.environment), listing.rollout(seen, snapshot))
        for snapshot in sight.snapshots
        for seen in snapshot.services
        if namespace is None or seen.service.startswith(f"{namespace}/")
    ]


def complaints(sight: Sight, service: str | None = None) -> int:
    """Print what could not be looked at, and say what to end with."""
    for error in sight.errors:
        codes.complain(error)
    if sight.errors:
        return codes.code_of(sight.errors[0])
    seen = [each for snapshot in sight.snapshots for each in snapshot.services if service in (None, each.service)]
    return codes.NEGATIVE if any(each.invalid or each.error for each in seen) else codes.OK


def follow(
    again: Callable[[], Sight], shown: Sequence[Shown], namespace: str | None, *, form: Form, pause_seconds: float
) -> None:
    """Print services that change, until Ctrl-C; a failing look is told once, and tried again."""
    known = {each.key: each.row for each in shown}
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
        new = found(sight, namespace)
        form.print([each for each in new if each.row != known.get(each.key)])
        known |= {each.key: each.row for each in new}
