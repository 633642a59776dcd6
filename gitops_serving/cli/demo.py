"""``gitops-serving demo``: two real rollouts, one that ends well and one that does not, on this machine.

Real models are trained, a real repository is made, the local cluster serves, load arrives, and the controller runs as
a process of its own.  Then a person merges two pull requests.  The demonstration only watches from there on: it reads
Git, the cluster, Prometheus and the gateway's counts, and says at the end whether everything went as it should.

Everything that it starts has ended when it ends, whatever happens, unless it was asked to stay.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from gitops_serving.cli import demo_ending, demo_fleet, demo_place, demo_report, demo_view
from gitops_serving.cli.demo_stage import LAST_WORDS_LINES, Bell, DemoError, Kept, Stopped, end, said, start
from gitops_serving.config import Settings
from gitops_serving.core.errors import GitopsServingError, Unavailable
from gitops_serving.local import statedir

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gitops_serving.cli.demo_models import Trained
    from gitops_serving.cli.demo_report import Ended
    from gitops_serving.cli.demo_stage import Keeper
    from gitops_serving.cli.demo_view import View
    from gitops_serving.cli.demo_watch import Row, Watch
    from gitops_serving.local.statedir import StateDir

    KeeperMaker = Callable[[str, Sequence[str], Path], Keeper]

Found = TypeVar("Found")

UP_SECONDS = 120.0
STORY_SECONDS = 210.0  # from the first look to the end of both rollouts; a quiet machine needs a third
LOOK_SECONDS = 0.7
AWAY_SECONDS = 30.0  # a gateway that was killed is back after one, or after ten where memory is short
RATE = 30  # requests a second and service
FLOWING = 20 * RATE  # requests answered before anything is merged: by them the first commits say what can be seen
PARTS = 4  # in which it is said how far that is
STORY = {"scorer": "promoted", "ranker": "aborted"}
TITLES = {"scorer": "Serve gradient boosting", "ranker": "Rank by a table of bins"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story is told, and what it is told with."""

    place: Path
    bell: Bell
    stack: ExitStack  # ends what was started, last started first
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that was made before the story begins."""

    trained: Trained
    fleet: demo_fleet.Fleet
    state: StateDir
    cluster: subprocess.Popen[bytes]
    where: Mapping[str, Any]  # the cluster's addresses


def demo(directory: Path | None, until_stopped: bool = False, *, keeper: KeeperMaker = Kept) -> int:
    """Run the demonstration in an empty or new directory; 0: both rollouts ended as they should.

    ``keeper`` makes whoever keeps the controller running, from a name, a Python module with its arguments, and a log.
    """
    try:
        place = demo_place.prepare(directory)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with Bell() as bell, ExitStack() as stack:
            stage = Stage(place=place, bell=bell, stack=stack, view=demo_view.open_view())
            stack.callback(stage.view.close)
            return _tell(stage, keeper, until_stopped=until_stopped)
    except Stopped as stopped:
        print(f"{stopped}; nothing was left running, and the files are in {place}", file=sys.stderr)
        return 128 + stopped.sent
    except (DemoError, demo_fleet.GitError, GitopsServingError, statedir.StateError, OSError) as error:
        print(f"the demonstration failed: {error}\nnothing was left running; see {place / 'logs'}", file=sys.stderr)
        for name, log in demo_place.logs(place).items():  # a machine that ran it alone keeps no files to look at
            print(f"\n{name}: {said(log, LAST_WORDS_LINES)}", file=sys.stderr)
        return 1


def _tell(stage: Stage, keeper: KeeperMaker, *, until_stopped: bool) -> int:
    """Tell the story from its beginning to its report."""
    from gitops_serving.wiring import clock

    started = clock()
    scene = _set(stage)
    kept, watch = _open(stage, scene, keeper)
    rows = _watched(stage, scene, kept, watch, enough=_adopted, what="the adoption of both services")
    stables = {row.service: row.stable for row in rows}
    loads = _loaded(stage, scene, stage.place)
    stage.view.say("letting Prometheus see stable's traffic: the first commits say by it what the steps can detect")
    for part in range(1, PARTS + 1):
        _answered(stage, scene, kept, partial(_flowed, watch, FLOWING * part // PARTS))
        stage.view.say(f"each service has answered {FLOWING * part // PARTS} of {FLOWING} requests")
    _merge(stage, scene)
    rows = _watched(stage, scene, kept, watch, enough=_over, what="the story")
    _answered(stage, scene, kept, lambda: _counted(watch, last=True) >= demo_report.LEAST_REQUESTS)
    for load in loads:
        end(load)
    sums = [partial(_ended, stage, watch, row, stables[row.service]) for row in rows]
    rollouts = [_seen(stage, scene, kept, ended) for ended in sums]
    wrong = [each for ended in rollouts for each in demo_report.problems(ended)]
    report = demo_report.document(
        rollouts, wrong=wrong, started=started, now=clock(), kills=kept.kills, restarts=kept.restarts
    )
    (stage.place / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    stage.view.close()
    demo_ending.print_ending(stage.place, scene.fleet, rollouts, wrong)
    if until_stopped:
        _stay(stage, scene, kept)
    return 1 if wrong else 0


def _stay(stage: Stage, scene: Scene, kept: Keeper) -> None:
    """Leave everything running, load included, until a person stops it."""
    _loaded(stage, scene, stage.place / "logs")
    demo_ending.print_running(scene.fleet, scene.state, scene.where)
    with suppress(Stopped):  # here it is no interruption: it was asked for
        while True:
            _tend(scene, kept)
            stage.bell.pause(LOOK_SECONDS)
    print("stopping everything", flush=True)


def _set(stage: Stage) -> Scene:
    """Train the models, make the repository, and start the cluster."""
    from gitops_serving.cli.demo_models import train

    view, place = stage.view, stage.place
    view.say(f"everything is in {place}")
    state = demo_place.state_dir(place)
    cluster = start(["gitops_serving.local.cluster", "--state", str(state.root)], state.supervisor_log)
    stage.stack.callback(end, cluster)
    view.say("starting the local cluster: an API, a gateway and a Prometheus")
    trained = train(place / "models")
    for model in trained.models.values():
        fails = f", and fails for {model.failing:.0%} of all requests" if model.failing else ""
        view.say(f"trained {model.name}: {model.kind}, {model.accuracy:.1%} right{fails}")
    first = {name: trained.models[f"{name}-v1"].directory for name in STORY}
    fleet = demo_fleet.create(place, first)
    view.say(f"made the fleet's repository: {fleet.remote}")
    where = stage.bell.until(lambda: _up(state, cluster), UP_SECONDS, "the start of the local cluster")
    return Scene(trained=trained, fleet=fleet, state=state, cluster=cluster, where=where)


def _open(stage: Stage, scene: Scene, keeper: KeeperMaker) -> tuple[Keeper, Watch]:
    """Start the controller, and open the eyes that follow it."""
    from gitops_serving.cli.demo_watch import Watch

    stage.view.say("starting the controller: it brings both services up from Git, and adopts them")
    remote, cache = str(scene.fleet.remote), stage.place / "cache"
    places = ["--local-state", str(scene.state.root), "--cache-dir", str(cache / "controller")]
    log = stage.place / "logs/controller.log"
    kept = keeper("the controller", ["gitops_serving", "run", "--repo", remote, *places], log)
    stage.stack.callback(kept.stop)
    environment = demo_fleet.ENVIRONMENT
    settings = Settings(repo=remote, env=(environment,), local_state=scene.state.root, cache_dir=cache / "demo")
    watch = Watch(settings, environment, scene.state)
    stage.stack.callback(watch.close)
    return kept, watch


def _loaded(stage: Stage, scene: Scene, reports: Path) -> list[subprocess.Popen[bytes]]:
    """Send each service its requests, at an even rate and in a random order that is the same every time."""
    stage.view.say(f"sending {RATE} requests a second to each service")
    loads = []
    for seed, name in enumerate(STORY):
        url = f"{scene.where['gateway']}/serving/{demo_fleet.NAMESPACE}/{name}/v1/models/{name}:predict"
        draw = ["--body", str(scene.trained.requests), "--rate", str(RATE), "--seed", str(seed)]
        out = ["--out", str(reports / f"load-{name}.json")]
        command = ["gitops_serving.local.load", "--url", url, *draw, *out]
        loads.append(start(command, stage.place / f"logs/load-{name}.log"))
        stage.stack.callback(end, loads[-1])
    return loads


def _merge(stage: Stage, scene: Scene) -> None:
    """Let a person merge a pull request for each service."""
    for number, (name, title) in enumerate(TITLES.items(), 1):
        branch = demo_fleet.propose(scene.fleet, name, scene.trained.models[f"{name}-v2"].directory, title)
        commit = demo_fleet.merge(scene.fleet, branch, number, title)
        stage.view.say(f"{demo_fleet.PERSON[0]} merges pull request #{number}, {title}: commit {commit[:7]}")


def _watched(
    stage: Stage,
    scene: Scene,
    kept: Keeper,
    watch: Watch,
    *,
    enough: Callable[[Sequence[Row]], bool],
    what: str,
) -> tuple[Row, ...]:
    """Show how it goes until enough has happened; raises DemoError if that takes too long."""
    deadline = time.monotonic() + STORY_SECONDS
    rows: tuple[Row, ...] = ()
    while not enough(rows):
        if time.monotonic() > deadline:
            last = "; ".join(demo_view.line(row) for row in rows) or "nothing could be seen"
            raise DemoError(f"{what} took more than {STORY_SECONDS:g} s; last: {last}")
        stage.bell.pause(LOOK_SECONDS)
        rows = _seen(stage, scene, kept, watch.look)
        stage.view.show(rows)
    return rows


def _seen(stage: Stage, scene: Scene, kept: Keeper, look: Callable[[], Found]) -> Found:
    """Look, and look again for a while where somebody does not answer; raises DemoError if that lasts.

    Whoever does not answer may have ended, which is the better thing to say, or be about to come back.
    """
    deadline, told = time.monotonic() + AWAY_SECONDS, ""
    while True:
        _tend(scene, kept)
        try:
            return look()
        except Unavailable as error:
            _tend(scene, kept)
            if time.monotonic() > deadline:
                raise DemoError(f"for {AWAY_SECONDS:g} s nothing could be seen: {error}") from error
            if str(error) != told:
                stage.view.say(f"cannot look, and tries again: {error}")
            told = str(error)
        stage.bell.pause(LOOK_SECONDS)


def _tend(scene: Scene, kept: Keeper) -> None:
    """See that controller and cluster run."""
    kept.tend()
    if scene.cluster.poll() is not None:
        raise DemoError(f"the local cluster ended; {said(scene.state.supervisor_log)}")


def _adopted(rows: Sequence[Row]) -> bool:
    """Tell whether both services are up and adopted."""
    return len(rows) == len(STORY) and all(row.rests for row in rows)


def _over(rows: Sequence[Row]) -> bool:
    """Tell whether both rollouts have ended, and the cluster is at rest."""
    ended = (any(move.action in demo_report.ENDS for move in row.moves) for row in rows)
    return _adopted(rows) and all(ended)


def _answered(stage: Stage, scene: Scene, kept: Keeper, enough: Callable[[], bool]) -> None:
    """Wait until enough requests have been answered, and see that everything runs meanwhile."""
    stage.bell.until(lambda: _seen(stage, scene, kept, enough), UP_SECONDS, "answering the load")


def _flowed(watch: Watch, enough: int) -> bool:
    """Tell whether every service has answered so many predictions."""
    return _counted(watch) >= enough


def _counted(watch: Watch, *, last: bool = False) -> int:
    """Count the predictions that every service has answered, at its last weight or altogether."""
    answered = [
        sum(classes["2xx"] for epoch in (epochs[-1:] if last else epochs) for classes in epoch["requests"].values())
        for epochs in watch.epochs().values()
    ]
    return min(answered) if len(answered) == len(STORY) else 0


def _ended(stage: Stage, watch: Watch, row: Row, stable: str) -> Ended:
    """Sum up the rollout of a service."""
    name = row.service.rpartition("/")[2]
    load = json.loads((stage.place / f"load-{name}.json").read_text(encoding="utf-8"))
    return watch.ended(row, before=stable, expected=STORY[name], load=load)


def _up(state: StateDir, cluster: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    """Read where the cluster listens; empty: it is not up yet."""
    if cluster.poll() is not None:
        raise DemoError(f"the local cluster did not come up; {said(state.supervisor_log)}")
    return statedir.addresses(state)
