"""A seeded world: users who push at the worst time, metrics with gaps, clusters that are lost, and a clock.

Everything real takes part: tick, decide, propose, ledger, YAML splicing, judge.  Only the three ports are fakes.
A world is its seed: the same seed plays the same world.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from gitops_serving import shipped
from gitops_serving.controller import requests
from gitops_serving.controller.requests import Word
from gitops_serving.controller.tick import Desk, tick
from gitops_serving.core import manifest
from gitops_serving.core.errors import Conflict, GitopsServingError
from gitops_serving.core.found import parse
from gitops_serving.core.model import Request, Rollout
from gitops_serving.core.rollout import read_rollouts
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.cluster import FakeCluster
from gitops_serving.testing.metrics import FakeMetrics
from gitops_serving.testing.repository import FakeRepository

from .invariants import Watch
from .policies import POLICY_PATH, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gitops_serving.controller.snapshot import Snapshot

ENVIRONMENT = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {name: sim}
spec:
  cluster: {kind: local}
  policies:
    - {policy: brisk}
"""
MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}, namespace: sim}}
spec:
  predictor:  # {remark}
    minReplicas: {replicas}
    model:
      modelFormat: {{name: sklearn}}
      storageUri: {uri}
"""
BREAKAGE = b"{{ broken\n"
RATE = 4.0  # requests a second and service
PEOPLE = "Pat <pat@example.invalid>"


class SimulatedCrash(BaseException):
    """The controller's process is gone; not an Exception, so that nothing in it can survive it."""


