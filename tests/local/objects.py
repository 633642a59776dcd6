"""Objects and requests that several tests of the local cluster begin with."""

from __future__ import annotations

from typing import Any

from gitops_serving.local.kinds import INFERENCE_SERVICE
from gitops_serving.local.writes import Write

Json = dict[str, Any]

NOW = "2026-11-22T10:00:00Z"
LATER = "2026-11-22T10:00:07Z"


def service(name: str = "scorer", *, namespace: str = "fraud", **predictor: Any) -> Json:
    """Write an InferenceService with an sklearn model, unless the predictor says otherwise."""
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///models/v1"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def labelled(body: Json, **labels: str) -> Json:
    """Give an object labels."""
    return {**body, "metadata": {**body["metadata"], "labels": labels}}


def write(name: str = "scorer", *, manager: str = "alice", now: str = NOW, **options: bool) -> Write:
    """Write down who writes what and when."""
    return Write(kind=INFERENCE_SERVICE, namespace="fraud", name=name, manager=manager, now=now, **options)
