"""What makes an object unacceptable to the API, before any rule of rollouts.

Only what KServe's schema and webhook refuse is refused here, with every
complaint at once.  What KServe accepts and then fails on (a weight of 120, a
model format without a runtime) is accepted here too and ends in a condition:
``template.refusal``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gitops_serving.local.faults import Cause, Json, invalid
from gitops_serving.local.kinds import INFERENCE_SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gitops_serving.local.kinds import Kind

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LONGEST_NAME = 46  # latest-{name}-predictor has to be a host name of 63 characters

FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)


def check(kind: Kind, body: Json) -> None:
    """Raise ApiError (422) with everything that is wrong with an object."""
    causes = [*_metadata(kind, body["metadata"])]
    if kind is INFERENCE_SERVICE:
        causes += _service(body.get("spec"))
    if causes:
        raise invalid(kind, str(body["metadata"].get("name", "")), causes)


def _metadata(kind: Kind, metadata: Json) -> Iterator[Cause]:
    """Look at name, namespace, labels and annotations."""
    name = metadata.get("name")
    pattern, longest = (NAME, LONGEST_NAME) if kind is INFERENCE_SERVICE else (DNS_LABEL, 63)
    if not isinstance(name, str) or not name:
        yield Cause("metadata.name", "Required value: name is required", "FieldValueRequired")
    elif not pattern.fullmatch(name) or len(name) > longest:
        yield Cause(
            "metadata.name",
            f"Invalid value: {name!r}: must match {pattern.pattern} and have at most {longest} characters",
        )
    namespace = metadata.get("namespace", "")
    if kind.namespaced and (not DNS_LABEL.fullmatch(namespace) or len(namespace) > 63):
        yield Cause("metadata.namespace", f"Invalid value: {namespace!r}: must match {DNS_LABEL.pattern}")
    for part in ("finalizers", "ownerReferences"):
        if metadata.get(part):
            yield Cause(f"metadata.{part}", "Forbidden: not kept locally; leave it out", "FieldValueForbidden")
    yield from _strings("metadata.labels", metadata.get("labels"), VALUE)
    yield from _strings("metadata.annotations", metadata.get("annotations"), None)


def _strings(field: str, entries: Any, pattern: re.Pattern[str] | None) -> Iterator[Cause]:
    """Look at a map of strings."""
    if entries is None:
        return
    if not isinstance(entries, dict):
        yield _wrong_type(field, "object", entries)
        return
    for key, value in entries.items():
        if not KEY.fullmatch(key):
            yield Cause(field, f"Invalid value: {key!r}: not a qualified name")
        if not isinstance(value, str):
            yield _wrong_type(f"{field}.{key}", "string", value)
        elif pattern is not None and not pattern.fullmatch(value):
            yield Cause(f"{field}.{key}", f"Invalid value: {value!r}: must match {pattern.pattern}")


def _service(spec: Any) -> Iterator[Cause]:
    """Look at an InferenceService's spec."""
    if not isinstance(spec, dict):
        yield _wrong_type("spec", "object", spec)
        return
    predictor = spec.get("predictor")
    if not isinstance(predictor, dict):
        yield Cause("spec.predictor", "Required value: predictor is required", "FieldValueRequired")
        return
    yield from _predictor(predictor)


def _predictor(predictor: Json) -> Iterator[Cause]:
    """Look at a predictor: one implementation, and types that the controller relies on."""
    field = "spec.predictor"
    given = [name for name in ("model", *FRAMEWORKS, "containers") if predictor.get(name) is not None]
    if len(given) != 1:
        found = f"found {' and '.join(given)}" if given else "found none"
        yield Cause(field, f"Invalid value: exactly one of model, a framework or containers must be given; {found}")
    for name in given:
        expected: type = list if name == "containers" else dict
        if not isinstance(predictor[name], expected):
            yield _wrong_type(f"{field}.{name}", "array" if expected is list else "object", predictor[name])
        elif expected is dict:
            yield from _model(f"{field}.{name}", predictor[name], formatted=name == "model")
    for name in ("canaryTrafficPercent", "minReplicas", "maxReplicas", "containerConcurrency", "timeout"):
        yield from _integer(f"{field}.{name}", predictor.get(name), least=None if name.startswith("canary") else 0)
    yield from _range(predictor)
    yield from _strings(f"{field}.labels", predictor.get("labels"), VALUE)
    yield from _strings(f"{field}.annotations", predictor.get("annotations"), None)


def _model(field: str, model: Json, *, formatted: bool) -> Iterator[Cause]:
    """Look at a model: its format, its place and its environment."""
    chosen = model.get("modelFormat")
    if formatted and not (isinstance(chosen, dict) and isinstance(chosen.get("name"), str)):
        yield Cause(f"{field}.modelFormat.name", "Required value: name is required", "FieldValueRequired")
    uri = model.get("storageUri")
    if uri is not None and not isinstance(uri, str):
        yield _wrong_type(f"{field}.storageUri", "string", uri)
    if "name" in model:
        yield Cause(f"{field}.name", "Forbidden: the container's name is not yours to set", "FieldValueForbidden")
    env = model.get("env")
    if env is None:
        return
    if not isinstance(env, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in env):
        yield Cause(f"{field}.env", "Invalid value: must be a list of name and value")
        return
    for entry in env:
        if entry["name"] == "PYTHONPATH":
            yield Cause(f"{field}.env", "Forbidden: PYTHONPATH may not be set", "FieldValueForbidden")
        if not isinstance(entry.get("value", ""), str):
            yield _wrong_type(f"{field}.env[{entry['name']}].value", "string", entry["value"])


def _range(predictor: Json) -> Iterator[Cause]:
    """Look at the two ends of the scale; a greatest number of 0 means no limit."""
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas") or 0
    if isinstance(least, int) and isinstance(most, int) and most and least > most:
        yield Cause("spec.predictor", "Invalid value: minReplicas cannot be greater than maxReplicas")


def _integer(field: str, value: Any, *, least: int | None) -> Iterator[Cause]:
    """Look at a whole number that may be missing."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        yield _wrong_type(field, "integer", value)
    elif least is not None and value < least:
        yield Cause(field, f"Invalid value: {value}: must be at least {least}")


def _wrong_type(field: str, expected: str, value: Any) -> Cause:
    """Say that a value has another type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    found = names.get(type(value), "null")
    return Cause(field, f'Invalid value: "{found}": must be of type {expected}', "FieldValueTypeInvalid")
