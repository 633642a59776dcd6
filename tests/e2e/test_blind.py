"""A rollout whose Prometheus hangs, dies and comes back: blindness holds, and neither starts, raises nor aborts.

One journey is played on the real local cluster, with the controller as a process of its own; a person's hold and a
killed controller are on its way too.  The claims below look at what was recorded on it.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gitops_serving.cli.demo_stage import Bell, end
from tests.e2e import evidence, journey
from tests.e2e.journey import DWELL_SECONDS, NAME, PATIENCE_SECONDS, RATE, SERVICE, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.e2e.journey import Journey, Look, Stand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOOKS = 3  # after something would have happened; the controller ticks about as often meanwhile
PERSON = "Grace Example <grace@example.com>"
ALONE = 2 * RATE  # predictions that are answered while there is no controller


@dataclass(frozen=True, slots=True)
class Blind:
    """What was seen while Prometheus was away."""

    before: Stand  # once the controller had met it
    looks: tuple[Look, ...]
    story: str  # what `explain` says to people
    after: Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was seen from a hold to its end."""

    due: datetime  # when the weight would have risen
    before: Stand
    looks: tuple[Look, ...]
    after: Stand
    kills: int
    alone: int  # predictions answered while no controller ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the journey left."""

    place: Path
    unstarted: Blind
    hung: Blind
    held: Held
    dead: Blind
    load: Mapping[str, Any]
    left: Mapping[str, bytes]  # processes

    def ledger(self, form: str) -> list[str]:
        """List Git's commits, oldest first."""
        return evidence.git(self.place / "fleet.git", "log", "--reverse", f"--format={form}", "main").splitlines()


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    """Play the journey once; all tests look at what was recorded on it."""
    with tempfile.TemporaryDirectory(prefix="gs-") as name:  # pytest's own paths can be long for unix sockets
        yield play(Path(name))


def play(place: Path) -> Played:
    """Go from the first model to the second, and be blind three times on the way."""
    first, second, third = STEPS
    with Bell() as bell, ExitStack() as stack:
        here = journey.begin(place, bell, stack)
        load = journey.loaded(here, stack)
        with journey.hung(here):
            mark = len(journey.lines(here))
            journey.merge(here)
            unstarted = watched(here, mark, {"phase": "Pending"}, enough=lambda _: True)
        journey.serving(here, first)
        with journey.hung(here):
            hung = watched(here, len(journey.lines(here)), {"verdict": "blind", "weight": first}, enough=overdue)
        journey.serving(here, second)
        held = holding(here)
        journey.serving(here, third)
        with journey.dead(here):
            dead = watched(here, len(journey.lines(here)), {"verdict": "blind", "weight": third}, enough=overdue)
        journey.moved(here, "promote")
        end(load)
    report = json.loads((place / "load.json").read_text(encoding="utf-8"))
    left = evidence.running(place)
    return Played(place=place, unstarted=unstarted, hung=hung, held=held, dead=dead, load=report, left=left)


def watched(here: Journey, mark: int, met: dict[str, object], *, enough: Callable[[Mapping[str, Any]], bool]) -> Blind:
    """Wait until the controller has met the blindness, and look on until it has been enough, and then some more."""
    journey.logged(here, mark, service=SERVICE, **met)
    before = journey.stand(here)
    looks = looked(here, enough)
    return Blind(before, looks, journey.said_by(here, "explain", NAME), journey.stand(here))


def looked(here: Journey, enough: Callable[[Mapping[str, Any]], bool], *, times: int = LOOKS) -> tuple[Look, ...]:
    """Look until something was seen a number of times, or until the service has moved, which is for the claims."""
    looks: list[Look] = []

    def seen() -> bool:
        looks.append(journey.look(here))
        return looks[-1].stand != looks[0].stand or sum(enough(look.told) for look in looks) >= times

    journey.until(here, seen, "looking at the service")
    return tuple(looks)


def overdue(told: Mapping[str, Any]) -> bool:
    """Tell whether dwell and patience are over, so that only blindness keeps the weight where it is."""
    since = datetime.fromisoformat(told["canary"]["since"])
    over = datetime.fromisoformat(told["at"]) - since > timedelta(seconds=DWELL_SECONDS + PATIENCE_SECONDS)
    return over and "when Prometheus can be read again" in told["next"]


def holding(here: Journey) -> Held:
    """Hold progress, kill the controller meanwhile, and resume when the weight would long have risen."""
    *_, ready = looked(here, lambda told: told["next"].startswith("the weight rises"), times=1)
    due = datetime.fromisoformat(ready.told["nextChange"])
    journey.said_by(here, "hold", NAME, "--reason", "let me look", "--author", PERSON)
    before = journey.stand(here)
    here.controller.process.kill()
    here.controller.process.wait()
    answered, mark = journey.answered(here), len(journey.lines(here))
    enough = answered + ALONE
    journey.until(here, lambda: journey.answered(here) >= enough, "answering without a controller", tended=False)
    alone = journey.answered(here) - answered
    journey.logged(here, mark, service=SERVICE, weight=STEPS[1])  # the next controller's first words
    looks = looked(here, lambda told: rises_but_for_the_hold(told, due))
    after = journey.stand(here)
    journey.said_by(here, "resume", NAME, "--reason", "it looks well", "--author", PERSON)
    return Held(due=due, before=before, looks=looks, after=after, kills=here.controller.restarts, alone=alone)


