"""The manifest of one service: which revision it is, and the two fields in it that are ours.

The only module that knows where a weight lives (`spec.predictor.canaryTrafficPercent`,
KServe's Knative mode) and where our label does.  A revision is the digest of what
starts a new Knative revision, without the owned fields: comments, order and our own
writing do not count.  The label is the only stamp that we leave on the object, since
KServe copies everything else into the revision template and would restart the model
at every step.

It knows nothing of files, records or clusters.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from .errors import Invalid
from .model import Owned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .yamltext import Document

LABEL = "gitops-serving.dev/revision"
API_VERSION, KIND = "serving.kserve.io/v1beta1", "InferenceService"
WEIGHT_POINTER = "/spec/predictor/canaryTrafficPercent"
LABELS_POINTER = "/spec/predictor/labels"
LABEL_POINTER = f"{LABELS_POINTER}/{LABEL.replace('/', '~1')}"
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")  # KServe's own rule
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
MOST_ENDLESS = 10  # are complained about; a guess, and a bound on what a hostile file can cost
SCALING = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric")
COPIED_ANNOTATIONS_NOT = (
    "kubectl.kubernetes.io/last-applied-configuration",  # written by kubectl, never copied by KServe
)


def is_inference_service(value: object) -> bool:
    """Tell whether a parsed document is ours to look at."""
    if not isinstance(value, Mapping):
        return False
    return value.get("kind") == KIND and str(value.get("apiVersion", "")).startswith("serving.kserve.io/")


def service_of(value: Mapping[str, Any]) -> str:
    """Name the service of a manifest as namespace/name, however wrong the rest of it is."""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return f"{metadata.get('namespace', 'default')}/{metadata.get('name', '?')}"


def check(document: Document) -> None:
    """Raise Invalid with every complaint that KServe, or we, would have about a manifest."""
    value = document.value
    complaints: list[Invalid] = []

    def complain(message: str, pointer: str, remedy: str, code: str = "manifest") -> None:
        complaints.append(Invalid(message, code=code, line=document.line(pointer), remedy=remedy))

    for pointer, number in islice(_endless(value), MOST_ENDLESS):
        complain(f"{number} is no number that JSON has", pointer, "write a finite number, or put it in quotes")
    if value.get("apiVersion") != API_VERSION:
        complain(f"apiVersion is {value.get('apiVersion')!r}", "/apiVersion", f"write {API_VERSION}")
    metadata, spec = value.get("metadata"), value.get("spec")
    if not isinstance(metadata, Mapping):
        complain("metadata is missing", "", "add metadata with a name and a namespace")
    else:
        _check_metadata(metadata, complain)
    if not isinstance(spec, Mapping) or not isinstance(spec.get("predictor"), Mapping):
        complain("spec.predictor is missing", "/spec", "add a predictor with a model")
    else:
        _check_spec(spec, complain)
    if complaints:
        first, *rest = complaints
        raise Invalid(first.message, code=first.code, line=first.line, remedy=first.remedy, others=tuple(rest))


def _endless(value: object, pointer: str = "") -> Iterator[tuple[str, float]]:
    """Find the numbers that YAML has and JSON has not: whatever the API server would make of them, it is not this."""
    if isinstance(value, float) and not math.isfinite(value):
        yield pointer, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _endless(each, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


def _check_metadata(metadata: Mapping[str, Any], complain: Any) -> None:
    """Check name, namespace, labels and annotations."""
    name, namespace = metadata.get("name"), metadata.get("namespace", "default")
    if not isinstance(name, str) or not NAME.match(name) or len(name) > 48:
        complain(
            f"metadata.name {name!r} is no name for an InferenceService",
            "/metadata/name",
            "use at most 48 lower-case letters, digits and dashes, a letter first",
        )
    if not isinstance(namespace, str) or not NAMESPACE.match(namespace):
        complain(
            f"metadata.namespace {namespace!r} is no namespace",
            "/metadata/namespace",
            "use lower-case letters, digits and dashes, in quotes if there are digits alone",
        )
    for field in ("labels", "annotations"):
        if not _texts(metadata.get(field)):
            complain(f"metadata.{field} is not a mapping of texts", f"/metadata/{field}", "quote its values")


def _check_spec(spec: Mapping[str, Any], complain: Any) -> None:
    """Check the predictor and the owned fields in it."""
    predictor = spec["predictor"]
    if not _texts(predictor.get("labels")):
        complain("spec.predictor.labels is not a mapping of texts", LABELS_POINTER, "quote its values")
    weight = predictor.get("canaryTrafficPercent")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100):
        complain(f"canaryTrafficPercent {weight!r} is not a whole number from 0 to 100", WEIGHT_POINTER, "remove it")
    if spec.get("canary") is not None:
        complain("spec.canary belongs to KServe's Standard mode", "/spec/canary", "remove it; the policy has the steps")
    for component in ("transformer", "explainer"):
        part = spec.get(component)
        if isinstance(part, Mapping) and part.get("canaryTrafficPercent") is not None:
            complain(
                f"spec.{component} has a weight of its own", f"/spec/{component}", "remove it; one component at a time"
            )


def _texts(value: object) -> bool:
    """Tell whether a value is a mapping of texts; nothing at all is one too, as for Kubernetes."""
    return value is None or (
        isinstance(value, Mapping) and all(isinstance(each, str) for each in (*value, *value.values()))
    )


def owned_of(value: Mapping[str, Any]) -> Owned:
    """Read the owned fields of a checked manifest."""
    predictor = value["spec"]["predictor"]
    return Owned(predictor.get("canaryTrafficPercent"), (predictor.get("labels") or {}).get(LABEL))


def bare(value: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a manifest without its owned fields."""
    predictor = {k: v for k, v in value["spec"]["predictor"].items() if k not in ("canaryTrafficPercent", "labels")}
    labels = {k: v for k, v in (value["spec"]["predictor"].get("labels") or {}).items() if k != LABEL}
    if labels:
        predictor["labels"] = labels
    return {**value, "spec": {**value["spec"], "predictor": predictor}}


