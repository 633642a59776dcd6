"""A controller with everything it works with, in memory: one environment, and services that a test pushes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gitops_serving import shipped
from gitops_serving.controller.tick import Desk, tick
from gitops_serving.core import ledger, manifest
from gitops_serving.core.found import parse
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.cluster import FakeCluster
from gitops_serving.testing.metrics import FakeMetrics
from gitops_serving.testing.repository import FakeRepository
from tests.core.trees import ENVIRONMENT, POLICY, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.controller.snapshot import Seen, Snapshot
    from gitops_serving.core.ledger import Record

ANN = "Ann Example <ann@example.invalid>"
RATE = 200.0  # requests a second and service: enough for evidence within a minute
BAD = 0.5  # share of errors of a model whose name begins with "bad"


@dataclass(slots=True)
class Stage:
    """What a test plays on; ``names`` are the services of namespace fraud, each with model "one"."""

    names: tuple[str, ...] = ("scorer",)
    clock: ManualClock = field(default_factory=ManualClock)
    repository: FakeRepository = field(init=False)
    cluster: FakeCluster = field(init=False)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    desk: Desk = field(init=False)
    last: Snapshot | None = None

    def __post_init__(self) -> None:
        """Put the manifests into a repository, and everything on one desk."""
        files = {f"clusters/demo/fraud/{name}.yaml": text("one", name=name).encode() for name in self.names}
        files |= {"clusters/demo/cluster.yaml": ENVIRONMENT, "policies/standard.yaml": POLICY}
        self.repository = FakeRepository(files, at=self.clock())
        self.cluster = FakeCluster(self.clock)
        self.desk = Desk(
            environment="demo",
            repository=self.repository,
            metrics=self.metrics,
            cluster=self.cluster,
            clock=self.clock,
            shipped=shipped.packs(),
        )

    def tick(self) -> Snapshot:
        """Tick once."""
        self.last = tick(self.desk, self.last)
        return self.last

    def pass_by(self, seconds: int) -> None:
        """Let traffic flow and be scraped, in steps of five seconds."""
        for _ in range(0, seconds, 5):
            for served in self.cluster.services.values():
                for revision, percent in served.component.shares.items():
                    count = RATE * 5 * percent / 100
                    model = self.model(served.contents[revision])
                    self.metrics.serve(revision, count, count * BAD if model.startswith("bad") else 0.0)
            self.clock.advance(5)
            self.metrics.scrape(self.clock())
            self.cluster.advance()

    def model(self, revision: str) -> str:
        """Name the model of a revision, from any manifest that was ever pushed."""
        return self._models()[revision]

    def _models(self) -> dict[str, str]:
        sources = [after for logged in self.repository.log for _, after in logged.files.values()]
        manifests = [source for source in sources if source and b"\nkind: InferenceService\n" in source]
        found = [document.value for source in manifests for document in parse(source)]
        return {manifest.revision_of(d): d["spec"]["predictor"]["model"]["storageUri"].split("/")[-1] for d in found}

    def push(self, model: str, name: str = "scorer") -> None:
        """Push a new model of a service."""
        files = {f"clusters/demo/fraud/{name}.yaml": text(model, name=name).encode()}
        self.repository.push(files, at=self.clock())

    def adopt(self) -> None:
        """Start all services and take them over."""
        assert self.tick().appended
        self.pass_by(20)

    def on_trial(self, model: str, *names: str) -> None:
        """Adopt, push a model, and tick until it has its first weight."""
        self.adopt()
        for name in names or self.names:
            self.push(model, name)
        assert self.tick().appended

    def record(self, name: str = "scorer") -> Record:
        """Read a record at the head."""
        path = f"rollouts/demo/fraud/{name}.yaml"
        source = self.repository.head.read(path)
        assert source is not None, f"{path} is not there"
        return ledger.read_record(source, path, "demo")

    def weight(self, name: str = "scorer") -> int | None:
        """Tell the live weight."""
        return self.cluster.services[f"fraud/{name}"].weight

    def shares(self, name: str = "scorer") -> dict[str, int]:
        """Tell who gets which share of the traffic, by model."""
        served = self.cluster.services[f"fraud/{name}"]
        shares = served.component.shares.items()
        return {self.model(served.contents[revision]): percent for revision, percent in shares if percent}

    def actions(self) -> list[str]:
        """List the moves in Git, oldest first."""
        found = [ledger.read_trailers(logged.message).get("Action") for logged in self.repository.log]
        return [action for action in found if action]


def seen(snapshot: Snapshot, service: str = "fraud/scorer") -> Seen:
    """Find a service in a snapshot."""
    return next(found for found in snapshot.services if found.service == service)


def never(document: Mapping[str, Any]) -> timedelta | None:
    """Let no model become ready whose name begins with "never"."""
    return None if "/never" in document["spec"]["predictor"]["model"]["storageUri"] else timedelta()
