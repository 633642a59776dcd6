"""A gateway that is killed in the middle of a rollout: it is back where it was, and the rollout ends as it should.

Everything is real but the person who kills it.  The demonstration's own eyes look on, as they do in ``make demo``.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.cli import demo_fleet
from gitops_serving.cli.demo_stage import Bell, end
from gitops_serving.cli.demo_watch import Row, Watch
from gitops_serving.config import Settings
from gitops_serving.core.errors import Unavailable
from gitops_serving.local import statedir
from tests.e2e import evidence, journey
from tests.e2e.journey import RATE, SERVICE, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e.journey import Journey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the journey left."""

    before: Mapping[str, Any]  # the cluster's addresses
    after: Mapping[str, Any]
    row: Row  # the first that was seen after the kill
    moves: list[str]
    load: Mapping[str, Any]
    supervisor: str  # its log


def gateway(here: Journey) -> int:
    """Tell the gateway's process; 0: it is not up."""
    try:
        return int(json.loads((here.state.root / "gateway.json").read_text(encoding="utf-8"))["pid"])
    except FileNotFoundError:
        return 0


def seen(watch: Watch) -> Row | None:
    """Look once; None: somebody did not answer."""
    try:
        (row,) = watch.look()
    except Unavailable:
        return None
    return row


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    """Play the journey once; all tests look at what was recorded on it."""
    with tempfile.TemporaryDirectory(prefix="gs-") as name:  # pytest's own paths can be long for unix sockets
        yield play(Path(name))


def play(place: Path) -> Played:
    """Go from the first model to the second, and kill the gateway at the second weight."""
    with Bell() as bell, ExitStack() as stack:
        here = journey.begin(place, bell, stack)
        load = journey.loaded(here, stack)
        settings = Settings(repo=str(here.fleet.remote), local_state=here.state.root, cache_dir=place / "cache/eyes")
        watch = Watch(settings, demo_fleet.ENVIRONMENT, here.state)
        stack.callback(watch.close)
        journey.merge(here)
        journey.serving(here, STEPS[1])
        killed = gateway(here)
        os.kill(killed, signal.SIGKILL)
        row = journey.until(here, lambda: seen(watch), "a look after the kill")
        journey.until(here, lambda: gateway(here) not in {0, killed}, "the gateway's return")
        journey.moved(here, "promote")
        after = statedir.addresses(here.state)
        end(load)
    report = json.loads((place / "load.json").read_text(encoding="utf-8"))
    moves = [f"{match['action']} {match['after'] or ''}".strip() for _, match in evidence.moves(here.fleet.remote)]
    supervisor = here.state.supervisor_log.read_text(encoding="utf-8")
    return Played(before=here.where, after=after, row=row, moves=moves, load=report, supervisor=supervisor)


def test_it_is_back_where_it_was(played: Played) -> None:
    assert played.after == played.before
    assert "the gateway ended with code -9 and is started again" in played.supervisor


def test_whoever_watches_sees_on(played: Played) -> None:
    assert (played.row.service, played.row.wrong) == (SERVICE, "")


def test_the_rollout_ends_as_if_nothing_had_been(played: Played) -> None:
    assert played.moves == ["adopt", *(f"shift {weight}" for weight in (*STEPS, 100)), "promote"]


def test_only_the_requests_of_a_few_seconds_are_lost(played: Played) -> None:
    lost = played.load["sent"] - played.load["statuses"]["2xx"]
    assert 0 < lost < 15 * RATE
