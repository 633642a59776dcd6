from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops_serving.core.errors import Invalid
from gitops_serving.core.fields import format_duration
from gitops_serving.core.measure import Metric
from gitops_serving.core.model import Policy, Step
from gitops_serving.core.policy import read_policy

PATH = "policies/standard.yaml"
STEPS = [{"setWeight": 10, "dwell": "5m"}]
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no mistake


def read(text: str) -> Policy:
    return read_policy(text.encode(), PATH)


def outcome(text: str) -> Policy | Invalid:
    try:
        return read(text)
    except Invalid as wrong:
        return wrong


def every(complaint: Invalid) -> list[Invalid]:
    return [complaint, *(further for other in complaint.others for further in every(other))]


# Garbage is written as JSON, all of which is YAML: the reader meets every shape, at the places where it looks.
WORDS = st.sampled_from(
    (
        *("apiVersion", "kind", "metadata", "name", "labels", "spec", "steps", "setWeight", "dwell", "analysis"),
        *("timing", "block", "metrics", "pack", "compare", "tolerance", "atLeast", "limit", "max", "5m", "1%"),
        *("query", "total", "unit", "direction", "min", "delay", "enforce", "drift", "{{ revision }}", "hold"),
    )
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
GARBAGE = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@quick
@given(st.dictionaries(WORDS | st.text(max_size=8), GARBAGE, max_size=6))
def test_any_mapping_is_refused_in_an_orderly_way(value: dict[str, Any]) -> None:
    complaint = outcome(json.dumps(value))
    assert isinstance(complaint, Invalid)
    assert all(each.path == PATH and each.code and each.remedy for each in every(complaint))


@quick
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("steps", "patience", "onSilence", "maxDuration", "analysis"), GARBAGE)
    )
)
def test_any_spec_under_the_right_head_is_a_policy_or_refused(spec: dict[str, Any]) -> None:
    head = {"apiVersion": "gitops-serving.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "a"}}
    found = outcome(json.dumps({**head, "spec": spec}))
    if isinstance(found, Invalid):
        assert all(each.path == PATH and each.line and each.remedy for each in every(found))
    else:
        assert found.steps
        assert found.metrics


METRIC_WORDS = ("name", "pack", "query", "total", "kind", "unit", "compare", "limit", "delay", "enforce")


@quick
@given(st.lists(st.dictionaries(st.sampled_from(METRIC_WORDS), GARBAGE | WORDS, max_size=6), min_size=1, max_size=3))
def test_any_metrics_are_refused_or_one_of_them_decides(metrics: list[dict[str, Any]]) -> None:
    head = {"apiVersion": "gitops-serving.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "a"}}
    found = outcome(json.dumps({**head, "spec": {"steps": STEPS, "analysis": {"metrics": metrics}}}))
    if isinstance(found, Invalid):
        assert all(each.path == PATH and each.line and each.remedy for each in every(found))
    else:
        assert any(m.enforced and {m.tolerance, m.maximum, m.minimum} != {None} for m in found.metrics)


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_an_orderly_way(source: bytes) -> None:
    with pytest.raises(Invalid):
        read_policy(source, PATH)


SPANS = st.integers(1, 600).map(lambda seconds: timedelta(seconds=seconds))
METRIC_PARTS = st.fixed_dictionaries(
    {"pack": st.sampled_from(["errors", "latency"]), "tolerance": st.integers(0, 1000)},
    optional={"at_least": st.integers(0, 1000), "maximum": st.integers(1, 1000)},
)


@quick
@given(
    weights=st.sets(st.integers(1, 99), min_size=1, max_size=8).map(sorted),
    dwell=SPANS,
    block=SPANS,
    patience=SPANS,
    requests=st.integers(1, 10_000),
    parts=st.lists(METRIC_PARTS, min_size=1, max_size=4),
)
def test_a_valid_policy_survives_being_read(
    *, weights: list[int], dwell: timedelta, block: timedelta, patience: timedelta, requests: int, parts: list[Any]
) -> None:
    metrics = [
        {
            "name": f"m{number}",
            "pack": f"knative/{part['pack']}",
            "compare": {"tolerance": f"{part['tolerance']}%", "atLeast": part.get("at_least", 0) / 1000},
            **({"limit": {"max": part["maximum"] / 1000}} if "maximum" in part else {}),
        }
        for number, part in enumerate(parts)
    ]
    document = {
        "apiVersion": "gitops-serving.dev/v1alpha1",
        "kind": "RolloutPolicy",
        "metadata": {"name": "made"},
        "spec": {
            "steps": [{"setWeight": weight, "dwell": format_duration(dwell)} for weight in weights],
            "patience": format_duration(patience),
            "onSilence": "hold",
            "analysis": {"minRequests": requests, "timing": {"block": format_duration(block)}, "metrics": metrics},
        },
    }
    policy = read(json.dumps(document))
    assert policy.steps == tuple(Step(weight, dwell) for weight in weights)
    assert (policy.patience, policy.min_requests, policy.timing.block) == (patience, requests, block)
    assert policy.metrics == tuple(
        Metric(
            name=f"m{number}",
            pack=f"knative/{part['pack']}",
            unit={"errors": "ratio", "latency": "seconds"}[part["pack"]],
            tolerance=part["tolerance"] / 100,
            at_least=part.get("at_least", 0) / 1000,
            maximum=part["maximum"] / 1000 if "maximum" in part else None,
        )
        for number, part in enumerate(parts)
    )