def rises_but_for_the_hold(told: Mapping[str, Any], due: datetime) -> bool:
    return datetime.fromisoformat(told["at"]) > due and told["verdict"]["outcome"] == "pass"


def test_no_rollout_starts_while_prometheus_does_not_answer(played: Played) -> None:
    blind = played.unstarted

    assert len(blind.looks) == LOOKS
    assert [look.stand for look in blind.looks] == [blind.before] * len(blind.looks)
    assert blind.after == blind.before
    for look in blind.looks:
        assert (look.told["phase"], look.told["decision"], look.told["canary"]) == ("Pending", "wait", None)
        assert look.told["message"].endswith("; no rollout starts blind.")


@pytest.mark.parametrize(("when", "weight"), [("hung", STEPS[0]), ("dead", STEPS[2])])
def test_a_blind_step_holds_its_weight_beyond_its_dwell_and_its_patience(
    played: Played, when: str, weight: int
) -> None:
    blind: Blind = getattr(played, when)

    assert blind.before.weight == weight
    assert sorted(blind.before.traffic.values()) == sorted((weight, 100 - weight))
    assert [look.stand for look in blind.looks] == [blind.before] * len(blind.looks)
    assert blind.after == blind.before
    for look in blind.looks:
        assert (look.told["phase"], look.told["decision"]) == ("Stepping", "wait")
        assert look.told["weight"] == {"recorded": weight, "live": weight}
    assert sum(overdue(look.told) for look in blind.looks) == LOOKS


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ("unstarted", "did not answer within "),
        ("hung", "did not answer within "),
        ("dead", "cannot be reached (Connection refused)"),
    ],
)
def test_explain_says_that_prometheus_does_not_answer_and_how(played: Played, when: str, what: str) -> None:
    blind: Blind = getattr(played, when)

    assert {look.told["verdict"]["outcome"] for look in blind.looks} == {"blind"}
    assert all(what in look.told["verdict"]["because"] for look in blind.looks)
    assert "verdict blind: Prometheus at http://127.0.0.1:" in blind.story
    assert what in blind.story


def test_a_hold_stops_a_healthy_rollout_even_where_the_controller_is_killed_meanwhile(played: Played) -> None:
    held = played.held

    assert held.kills == 1
    assert sum(rises_but_for_the_hold(look.told, held.due) for look in held.looks) == LOOKS
    assert {(look.told["held"], look.told["decision"], look.told["message"]) for look in held.looks} == {
        (True, "wait", "Held.")
    }
    assert [look.stand for look in held.looks] == [held.before] * len(held.looks)
    assert held.after == held.before
    assert held.after.weight == STEPS[1]


def test_words_are_commits_of_the_person_and_moves_are_those_of_the_controller(played: Played) -> None:
    lines = [line.split("|") for line in played.ledger("%an <%ae>|%H|%s")]
    said = [(author, subject) for author, _, subject in lines if "resume" in subject or "hold" in subject]
    movers = {author.partition(" <")[0] for author, _, subject in lines if f"({SERVICE}): shift" in subject}

    assert said == [(PERSON, f"rollout({SERVICE}): hold"), (PERSON, f"rollout({SERVICE}): resume")]
    assert movers == {"gitops-serving"}
    assert played.held.before.head in {commit for _, commit, subject in lines if subject.endswith(": hold")}


def test_it_goes_on_to_promotion_by_itself_and_never_back(played: Played) -> None:
    subjects = [line.removeprefix(f"rollout({SERVICE}): ") for line in played.ledger("%s") if "rollout(" in line]
    manifest = evidence.git(played.place / "fleet.git", "show", f"main:clusters/demo/{SERVICE}.yaml")

    assert subjects == [
        "adopt",
        "shift, 0% -> 20%",
        "shift, 20% -> 40%",
        "hold",
        "resume",
        "shift, 40% -> 60%",
        "shift, 60% -> 100%",
        "promote",
    ]
    assert f"storageUri: {(played.place / 'models' / f'{NAME}-v2').as_uri()}\n" in manifest
    assert "canaryTrafficPercent" not in manifest


def test_no_prediction_fails_or_is_dropped(played: Played) -> None:
    load = played.load
    failed = {status: count for status, count in load["statuses"].items() if status != "2xx"}

    assert played.held.alone >= ALONE
    assert failed == {"4xx": 0, "5xx": 0, "error": 0}
    assert (load["dropped"], load["outstanding"]) == (0, 0)
    assert load["answered"] == load["sent"]


def test_nothing_is_left_running(played: Played) -> None:
    assert played.left == {}
