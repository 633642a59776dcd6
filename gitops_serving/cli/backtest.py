"""``backtest``: a policy against the past, from Git and Prometheus alone.

The ledger tells which rollouts there were, Prometheus what both revisions did then.  What
the policy would have made of it is `core.backtest`'s business; here it is asked for,
written as a table, as values or as a picture, and turned into an exit code.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gitops_serving import shipped, wiring
from gitops_serving.controller.rewind import rewind
from gitops_serving.core.backtest import Compared, Would, apart, replay, summary, unknown
from gitops_serving.core.errors import GitopsServingError, Invalid
from gitops_serving.core.fields import duration, format_duration
from gitops_serving.core.fleet import policy_of, read_fleet, with_sources
from gitops_serving.core.ledger import API_VERSION, instant, record_path
from gitops_serving.core.past import found

from . import codes, judging, names, render
from .look import repository
from .picture import picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gitops_serving.adapters.git import GitRepository
    from gitops_serving.config import Settings
    from gitops_serving.core.fleet import Fleet
    from gitops_serving.core.model import Policy
    from gitops_serving.core.past import Journey
    from gitops_serving.ports import Metrics, Tree

COLUMNS = ("ENVIRONMENT", "SERVICE", "REVISION", "STARTED", "WAS", "WOULD", "BECAUSE")
PICTURE = ".svg"
DAYS = re.compile(r"(\d{1,4})d", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be tried, on what."""

    policy: str | None = None  # a file, or the name of a shipped one; None: what each service follows
    services: tuple[str, ...] = ()  # empty: all
    since: str | None = None  # None: everything that the ledger has
    picture: Path | None = None


def backtest(settings: Settings, wanted: Wanted, output: str) -> int:
    """Try a policy on the past, and say what to end with."""
    since = _since(wanted.since)
    if wanted.picture is not None and wanted.picture.suffix.lower() != PICTURE:
        raise Invalid(
            f"cannot draw {wanted.picture}: a picture is an SVG",
            code="picture",
            remedy=f"name a file that ends with {PICTURE}; others can be made from it",
        )
    with repository(settings) as opened:
        tree = opened.fetch()
        chosen = wiring.environments(settings, tree)
        only = {names.find(name, tree, chosen, wiring.clock()) for name in wanted.services}
        compared: list[Compared] = []
        code = codes.OK
        for environment in chosen:
            fleet = read_fleet(tree, environment, wiring.clock(), shipped.packs())
            services = [each for each in fleet.rollouts if not only or (environment, each) in only]
            journeys = [each for service in services for each in _journeys(opened, environment, service, since)]
            try:
                with _metrics(settings, fleet) as metrics:
                    compared += _compared(metrics, tree, fleet, wanted.policy, journeys)
            except GitopsServingError as error:
                codes.complain(error)
                code = code or codes.code_of(error)
    if code and not compared:
        return code
    if wanted.picture is not None:
        _write(wanted.picture, picture(compared, summary(compared)))
    if output == "json":
        render.print_document(document(compared), output)
    else:
        print_table(compared, several=len(chosen) > 1)
    return code or (codes.NEGATIVE if any(each.bad for each in compared) else codes.OK)


def _journeys(opened: GitRepository, environment: str, service: str, since: datetime | None) -> list[Journey]:
    told = found(opened.history(record_path(environment, service)), environment, service)
    return [journey for journey in told if since is None or journey.started >= since]


@contextmanager
def _metrics(settings: Settings, fleet: Fleet) -> Iterator[Metrics]:
    """Open an environment's Prometheus for as long as it is needed."""
    if isinstance(fleet.environment, Invalid):
        raise fleet.environment
    metrics, close = wiring.open_metrics(settings, fleet.environment)
    try:
        yield metrics
    finally:
        close()


def _compared(
    metrics: Metrics, tree: Tree, fleet: Fleet, policy: str | None, journeys: Sequence[Journey]
) -> list[Compared]:
    """Try one policy, or each service's own, on rollouts of one environment."""
    one = None if policy is None else with_sources(judging.read(policy), tree, shipped.packs())
    compared = []
    with _progress(len(journeys)) as tell:
        for journey in journeys:
            tell(f"{journey.service} {journey.revision}")
            compared.append(_one(metrics, journey, one or _policy(fleet, journey.service)))
    return compared


def _policy(fleet: Fleet, service: str) -> Policy | Invalid:
    """Find the policy that a service follows at the head, or say what is wrong."""
    rollout = fleet.rollouts[service]
    return rollout if isinstance(rollout, Invalid) else policy_of(fleet, rollout)


