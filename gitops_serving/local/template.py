"""From an InferenceService to the template of its revisions, and what the local cluster cannot run.

KServe copies nearly everything into the template, labels and annotations of the
InferenceService included; only the weight and the rollout duration stay out.  So
whatever else changes makes a new revision.  Pure: objects in, values out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving.local.validate import FRAMEWORKS

if TYPE_CHECKING:
    from gitops_serving.local.faults import Json

NOT_COPIED = frozenset(
    {
        "autoscaling.knative.dev/min-scale",
        "autoscaling.knative.dev/max-scale",
        "internal.serving.kserve.io/storage-initializer-sourceuri",
        "kubectl.kubernetes.io/last-applied-configuration",
        "modelFormat",
        "serving.knative.dev/rollout-duration",  # goes to the Knative service instead
        "networking.knative.dev/visibility",
    }
)
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
MODE = "serving.kserve.io/deploymentMode"
SOURCE_URI = "internal.serving.kserve.io/storage-initializer-sourceuri"
RUNTIMES = {"sklearn": "kserve-sklearnserver"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec makes no revision: a reason for machines, a message for people."""

    reason: str
    message: str
    invalid_spec: bool = True  # False: KServe takes the spec and Knative refuses it


def template(service: Json) -> Json:
    """Take what a revision is made of."""
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    own_labels, own_annotations = _copied(metadata.get("labels")), _copied(metadata.get("annotations"))
    return {
        "labels": {**own_labels, **(predictor.get("labels") or {})},
        "annotations": {**own_annotations, **(predictor.get("annotations") or {})},
        "predictor": {key: value for key, value in predictor.items() if key != "canaryTrafficPercent"},
    }


def digest(body: Json) -> str:
    """Name a template by its content."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def weight(service: Json) -> int | None:
    """Read the weight of the newest revision; None: there is none."""
    percent: int | None = service["spec"]["predictor"].get("canaryTrafficPercent")
    return percent


def tagged(service: Json) -> bool:
    """Tell whether the newest revision is to have an address of its own."""
    return bool((service["metadata"].get("annotations") or {}).get(TAG_ROUTING) == "true")


def model(predictor: Json) -> Json:
    """Find the model, in the new style or in the legacy one."""
    found: Json = next((predictor[name] for name in ("model", *FRAMEWORKS) if predictor.get(name)), {})
    return found


def model_format(predictor: Json) -> str:
    """Name the model's format; empty: there is no model."""
    if predictor.get("model"):
        return str(predictor["model"]["modelFormat"]["name"])
    return next((name for name in FRAMEWORKS if predictor.get(name) is not None), "")


def refusal(service: Json) -> Refusal | None:
    """Say why a spec cannot run here; None: it can."""
    spec = service["spec"]
    predictor = spec["predictor"]
    percent = weight(service)
    mode = (service["metadata"].get("annotations") or {}).get(MODE, "Knative")
    elsewhere = sorted(spec.keys() & {"transformer", "explainer", "canary"})
    if mode not in {"Knative", "Serverless"}:
        return Refusal("NotSupportedLocally", f"the local cluster runs deploymentMode Knative, not {mode}")
    if elsewhere:
        message = f"the local cluster runs predictors only; remove {', '.join(f'spec.{name}' for name in elsewhere)}"
        return Refusal("NotSupportedLocally", message)
    if percent is not None and not 0 <= percent <= 100:
        message = f"expected 0 <= {percent} <= 100: spec.traffic[0].percent (from canaryTrafficPercent)"
        return Refusal("ReconcileFailed", message, invalid_spec=False)
    return _runtime_refusal(predictor)


def _runtime_refusal(predictor: Json) -> Refusal | None:
    """Say why no runtime of the local cluster takes a predictor."""
    wanted = model_format(predictor)
    runtime = RUNTIMES.get(wanted)
    if runtime is None:
        shown = f"model format {wanted}" if wanted else "custom containers"
        message = f"no runtime found for {shown}; the local cluster has runtimes for {', '.join(sorted(RUNTIMES))}"
        return Refusal("NoSupportingRuntime", message)
    named = model(predictor).get("runtime", runtime)
    if named != runtime:
        return Refusal("RuntimeNotRecognized", f"there is no runtime {named}; leave it out or name {runtime}")
    return None


def _copied(entries: Any) -> dict[str, str]:
    """Take the labels or annotations that reach a revision."""
    return {key: value for key, value in (entries or {}).items() if key not in NOT_COPIED}
