"""One service, a real cluster and a real controller, for tests that hurt them in the middle of a rollout.

What is done is what people and machines do: merges, words on the command line, signals to processes.  What is seen
comes from Git, from the cluster's API, from the controller's log and from ``explain``, which looks with the same eyes
as the controller; nothing is asked of the controller itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from gitops_serving.cli import demo_fleet
from gitops_serving.cli.demo_models import train
from gitops_serving.cli.demo_stage import Bell, DemoError, Kept, end, said, start
from gitops_serving.local import statedir
from tests.e2e import evidence

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from gitops_serving.cli.demo_fleet import Fleet
    from gitops_serving.cli.demo_models import Trained
    from gitops_serving.local.statedir import StateDir

NAME = "scorer"
SERVICE = f"{demo_fleet.NAMESPACE}/{NAME}"
STEPS = (20, 40, 60)
DWELL_SECONDS = 8  # a busy machine must have seen a step, and done something to it, before it is over
PATIENCE_SECONDS = 12  # with the canary's silence; blindness must not be taken for it
RATE = 25  # requests a second: five of them reach the canary at its first weight
WAIT_SECONDS = 90.0  # for anything; a quiet machine needs a tenth
COMMAND_SECONDS = 60.0

CLUSTER = f"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {{name: {demo_fleet.ENVIRONMENT}}}
spec:
  cluster: {{kind: local, namespaces: [{demo_fleet.NAMESPACE}]}}
  prometheus: {{timeout: 1s}}
  interval: 1s
  policies:
    - {{policy: demo}}
"""
POLICY = f"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {{name: demo}}
spec:
  steps: [{", ".join(f"{{setWeight: {weight}, dwell: {DWELL_SECONDS}s}}" for weight in STEPS)}]
  readyWithin: 60s
  patience: {PATIENCE_SECONDS}s
  analysis:
    minRequests: 10
    timing: {{block: 1s, warmUp: 1s, warmUpAfterShift: 1s}}
    metrics:
      - {{name: errors, pack: knative/errors, compare: {{tolerance: 20%, atLeast: 2%}}, limit: {{max: 10%}}}}
      - {{name: latency, pack: knative/latency, compare: {{tolerance: 50%, atLeast: 500ms}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """Everything that runs, and where it is."""

    root: Path
    bell: Bell
    state: StateDir
    cluster: subprocess.Popen[bytes]
    where: Mapping[str, Any]  # the cluster's addresses
    trained: Trained
    fleet: Fleet
    controller: Kept

    @property
    def log(self) -> Path:
        """The controller's log."""
        return self.root / "logs/controller.log"

    @property
    def load(self) -> Path:
        """The report of the load, which is written anew every second."""
        return self.root / "load.json"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where the service stands, by Git and by the cluster's API."""

    head: str  # the branch's newest commit
    weight: int | None  # in the cluster's InferenceService
    traffic: Mapping[str, int]  # in its status: percent by revision


@dataclass(frozen=True, slots=True)
class Look:
    """What ``explain`` answered, and where the service stood right after it."""

    told: Mapping[str, Any]
    stand: Stand


def begin(root: Path, bell: Bell, stack: ExitStack) -> Journey:
    """Start the cluster and the controller, and wait until the first model is adopted; ``stack`` ends all of it."""
    state = statedir.prepare(root / "state")
    cluster = start(["gitops_serving.local.cluster", "--state", str(state.root)], state.supervisor_log)
    stack.callback(end, cluster)
    trained = train(root / "models")
    fleet = _fleet(root, trained)
    where = bell.until(lambda: _up(state, cluster), WAIT_SECONDS, "the start of the local cluster")
    places = ["--repo", str(fleet.remote), "--local-state", str(state.root), "--cache-dir", str(root / "cache/run")]
    command = ["gitops_serving", "run", "--log-format", "json", *places]
    controller = Kept("the controller", command, root / "logs/controller.log")
    stack.callback(controller.stop)
    journey = Journey(
        root=root,
        bell=bell,
        state=state,
        cluster=cluster,
        where=where,
        trained=trained,
        fleet=fleet,
        controller=controller,
    )
    moved(journey, "adopt")
    return journey


def loaded(journey: Journey, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Send requests at an even rate until the load is ended; the first ones have been answered."""
    url = f"{journey.where['gateway']}/serving/{SERVICE}/v1/models/{NAME}:predict"
    draw = ["--body", str(journey.trained.requests), "--rate", str(RATE), "--seed", "1"]
    command = ["gitops_serving.local.load", "--url", url, *draw, "--out", str(journey.load)]
    process = start(command, journey.root / "logs/load.log")
    stack.callback(end, process)
    until(journey, lambda: answered(journey) >= RATE, "answering the load")
    return process


def until(journey: Journey, ask: Callable[[], Any], what: str, *, tended: bool = True) -> Any:
    """Ask until there is an answer; a controller that was killed meanwhile is started again, unless not tended."""

    def asked() -> Any:
        if journey.cluster.poll() is not None:
            raise DemoError(f"the local cluster ended; {said(journey.state.supervisor_log)}")
        if tended:
            journey.controller.tend()
        return ask()

    try:
        return journey.bell.until(asked, WAIT_SECONDS, what)
    except DemoError as error:
        log = evidence.git(journey.fleet.remote, "log", "--format=%cI %an: %s", "main")
        raise DemoError(f"{error}\nthe ledger:\n{log}the controller: {said(journey.log)}") from None


def merge(journey: Journey) -> None:
    """Let a person merge the second model."""
    title = "Serve gradient boosting"
    branch = demo_fleet.propose(journey.fleet, NAME, journey.trained.models[f"{NAME}-v2"].directory, title)
    demo_fleet.merge(journey.fleet, branch, 1, title)


def moved(journey: Journey, action: str, weight: int | None = None) -> str:
    """Wait for a move of the controller in Git; its commit comes back."""

    def is_it(match: re.Match[str]) -> bool:
        return match["action"] == action and (weight is None or match["after"] == str(weight))

    def found() -> str | None:
        return next((commit for commit, match in evidence.moves(journey.fleet.remote) if is_it(match)), None)

    commit: str = until(journey, found, f"the commit of {action} {weight or ''}")
    return commit


def serving(journey: Journey, weight: int) -> None:
    """Wait until Git says a weight and the cluster's traffic follows it."""
    moved(journey, "shift", weight)
    split = sorted((weight, 100 - weight))
    until(journey, lambda: sorted(stand(journey).traffic.values()) == split, f"the traffic of {weight}%")


def logged(journey: Journey, after: int, **facts: object) -> None:
    """Wait for a line of the controller's log, beyond the first ones, that has these facts."""

    def found() -> bool:
        return any(facts.items() <= line.items() for line in lines(journey)[after:])

    until(journey, found, f"the controller's log line with {facts}")


def lines(journey: Journey) -> list[dict[str, Any]]:
    """Read the whole lines of the controller's log."""
    text = journey.log.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def stand(journey: Journey) -> Stand:
    """Ask Git and the cluster's API where the service stands."""
    kind = "apis/serving.kserve.io/v1beta1"
    url = f"{journey.where['api']}/{kind}/namespaces/{demo_fleet.NAMESPACE}/inferenceservices/{NAME}"
    with requests.Session() as session:
        session.trust_env = False  # a proxy has no business with this machine's own addresses
        answer = session.get(url, timeout=WAIT_SECONDS)
    answer.raise_for_status()
    body = answer.json()
    targets = body["status"]["components"]["predictor"]["traffic"]
    return Stand(
        evidence.git(journey.fleet.remote, "rev-parse", "main").strip(),
        body["spec"]["predictor"].get("canaryTrafficPercent"),
        {target["revisionName"]: target["percent"] for target in targets if target["percent"]},
    )


def look(journey: Journey) -> Look:
    """Ask ``explain`` for values, and then Git and the API themselves."""
    return Look(json.loads(said_by(journey, "explain", NAME, "-o", "json")), stand(journey))


def said_by(journey: Journey, *arguments: str) -> str:
    """Run a command of ours as a person does, and return what it printed."""
    places = ["--repo", str(journey.fleet.remote), "--local-state", str(journey.state.root)]
    cache = ["--cache-dir", str(journey.root / "cache/person")]
    done = subprocess.run(
        [sys.executable, "-m", "gitops_serving", *arguments, *places, *cache],
        env={key: value for key, value in os.environ.items() if not key.startswith("GITOPS_SERVING_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def answered(journey: Journey) -> int:
    """Count the predictions that were answered so far."""
    try:
        report = json.loads(journey.load.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    return int(report["answered"])


@contextmanager
def hung(journey: Journey) -> Iterator[None]:
    """Stop Prometheus where it is: it takes connections and answers none."""
    pid = _prometheus(journey)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def dead(journey: Journey) -> Iterator[None]:
    """Kill Prometheus, and keep the cluster from starting another one: its configuration cannot be written.

    The cluster looks after its Prometheus every two seconds, and would have it back before anybody noticed.
    """
    file = journey.state.root / "prometheus/prometheus.yml"
    file.unlink()  # it is read at the start only
    file.mkdir()  # unlike missing rights, this keeps root out too
    try:
        os.kill(_prometheus(journey), signal.SIGKILL)
        yield
    finally:
        file.rmdir()


def _prometheus(journey: Journey) -> int:
    """Find the cluster's Prometheus among all processes; it is the only one with our configuration."""
    option = os.fsencode(f"--config.file={journey.state.root / 'prometheus/prometheus.yml'}")
    found = [int(pid) for pid, command in evidence.running(journey.root).items() if command.split(b"\0")[1] == option]
    assert len(found) == 1, found
    return found[0]


def _fleet(root: Path, trained: Trained) -> Fleet:
    """Make the demonstration's repository, with one service and shorter steps."""
    fleet = demo_fleet.create(root, {NAME: trained.models[f"{NAME}-v1"].directory})
    (fleet.clone / f"clusters/{demo_fleet.ENVIRONMENT}/cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    (fleet.clone / "policies/demo.yaml").write_text(POLICY, encoding="utf-8")
    demo_fleet.git(fleet.clone, "commit", "--quiet", "--all", "-m", "Take shorter steps")
    demo_fleet.git(fleet.clone, "push", "--quiet", "origin", demo_fleet.BRANCH)
    return fleet


def _up(state: StateDir, cluster: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    """Read where the cluster listens; empty: it is not up yet."""
    if cluster.poll() is not None:
        raise DemoError(f"the local cluster did not come up; {said(state.supervisor_log)}")
    return statedir.addresses(state)