def _one(metrics: Metrics, journey: Journey, policy: Policy | Invalid) -> Compared:
    """Try a policy on one rollout."""
    if isinstance(policy, Invalid):
        return Compared(journey, unknown(str(policy)), invalid=True)
    samples = rewind(metrics, journey, policy, wiring.clock())
    if isinstance(samples, str):
        return Compared(journey, unknown(samples, policy))
    unread = tuple(metric.name for metric in policy.metrics if metric.enforced and metric.name in samples.wrong)
    return Compared(journey, replay(journey, policy, samples), unread=unread)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Say on a terminal which rollout is being read; nowhere else."""
    number, shown = 0, sys.stderr.isatty() and total > 1

    def tell(what: str) -> None:
        nonlocal number
        number += 1
        if shown:
            print(f"\r\x1b[K{number} of {total}: {what}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _since(words: str | None) -> datetime | None:
    """Read an instant, or how long ago it is."""
    if words is None:
        return None
    days = DAYS.fullmatch(words)
    if days:
        return wiring.clock() - timedelta(days=int(days[1]))
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is not None:
        return at
    try:
        return wiring.clock() - duration(words)
    except Invalid:
        why = "has no time zone" if at is not None else "is neither a time ago nor an instant"
        remedy = "write 30d, 12h, or an instant such as 2026-12-01T08:00Z"
        raise Invalid(f"--since {words!r} {why}", code="since", remedy=remedy) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"cannot write the picture {path}: {error.strerror}",
            code="picture",
            remedy="name a file in a folder of yours",
        ) from None


# -- what it says ----------------------------------------------------------------------------------------------------


def print_table(compared: Sequence[Compared], *, several: bool) -> None:
    """Print a line for each rollout, oldest first, and what they come to."""
    first = 0 if several else 1
    if compared:
        render.print_table(COLUMNS[first:], [cells(each)[first:] for each in compared])
        print()
    sentence = summary(compared)
    print(f"{sentence[:1].upper()}{sentence[1:]}.")


def cells(each: Compared) -> list[str]:
    """Write a rollout as a line of the table."""
    journey, replayed = each.journey, each.replayed
    return [
        journey.environment,
        journey.service,
        journey.revision,
        instant(journey.started),
        was(journey),
        would(each),
        replayed.because,
    ]


def was(journey: Journey) -> str:
    """Say how a rollout ended, and after how long."""
    if journey.decided is None:
        return journey.end.value
    back = ", and taken back" if journey.taken_back else ""
    return f"{journey.end.value} after {format_duration(journey.decided - journey.started)}{back}"


def would(each: Compared) -> str:
    """Say how it would have ended, after how long, and how much earlier or later that is."""
    replayed = each.replayed
    if replayed.at is None:
        return replayed.would.value
    after = format_duration(timedelta(seconds=round((replayed.at - each.journey.started).total_seconds())))
    said = (
        apart(each.later) if each.later is not None else "wrongly" if each.wrongly else "missed" if each.missed else ""
    )
    return f"{replayed.would.value} after {after}" + (f", {said}" if said else "")


def document(compared: Sequence[Compared]) -> dict[str, Any]:
    """Write everything as values; the form is versioned by apiVersion."""
    count = {outcome.value: sum(each.replayed.would is outcome for each in compared) for outcome in Would}
    return {
        "apiVersion": API_VERSION,
        "kind": "Backtest",
        "summary": {
            "sentence": summary(compared),
            "rollouts": len(compared),
            "would": count,
            "wrongly": sum(each.wrongly for each in compared),
            "missed": sum(each.missed for each in compared),
            "invalid": sum(each.invalid for each in compared),
            "unread": sum(bool(each.unread) for each in compared),
        },
        "items": [_item(each) for each in compared],
    }


def _item(each: Compared) -> dict[str, Any]:
    """Write one rollout as values; what is not known is null."""
    journey, replayed = each.journey, each.replayed
    return {
        "environment": journey.environment,
        "service": journey.service,
        "revision": journey.revision,
        "clusterRevisions": {"canary": journey.canary or None, "stable": journey.stable or None},
        "started": instant(journey.started),
        "was": {
            "end": journey.end.name.lower(),
            "at": journey.decided and instant(journey.decided),
            "afterSeconds": _seconds(_after(each, journey.decided)),
            "because": journey.because or None,
            "takenBack": journey.taken_back,
            "weights": [{"weight": given.weight, "at": instant(given.at)} for given in journey.given],
        },
        "would": {
            "end": replayed.would.value,
            "at": replayed.at and instant(replayed.at),
            "afterSeconds": _seconds(_after(each, replayed.at)),
            "laterSeconds": _seconds(each.later),
            "because": replayed.because,
            "policy": replayed.policy or None,
            "weights": [{"weight": move.weight, "at": instant(move.at)} for move in replayed.moves],
            "evidence": {"most": max((point.total for point in replayed.curve), default=None), "bound": replayed.bound},
        },
        "wrongly": each.wrongly,
        "missed": each.missed,
        "invalid": each.invalid,
        "unread": list(each.unread),
    }


def _after(each: Compared, at: datetime | None) -> timedelta | None:
    return None if at is None else at - each.journey.started


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
