from __future__ import annotations

from typing import Any

import pytest

from gitops_serving.local.faults import ApiError
from gitops_serving.local.kinds import INFERENCE_SERVICE
from gitops_serving.local.validate import check
from tests.local.objects import service

SKLEARN = {"modelFormat": {"name": "sklearn"}}


@pytest.mark.parametrize(
    "predictor",
    [
        {},
        {"canaryTrafficPercent": 0},
        {"canaryTrafficPercent": 120},  # KServe takes it; Knative refuses it later
        {"minReplicas": 0, "maxReplicas": 0},
        {"minReplicas": 2, "maxReplicas": 2},
        {"model": None, "sklearn": {"storageUri": "file:///m"}},
        {"model": None, "containers": [{"image": "x"}]},
        {"model": {"modelFormat": {"name": "onnx"}}},
        {"model": {**SKLEARN, "env": [{"name": "A", "value": "b"}]}},
        {"labels": {"gitops-serving.dev/revision": "abc.1"}},
        {"anything": {"else": 1}},
    ],
)
def test_what_kserve_takes_is_taken(predictor: dict[str, Any]) -> None:
    check(INFERENCE_SERVICE, service(**predictor))


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        ({"model": None}, "found none"),
        ({"sklearn": {}}, "found model and sklearn"),
        ({"model": {}}, "modelFormat.name"),
        ({"model": []}, 'model: Invalid value: "array": must be of type object'),
        ({"model": {**SKLEARN, "storageUri": 1}}, "storageUri"),
        ({"model": {**SKLEARN, "name": "x"}}, "spec.predictor.model.name"),
        ({"model": {**SKLEARN, "env": {"A": "b"}}}, "must be a list"),
        ({"model": {**SKLEARN, "env": [{"name": "A", "value": 1}]}}, "env[A].value"),
        ({"model": {**SKLEARN, "env": [{"name": "PYTHONPATH", "value": "x"}]}}, "PYTHONPATH"),
        ({"canaryTrafficPercent": "10"}, 'canaryTrafficPercent: Invalid value: "string": must be of type integer'),
        ({"canaryTrafficPercent": 10.5}, "must be of type integer"),
        ({"canaryTrafficPercent": True}, "must be of type integer"),
        ({"minReplicas": -1}, "must be at least 0"),
        ({"minReplicas": 3, "maxReplicas": 2}, "greater than maxReplicas"),
        ({"maxReplicas": 0, "containerConcurrency": -1}, "containerConcurrency"),
        ({"labels": {"a": 1}}, "spec.predictor.labels.a"),
        ({"labels": {"a": "not a value"}}, "must match"),
        ({"labels": {"a b": "c"}}, "not a qualified name"),
        ({"annotations": ["a"]}, "must be of type object"),
    ],
)
def test_what_kserve_refuses_is_refused_with_its_place(predictor: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError) as caught:
        check(INFERENCE_SERVICE, service(**predictor))
    assert caught.value.code == 422
    assert said in caught.value.message


@pytest.mark.parametrize("name", ["Scorer", "1scorer", "scorer-", "sco_rer", "", "s" * 47])
def test_a_name_that_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name"):
        check(INFERENCE_SERVICE, service(name))


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(ApiError) as caught:
        check(INFERENCE_SERVICE, service("Scorer", minReplicas=-1, canaryTrafficPercent="x"))
    assert len(caught.value.details["causes"]) == 3
