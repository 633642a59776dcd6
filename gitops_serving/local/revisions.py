"""Revision objects: what one says, and how its processes are started from it.

A Revision object holds all that is needed to start its processes again, so that a
restart of the supervisor brings back the same revisions.  Pure but for finding
the model's directory, which is done anew at every start of a process.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gitops_serving.local import template as templates
from gitops_serving.local.kinds import REVISION
from gitops_serving.local.replica import Launch, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gitops_serving.local.faults import Json
    from gitops_serving.local.reconcile import Revision
    from gitops_serving.local.scale import Scale

CONFIGURATION = "serving.knative.dev/configuration"
SERVICE = "serving.kserve.io/inferenceservice"
MIN_SCALE = "autoscaling.knative.dev/min-scale"
# The rest of the supervisor's environment is nobody's business: it may hold credentials.
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def new(service: Json, revision: Revision, configuration: str, body: Json, now: str) -> Json:
    """Write the object of a new revision."""
    metadata, predictor = service["metadata"], body["predictor"]
    model = templates.model(predictor)
    labels = {
        **body["labels"],
        CONFIGURATION: configuration,
        "serving.knative.dev/configurationGeneration": str(revision.generation),
        "serving.knative.dev/service": configuration,
        SERVICE: metadata["name"],
        "component": "predictor",
    }
    annotations = {**body["annotations"], MIN_SCALE: str(predictor.get("minReplicas", 1))}
    if model.get("storageUri"):
        annotations[templates.SOURCE_URI] = model["storageUri"]
    owner = {"apiVersion": service["apiVersion"], "kind": service["kind"], "name": metadata["name"]}
    return {
        "apiVersion": REVISION.api_version,
        "kind": REVISION.kind,
        "metadata": {
            "name": revision.name,
            "namespace": metadata["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "generation": 1,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{**owner, "uid": metadata["uid"], "controller": True}],
        },
        "spec": {
            "containerConcurrency": predictor.get("containerConcurrency", 0),
            "timeoutSeconds": predictor.get("timeout", 300),
            "containers": [_container(templates.model_format(predictor), model)],
        },
    }


def status(revision: Revision, scale: Scale, body: Json, now: str) -> Json:
    """Write what is known of a revision, as Knative would."""
    word = {True: "True", False: "False", None: "Unknown"}[revision.ready]
    why: dict[str, str] = {}
    if revision.ready is False:
        why = _failure(scale, body)
    elif revision.ready is None:
        why = {"reason": "Deploying", "message": "the model server is starting"}
    resources = {"status": "True"} if revision.ready else {"status": word, **why}
    if scale.capped:
        resources["message"] = scale.capped
    active = {"status": "True"} if scale.desired else {"status": "False", "reason": "NoTraffic"}
    listed = [
        {"type": "Ready", "status": word, **why},
        {"type": "ContainerHealthy", "status": word, **why},
        {"type": "ResourcesAvailable", **resources},
        {"type": "Active", **active, "severity": "Info"},
    ]
    return {
        "observedGeneration": 1,
        "conditions": dated(listed, body.get("status", {}).get("conditions", []), now),
        "actualReplicas": scale.ready,
        "desiredReplicas": scale.desired,
    }


def ready_condition(body: Json) -> Json:
    """Read a revision's condition Ready; empty: it has none yet."""
    found: Json = next((c for c in body.get("status", {}).get("conditions", []) if c["type"] == "Ready"), {})
    return found


def _failure(scale: Scale, body: Json) -> dict[str, str]:
    """Say why a revision failed: as its processes tell now, or as they told before they were stopped."""
    if scale.failed:
        return {"reason": scale.reason, "message": scale.message}
    before = ready_condition(body)
    if before.get("status") == "False":
        return {"reason": before["reason"], "message": before["message"]}
    late = "no replica became ready within the progress deadline; see the log of the model server"
    return {"reason": "ProgressDeadlineExceeded", "message": late}


def dated(listed: Sequence[Json], before: Sequence[Json], now: str) -> list[Json]:
    """Give each condition the time since when its status is what it is, in the order of their types."""
    since = {(c["type"], c["status"]): c["lastTransitionTime"] for c in before}
    with_time = ({**c, "lastTransitionTime": since.get((c["type"], c["status"]), now)} for c in listed)
    return sorted(with_time, key=lambda c: str(c["type"]))


def replicas(body: Json) -> int:
    """Read how many replicas a revision is to have; scaling to zero is for a later day."""
    return max(1, int(body["metadata"]["annotations"].get(MIN_SCALE, "1")))


def launch(body: Json, index: int, *, run_dir: Path, log_dir: Path) -> Launch:
    """Say how a replica of a revision is started."""
    metadata, container = body["metadata"], body["spec"]["containers"][0]
    name, model = metadata["name"], metadata["labels"][SERVICE]
    runtime, uri = container["image"].removeprefix("local/"), metadata["annotations"].get(templates.SOURCE_URI, "")
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    given = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}

    def command(directory: Path, socket: Path) -> list[str]:
        module = f"gitops_serving.local.runtimes.{runtime}"
        return [
            *(sys.executable, "-m", module),
            *("--model_name", model, "--model_dir", str(directory), "--uds", str(socket)),
            *container.get("args", []),
        ]

    return Launch(
        name=f"{metadata['namespace']}/{name}/{metadata['uid']}/{index}",
        model=model,
        locate=lambda: model_directory(uri),
        command=command,
        env={**inherited, **QUIET, "INFERENCE_SERVICE_NAME": model, **given},
        run_dir=run_dir,
        log=log_dir / metadata["namespace"] / name / f"{index}.log",
    )


def model_directory(uri: str) -> Path:
    """Find the directory of a model; raises SourceError with what is wrong with the address."""
    parts = urlsplit(uri)
    if not uri:
        raise SourceError("the model has no storageUri; give one, for instance file:///models/scorer")
    if parts.scheme not in {"", "file"} or parts.netloc:
        raise SourceError(f"storageUri {uri} is not on this machine; the local cluster reads file:///PATH only")
    path = Path(unquote(parts.path) if parts.scheme else uri)
    if not path.is_absolute():
        raise SourceError(f"storageUri {uri} is a relative path; give the whole path")
    if not path.exists():
        raise SourceError(f"storageUri {uri}: there is no {path}; create it or correct the address")
    if not path.is_dir():
        raise SourceError(f"storageUri {uri}: {path} is a file; give the directory that holds the model")
    return path


def _container(runtime: str, model: Json) -> Json:
    """Write the container of a revision."""
    container: dict[str, Any] = {"name": "kserve-container", "image": f"local/{runtime}"}
    return container | {key: model[key] for key in ("args", "env") if model.get(key)}