def with_owned(value: Mapping[str, Any], owned: Owned) -> dict[str, Any]:
    """Copy a manifest with these owned fields and no others."""
    document = bare(value)
    predictor = document["spec"]["predictor"]
    if owned.label is not None:
        predictor["labels"] = {**predictor.get("labels", {}), LABEL: owned.label}
    if owned.weight is not None:
        predictor["canaryTrafficPercent"] = owned.weight
    return document


def revision_of(value: Mapping[str, Any]) -> str:
    """Digest what a manifest asks for: 12 hex digits over its spec, labels and annotations without owned fields."""
    metadata = value.get("metadata") or {}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in COPIED_ANNOTATIONS_NOT}
    asked = [bare(value)["spec"], metadata.get("labels") or {}, annotations]
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def only_scaling_differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether nothing but the predictor's replicas and scaling target changed."""

    def without(value: Mapping[str, Any]) -> dict[str, Any]:
        document = bare(value)
        predictor = {k: v for k, v in document["spec"]["predictor"].items() if k not in SCALING}
        return {**document, "spec": {**document["spec"], "predictor": predictor}}

    return old != new and revision_of(without(old)) == revision_of(without(new))


def other_component_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Name the component beside the predictor that differs; weights exist for the predictor alone."""
    for component in ("transformer", "explainer"):
        if old["spec"].get(component) != new["spec"].get(component):
            return component
    return None


def edits(value: Mapping[str, Any], owned: Owned) -> list[dict[str, Any]]:
    """Write the JSON Patch that gives a manifest these owned fields and changes nothing else."""
    present, predictor = owned_of(value), value["spec"]["predictor"]
    patch: list[dict[str, Any]] = []
    if owned.label is None and present.label is not None:
        only = len(predictor["labels"]) == 1
        patch.append({"op": "remove", "path": LABELS_POINTER if only else LABEL_POINTER})
    elif owned.label is not None and owned.label != present.label:
        if predictor.get("labels") is not None:
            patch.append({"op": "add", "path": LABEL_POINTER, "value": owned.label})
        else:
            patch.append({"op": "add", "path": LABELS_POINTER, "value": {LABEL: owned.label}})
    if owned.weight is None and "canaryTrafficPercent" in predictor:
        patch.append({"op": "remove", "path": WEIGHT_POINTER})
    elif owned.weight is not None and owned.weight != present.weight:
        patch.append({"op": "add", "path": WEIGHT_POINTER, "value": owned.weight})
    return patch
