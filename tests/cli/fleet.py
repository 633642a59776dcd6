"""A fleet in a real bare repository, with a cluster, a Prometheus and a clock in memory; and the command line on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gitops_serving import wiring
from gitops_serving.cli import main
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.cluster import FakeCluster
from gitops_serving.testing.metrics import FakeMetrics
from tests.contract.git_servers import BareRepository, bare_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gitops_serving.wiring import Addresses

ENVIRONMENT = """\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {{name: {name}}}
spec:
  cluster: {{kind: kubernetes}}
  prometheus: {{url: "http://127.0.0.1:9"}}
  policies:
    - {{policy: brisk}}
"""
POLICY = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: brisk}
spec:
  steps:
    - {setWeight: 10, dwell: 60s}
    - {setWeight: 50, dwell: 60s}
  readyWithin: 5m
  patience: 6m
  analysis:
    minRequests: 20
    timing: {block: 10s, warmUp: 5s, warmUpAfterShift: 5s}
    metrics:
      - {name: errors, pack: knative/errors, compare: {tolerance: 20%, atLeast: 5%}}
      - {name: latency, pack: knative/latency, compare: {tolerance: 50%, atLeast: 100ms}}
"""
MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  predictor:
    model:
      modelFormat: {{name: sklearn}}
      storageUri: file:///models/{model}
"""
ADA = "Ada Example <ada@example.invalid>"


def manifest(service: str, model: str) -> bytes:
    namespace, name = service.split("/")
    return MANIFEST.format(name=name, namespace=namespace, model=model).encode()


def environment(name: str, *services: str) -> dict[str, bytes]:
    """The files of an environment with these services, all of them on model 1."""
    files = {f"clusters/{name}/{service}.yaml": manifest(service, "1") for service in services}
    return {f"clusters/{name}/cluster.yaml": ENVIRONMENT.format(name=name).encode(), **files}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Fleet:
    """The fleet and the command line on it; every look at the cluster is one at the fakes."""

    path: Path
    git: BareRepository
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    cluster: FakeCluster = field(init=False)
    connected: list[Addresses] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster = FakeCluster(self.clock)
        self.patch.setattr(wiring, "clock", self.clock)
        self.patch.setattr(wiring, "connect", self._connect)
        self.patch.setattr(wiring, "open_metrics", lambda *_: (self.metrics, lambda: None))
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GITOPS_SERVING_ENV", "GITOPS_SERVING_DEBUG"):
            self.patch.delenv(name, raising=False)
        self.patch.setenv("GITOPS_SERVING_REPO", str(self.git.path))
        self.patch.setenv("GITOPS_SERVING_CACHE_DIR", str(self.path / "cache"))

    def _connect(self, found: Addresses) -> tuple[FakeCluster, FakeMetrics, Callable[[], None]]:
        self.connected.append(found)
        return self.cluster, self.metrics, lambda: None

    def run(self, *arguments: str) -> Ended:
        """Run the command line in this process."""
        self.patch.setattr(sys, "argv", ["gitops-serving", *arguments])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = self.capture.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    def once(self, *more: str) -> Ended:
        """Let the controller tick once."""
        return self.run("run", "--once", *more)

    def adopt(self) -> None:
        """Bring every service up and let it be adopted."""
        assert "adopt" in self.once().out

    def push(self, service: str, model: str, env: str = "demo") -> None:
        self.git.push({f"clusters/{env}/{service}.yaml": manifest(service, model)}, f"model {model}")

    def pass_time(self, seconds: int, *, bad: float = 0.0) -> None:
        """Let time pass under steady load, scraped every ten seconds; ``bad``: share of canaries' failed requests."""
        for _ in range(seconds // 10):
            self.clock.advance(10)
            self.cluster.advance()
            for served in self.cluster.services.values():
                for revision, percent in served.component.shares.items():
                    served_requests = 200.0 * percent / 100
                    self.metrics.serve(revision, served_requests, served_requests * (bad if percent <= 50 else 0))
            self.metrics.scrape(self.clock())


def make(
    path: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], files: Mapping[str, bytes]
) -> Fleet:
    """Make a fleet of these files and one policy."""
    git = bare_repository(path / "fleet.git", {"policies/brisk.yaml": POLICY, **files})
    return Fleet(path, git, patch, capture)