class World:
    """One seeded world.

    ``race``: how often a first apply loses KServe's baseline race; ``lag``: how often status is one look behind;
    ``forget``: how often the controller loses what it keeps from tick to tick, of which nothing may come.
    """

    def __init__(self, seed: int, *, race: float = 0.0, lag: float = 0.0, forget: float = 0.0) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.names = ("a", "b")
        self.count = 0
        self.policy = policy_of(seed)
        shared = self.random.random() < 0.4
        self.paths = {n: "clusters/sim/sim/both.yaml" if shared else f"clusters/sim/sim/{n}.yaml" for n in self.names}
        self.shared = shared
        self.texts = {name: self._text(name, "good") for name in self.names}
        self.pushed: dict[str, list[str]] = {name: [text] for name, text in self.texts.items()}
        files = {"clusters/sim/cluster.yaml": ENVIRONMENT, POLICY_PATH: self.policy, **self._files()}
        self.repository = FakeRepository(files, at=self.clock())
        self.cluster = FakeCluster(self.clock)
        self.metrics = FakeMetrics()
        self.cluster.loading = self._loading
        self.cluster.race = lambda _: self.random.random() < race
        self.forget, self.forgets = forget, random.Random(f"what world {seed} forgets")
        self.lags = lag > 0
        self.cluster.lags = lambda: self.lags and self.random.random() < lag
        self.crashes = 0.0  # chance that the next effect is the process's last
        self.late = False  # whether the process dies after its next append
        self.faults: dict[str, int] = {}  # fault -> steps that it goes on
        self.desk = Desk(
            environment="sim",
            repository=self.repository,
            metrics=self.metrics,
            cluster=self.cluster,
            clock=self.clock,
            shipped=shipped.packs(),
        )
        self.watch = Watch(self)
        self.cluster.before_apply = self._before_apply
        self.cluster.changed = self.watch.traffic
        self.last: Snapshot | None = None
        self.log: list[str] = []

    # -- what people write ---------------------------------------------------------------------------------------

    def _text(self, name: str, kind: str, replicas: int = 1) -> str:
        self.count += 1
        uri = f"file:///models/{kind}/{self.count}"
        return MANIFEST.format(name=name, remark=f"push {self.count}", replicas=replicas, uri=uri)

    def _files(self) -> dict[str, bytes]:
        """The manifests' files, as they are to be at the head."""
        if not self.shared:
            return {self.paths[name]: text.encode() for name, text in self.texts.items()}
        return {self.paths["a"]: "---\n".join(self.texts[name] for name in self.names).encode()}

    def _push(self, name: str, text: str) -> None:
        """Put a manifest at the head in place of whatever stands there, and leave the other service alone."""
        self._take()
        self.texts[name] = text
        self.repository.push(self._files(), author=PEOPLE, at=self.clock(), message=f"change {name}")

    def _take(self) -> None:
        """Read the manifests as they stand at the head, our edits included."""
        for name in self.names:
            source = (self.repository.head.read(self.paths[name]) or b"").removeprefix(BREAKAGE)
            for document in parse(source):
                if manifest.is_inference_service(document.value) and document.value["metadata"]["name"] == name:
                    self.texts[name] = source[document.start : document.end].decode()

    # -- what the cluster does -----------------------------------------------------------------------------------

    def _loading(self, document: Mapping[str, Any]) -> timedelta | None:
        kind = kind_of(document)
        if kind == "never":
            return None
        longest = {"slow": 420, "good": 90, "bad": 60}[kind]
        return timedelta(seconds=self.random.choice((0, longest // 3, longest)))

    def _before_apply(self, service: str, document: Mapping[str, Any]) -> None:
        if self.random.random() < self.crashes:
            raise SimulatedCrash
        self.watch.applying(service, document)

    def _serve(self, seconds: float) -> None:
        """Send traffic by the present shares, and let Prometheus scrape it."""
        quiet = "quiet" in self.faults
        for service in self.cluster.services.values():
            for revision, percent in service.component.shares.items():
                requests_ = 0.0 if quiet else RATE * seconds * percent / 100
                bad = 0.4 if service.contents[revision] in self.watch.bad else 0.001
                self.metrics.serve(revision, requests_, requests_ * bad)
        if "unscraped" not in self.faults and "blind" not in self.faults:
            self.metrics.scrape(self.clock())

    # -- time ----------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Play the wild part of a world, and then its coming to rest."""
        for _ in range(6):
            self.step()
        for _ in range(steps):
            if self.random.random() < 0.30:
                self._event()
            self.step()
        self._heal()
        for number in range(150):
            self.step()
            if number > 3 and self.watch.at_rest():
                return
            if number % 25 == 24:
                self._unwedge()
        self.watch.rest()

    def step(self) -> None:
        """Let time pass, then tick until the controller has nothing more to do at this instant."""
        seconds = self.random.choice((5, 15, 25))
        self._serve(seconds)
        self.clock.advance(seconds)
        self.cluster.advance()
        self._age()
        for number in range(8):
            if not self._tick():
                return
            self.watch.progress(number)

    def _tick(self) -> bool:
        """Tick once; say whether anything was appended."""
        before = self.repository.head.commit
        if self.forgets.random() < self.forget:
            self.desk.memory.folded.clear()
            self.desk.memory.surveys.clear()
        self.repository.after_append = self._late_crash if self.late else None  # people's commits do not crash
        try:
            snapshot = tick(self.desk, self.last)
        except Conflict:
            self.last = None
            return True
        except SimulatedCrash:
            self.last, self.crashes = None, 0.0
            self.watch.committed()
            return True
        finally:
            self.repository.after_append = None
        self.watch.committed()
        self.watch.ticked(snapshot, before)
        self.last = snapshot
        return bool(snapshot.appended)

    def _late_crash(self) -> None:
        self.late = False
        raise SimulatedCrash

    def _age(self) -> None:
        """Let faults pass."""
        if self.faults.get("broken") == 1:
            self.mend()
        self.faults = {fault: left - 1 for fault, left in self.faults.items() if left > 1}
        self.metrics.blind = "Prometheus did not answer" if "blind" in self.faults else None
        self.cluster.down = "the API server did not answer" if "api" in self.faults else None
        self.repository.down = "no route to host" if "git" in self.faults else None
        self.repository.refuses = "protected branch" if "hook" in self.faults else None
        self.cluster.refuses = (
            (lambda d: "denied by webhook" if kind_of(d) == "bad" else None)
            if ("webhook" in self.faults)
            else (lambda _: None)
        )

    # -- what happens --------------------------------------------------------------------------------------------

    def _event(self) -> None:
        """Let one thing happen."""
        events: dict[str, tuple[int, Callable[[str], None]]] = {
            "push": (30, self._new),
            "back": (8, lambda name: self._push(name, self.random.choice(self.pushed[name]))),
            "edit weight": (5, lambda name: self._edit(name, self.random.choice((0, 3, 60, 100)))),
            "lose weight": (4, lambda name: self._edit(name, None)),
            "edit label": (3, self._edit_label),
            "scale": (3, self._scale),
            "broken file": (2, self._break),
            "word": (12, self._word),
            "policy": (3, lambda _: self._toggle_policy()),
            "fault": (16, lambda _: self._fault()),
            "lost cluster": (2, lambda _: self._lose()),
            "crash": (10, lambda _: self._crash()),
            "late crash": (6, lambda _: self._crash_after_append()),
            "race": (5, self._race),
            "lost answer": (3, lambda _: self._lose_answer()),
        }
        chosen = self.random.choices(list(events), weights=[weight for weight, _ in events.values()])[0]
        name = self.random.choice(self.names)
        self.log.append(f"{self.clock():%H:%M:%S} {chosen} {name}")
        events[chosen][1](name)
        self.watch.committed()

    def _new(self, name: str) -> None:
        kind = self.random.choices(("good", "bad", "slow", "never"), weights=(50, 30, 10, 10))[0]
        text = self._text(name, kind)
        self.pushed[name].append(text)
        self._push(name, text)

    def _edit(self, name: str, weight: int | None) -> None:
        self._take()
        lines = [line for line in self.texts[name].splitlines(keepends=True) if "canaryTrafficPercent" not in line]
        if weight is not None:
            index = next(i for i, line in enumerate(lines) if "predictor:" in line)
            lines.insert(index + 1, f"    canaryTrafficPercent: {weight}\n")
        self._push(name, "".join(lines))

    def _edit_label(self, name: str) -> None:
        self._take()
        lines = [line for line in self.texts[name].splitlines(keepends=True) if manifest.LABEL not in line]
        self._push(name, "".join(lines))

    def _scale(self, name: str) -> None:
        self._take()
        replicas = self.random.randint(1, 5)
        lines = [
            f"    minReplicas: {replicas}\n" if "minReplicas" in line else line
            for line in self.texts[name].splitlines(keepends=True)
        ]
        self.pushed[name].append("".join(lines))
        self._push(name, "".join(lines))

    def _break(self, name: str) -> None:
        path = self.paths[name]
        source = self.repository.head.read(path) or b""
        if source.startswith(BREAKAGE):
            return
        self.repository.push({path: BREAKAGE + source}, author=PEOPLE, at=self.clock(), message="break it")
        self.faults["broken"] = self.random.randint(1, 6)

    def mend(self) -> None:
        """Put readable files back."""
        if any((self.repository.head.read(path) or b"").startswith(BREAKAGE) for path in self.paths.values()):
            self._take()
            self.repository.push(self._files(), author=PEOPLE, at=self.clock(), message="mend it")

    def _word(self, name: str) -> None:
        word = Word(environment="sim", service=f"sim/{name}", by=PEOPLE, at=self.clock(), reason="because")
        verb = self.random.choice(("hold", "resume", "promote", "abort", "retry"))
        try:
            if verb == "hold":
                until = self.clock() + timedelta(minutes=5) if self.random.random() < 0.5 else None
                requests.commit(self.repository, partial(requests.hold, word, until=until))
            elif verb == "resume":
                requests.commit(self.repository, partial(requests.resume, word))
            elif verb == "retry":
                requests.commit(self.repository, partial(requests.retry, word, content=self.repository.content))
            else:
                requests.commit(self.repository, partial(requests.ask, word, what=Request(verb)))
        except GitopsServingError:
            return
        self.log.append(f"  {verb} {name}")

    def _toggle_policy(self) -> None:
        good = self.repository.head.read(POLICY_PATH) == self.policy
        broken = self.policy.replace(b"setWeight: 25", b"setWeight: 5")
        self.repository.push({POLICY_PATH: broken if good else self.policy}, author=PEOPLE, at=self.clock())

    def _fault(self) -> None:
        seen = [each.situation.rollout.canary for each in self.last.services if each.situation] if self.last else []
        if any(canary is not None and canary.revision in self.watch.bad for canary in seen):
            fault = self.random.choice(("git", "hook", "git", "hook", "blind"))  # at the worst time
        else:
            fault = self.random.choice(("blind", "unscraped", "api", "git", "hook", "webhook", "quiet"))
        self.log.append(f"  {fault}")
        self.faults[fault] = self.random.choice((2, 6, 20))

    def _lose(self) -> None:
        self.cluster.lose()
        self.watch.lost()

    def _crash(self) -> None:
        self.crashes = 0.5

    def _crash_after_append(self) -> None:
        self.late = True

    def _race(self, name: str) -> None:
        self.repository.before_append = lambda: self._new(name)

    def _lose_answer(self) -> None:
        self.repository.lose_answer = 1

    # -- coming to rest ------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End every fault, resume every hold, and give services that never started something that can."""
        self.faults, self.crashes, self.late = {}, 0.0, False
        self.repository.before_append = None
        self._age()
        self.mend()
        self.repository.push({POLICY_PATH: self.policy}, author=PEOPLE, at=self.clock())
        for name in self.names:
            word = Word(environment="sim", service=f"sim/{name}", by=PEOPLE, at=self.clock())
            with suppress(GitopsServingError):  # it was not held
                requests.commit(self.repository, partial(requests.resume, word))
        for service, rollout in read_rollouts(self.repository.head, "sim", self.clock()).items():
            if not isinstance(rollout, Rollout) or rollout.stable is None:
                name = service.split("/")[1]
                self._push(name, self._text(name, "good"))
        self.watch.committed()

    def _unwedge(self) -> None:
        """People answer what waits for them: edited fields, a policy that holds, a cluster that never was Git's."""
        said = {s.service: s.decision.because for s in self.last.services if s.decision} if self.last else {}
        for service, rollout in read_rollouts(self.repository.head, "sim", self.clock()).items():
            served = self.cluster.services.get(service)
            if served and isinstance(rollout, Rollout) and rollout.stable is None:
                self.cluster.services.pop(service)  # deleted by hand; the head is applied to the empty place
                self.watch.lost()
                self._push(service.split("/")[1], self._text(service.split("/")[1], "good"))
            canary = rollout.canary if isinstance(rollout, Rollout) else None
            edited = canary is not None and isinstance(rollout, Rollout) and not rollout.admitted
            if canary is not None and (edited or "the policy holds" in said.get(service, "")):
                good = not edited and canary.revision not in self.watch.bad
                word = Word(environment="sim", service=service, by=PEOPLE, at=self.clock())
                what = Request.PROMOTE if good else Request.ABORT
                requests.commit(self.repository, partial(requests.ask, word, what=what))
        self.watch.committed()


def kind_of(document: Mapping[str, Any]) -> str:
    """Read how a model behaves from its URI."""
    return str(document["spec"]["predictor"]["model"]["storageUri"].split("/")[-2])
