from __future__ import annotations

import pytest

from gitops_serving.local.faults import ApiError
from gitops_serving.local.selectors import selected
from tests.local.objects import labelled, service

BODY = labelled(service(), team="risk", tier="gold")


@pytest.mark.parametrize(
    ("labels", "matches"),
    [
        ("", True),
        ("team=risk", True),
        ("team==risk", True),
        ("team=risk,tier=gold", True),
        ("team=risk, tier=silver", False),
        ("team!=risk", False),
        ("owner!=me", True),
        ("team", True),
        ("owner", False),
        ("!owner", True),
        ("!team", False),
        ("tier in (gold, silver)", True),
        ("tier notin (gold)", False),
        ("owner notin (gold)", True),
        ("tier in (gold),team=fraud", False),
        ("serving.knative.dev/service=x", False),
    ],
)
def test_a_label_selector_means_what_kubectl_means(labels: str, matches: bool) -> None:
    assert selected(labels, "")(BODY) is matches


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ("metadata.name=scorer", True),
        ("metadata.name=other", False),
        ("metadata.name!=other", True),
        ("metadata.namespace==fraud,metadata.name=scorer", True),
    ],
)
def test_a_field_selector_knows_name_and_namespace(fields: str, matches: bool) -> None:
    assert selected("", fields)(BODY) is matches


@pytest.mark.parametrize(("labels", "fields"), [("a=b=c", ""), ("in (", ""), ("", "status.url=x"), ("", "name")])
def test_a_selector_that_is_not_understood_is_refused(labels: str, fields: str) -> None:
    with pytest.raises(ApiError) as caught:
        selected(labels, fields)
    assert caught.value.code == 400
