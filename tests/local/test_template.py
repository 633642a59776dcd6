from __future__ import annotations

from typing import Any

import pytest

from gitops_serving.local.template import digest, refusal, template
from tests.local.objects import Json, labelled, service


def annotated(key: str, value: str) -> Json:
    body = service()
    body["metadata"]["annotations"] = {key: value}
    return body


def same(one: Json, other: Json) -> bool:
    return digest(template(one)) == digest(template(other))


@pytest.mark.parametrize("percent", [0, 10, 100])
def test_a_weight_makes_no_new_revision(percent: int) -> None:
    assert same(service(), service(canaryTrafficPercent=percent))


@pytest.mark.parametrize(
    "key",
    [
        "kubectl.kubernetes.io/last-applied-configuration",
        "autoscaling.knative.dev/min-scale",
        "serving.knative.dev/rollout-duration",
        "internal.serving.kserve.io/storage-initializer-sourceuri",
        "modelFormat",
    ],
)
def test_annotations_that_kserve_does_not_copy_make_no_new_revision(key: str) -> None:
    assert same(service(), annotated(key, "x"))


@pytest.mark.parametrize(
    "other",
    [
        labelled(service(), commit="abc"),
        annotated("commit", "abc"),
        annotated("serving.kserve.io/enable-tag-routing", "true"),
        service(labels={"gitops-serving.dev/revision": "abc.1"}),
        service(annotations={"a": "b"}),
        service(minReplicas=2),
        service(timeout=30),
        service(model={"modelFormat": {"name": "sklearn"}, "storageUri": "file:///models/v2"}),
    ],
)
def test_anything_else_makes_a_new_revision(other: Json) -> None:
    assert not same(service(), other)


def test_the_predictors_labels_win_over_the_services() -> None:
    body = template(labelled(service(labels={"team": "fraud"}), team="risk", tier="gold"))
    assert body["labels"] == {"team": "fraud", "tier": "gold"}


@pytest.mark.parametrize(
    "runnable",
    [
        service(),
        service(model=None, sklearn={"storageUri": "file:///m"}),
        service(canaryTrafficPercent=100),
        service(model={"modelFormat": {"name": "sklearn"}, "runtime": "kserve-sklearnserver"}),
        annotated("serving.kserve.io/deploymentMode", "Serverless"),
    ],
)
def test_an_sklearn_model_runs(runnable: Json) -> None:
    assert refusal(runnable) is None


@pytest.mark.parametrize(
    ("predictor", "reason", "said"),
    [
        ({"model": {"modelFormat": {"name": "onnx"}}}, "NoSupportingRuntime", "model format onnx"),
        ({"model": None, "xgboost": {}}, "NoSupportingRuntime", "model format xgboost"),
        ({"model": None, "containers": [{}]}, "NoSupportingRuntime", "custom containers"),
        ({"model": {"modelFormat": {"name": "sklearn"}, "runtime": "mine"}}, "RuntimeNotRecognized", "mine"),
        ({"canaryTrafficPercent": 120}, "ReconcileFailed", "expected 0 <= 120 <= 100"),
        ({"canaryTrafficPercent": -1}, "ReconcileFailed", "expected 0 <= -1 <= 100"),
    ],
)
def test_what_cannot_run_is_told_with_its_reason(predictor: dict[str, Any], reason: str, said: str) -> None:
    found = refusal(service(**predictor))
    assert found is not None
    assert found.reason == reason
    assert said in found.message


def test_transformers_and_other_modes_are_told_to_be_missing_here() -> None:
    with_transformer = service()
    with_transformer["spec"]["transformer"] = {"containers": []}
    standard = annotated("serving.kserve.io/deploymentMode", "Standard")
    told = [refusal(with_transformer), refusal(standard)]
    assert [found.reason if found else "" for found in told] == ["NotSupportedLocally"] * 2
