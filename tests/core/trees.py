"""Small trees for tests: manifests, records and the environment that goes with them, as bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gitops_serving.core import ledger, manifest, yamltext
from gitops_serving.core.ledger import Record
from gitops_serving.core.model import Canary, Past, Rollout, Stable
from gitops_serving.core.rollout import read_rollouts
from gitops_serving.testing.repository import FakeRepository, FakeTree

from .situations import MINUTE, NOON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.core.model import Owned

ENVIRONMENT = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {name: demo}
spec:
  cluster: {kind: local}
  policies:
    - {policy: standard}
"""
POLICY = b"""\
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: standard}
spec:
  steps:
    - {setWeight: 5, dwell: 60s}
    - {setWeight: 25, dwell: 60s}
  readyWithin: 5m
  patience: 5m
  analysis:
    minRequests: 20
    timing: {block: 20s, warmUp: 20s, warmUpAfterShift: 10s}
    metrics:
      - {name: errors, pack: knative/errors, compare: {tolerance: 20%, atLeast: 5%}}
"""
SCORER = "fraud/scorer"
SCORER_PATH = "clusters/demo/fraud/scorer.yaml"
RECORD_PATH = "rollouts/demo/fraud/scorer.yaml"


def text(model: str = "one", *, name: str = "scorer", replicas: int = 1) -> str:
    """Write a manifest as a person would: comments, odd spacing and all."""
    return f"""\
# The {name} of the fraud team.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}, namespace: fraud}}
spec:
  predictor:   # sklearn
    minReplicas: {replicas}

    model:
      modelFormat: {{name: sklearn}}
      storageUri:  file:///models/{model}   # reviewed
"""


def value(source: str | bytes) -> Mapping[str, Any]:
    """Parse one manifest."""
    data = source.encode() if isinstance(source, str) else source
    found: Mapping[str, Any] = yamltext.read(data)[0].value
    return found


def revision(source: str) -> str:
    """Digest one manifest."""
    return manifest.revision_of(value(source))


def owning(source: str, owned: Owned) -> str:
    """Give a manifest's text owned fields."""
    return yamltext.patch(source.encode(), manifest.edits(value(source), owned)).decode()


ONE, TWO, THREE = text("one"), text("two"), text("three")
V1, V2, V3 = revision(ONE), revision(TWO), revision(THREE)


def record(**fields: Any) -> Record:
    """Make the record of an adopted scorer."""
    stable = Stable(V1, None, "scorer-predictor-00001", "uid-1")
    return replace(Record(service=SCORER, environment="demo", stable=stable, stable_text=ONE), **fields)


def on_trial(weight: int = 5, *, past: tuple[Past, ...] = (), **fields: Any) -> Record:
    """Make the record of a scorer whose second revision is on trial."""
    given = NOON - MINUTE
    started = past[0].since if past else given
    canary = Canary(revision=V2, label=f"{V2}.1", weight=weight, started=started, since=given, past=past)
    return record(canary=canary, canary_text=TWO, admissions=1, policy="standard@00000000", **fields)


def tree(manifests: str | bytes | None = ONE, of: Record | None = None, **more: bytes) -> FakeTree:
    """Make a tree with the scorer's manifest and record; ``more`` files have __ for / and no ending."""
    files = {"clusters/demo/cluster.yaml": ENVIRONMENT, "policies/standard.yaml": POLICY}
    if manifests is not None:
        files[SCORER_PATH] = manifests.encode() if isinstance(manifests, str) else manifests
    if of is not None:
        files[RECORD_PATH] = ledger.write_record(of)
    files |= {f"{path.replace('__', '/')}.yaml": content for path, content in more.items()}
    return FakeRepository(files, at=NOON).head


def scorer(of: FakeTree) -> Rollout:
    """Read the scorer of a tree."""
    found = read_rollouts(of, "demo", NOON)[SCORER]
    assert isinstance(found, Rollout), found
    return found
