from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gitops_serving.local.kinds import INFERENCE_SERVICE
from gitops_serving.local.tables import age, table
from tests.local.objects import NOW, Json, service

AT = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)


def live() -> Json:
    body = service()
    body["metadata"]["creationTimestamp"] = NOW
    traffic = [
        {"revisionName": "scorer-predictor-00002", "percent": 0, "latestRevision": True},
        {"revisionName": "scorer-predictor-00001", "percent": 100, "latestRevision": False, "tag": "prev"},
    ]
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"url": "http://here", "conditions": conditions, "components": {"predictor": {"traffic": traffic}}}
    return {**body, "status": status}


def test_the_columns_are_kserves() -> None:
    printed = table(INFERENCE_SERVICE, [live()], version="7", now=AT)
    shown = dict(zip([c["name"] for c in printed["columnDefinitions"]], printed["rows"][0]["cells"], strict=True))
    assert shown == {
        "Name": "scorer",
        "URL": "http://here",
        "Ready": "True",
        "Prev": 100,
        "Latest": 0,
        "PrevRolledoutRevision": "scorer-predictor-00001",
        "LatestReadyRevision": "scorer-predictor-00002",
        "Age": "5m",
    }


def test_what_is_not_known_yet_is_an_empty_cell() -> None:
    body = live()
    del body["status"]
    assert table(INFERENCE_SERVICE, [body], version="7", now=AT)["rows"][0]["cells"][1:7] == [None] * 6


def test_a_row_carries_what_was_asked_for() -> None:
    def row(include: str) -> Json:
        first: Json = table(INFERENCE_SERVICE, [live()], version="7", now=AT, include=include)["rows"][0]
        return first

    assert row("Metadata")["object"]["kind"] == "PartialObjectMetadata"
    assert row("Object")["object"] == live()
    assert "object" not in row("None")


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        ("2026-11-22T09:59:00Z", "0s"),
        ("2026-11-22T10:01:59Z", "119s"),
        ("2026-11-22T10:02:00Z", "2m"),
        ("2026-11-22T10:02:05Z", "2m5s"),
        ("2026-11-22T10:59:59Z", "59m"),
        ("2026-11-22T13:00:00Z", "3h"),
        ("2026-11-22T13:20:00Z", "3h20m"),
        ("2026-11-23T20:20:00Z", "34h"),
        ("2026-11-25T12:20:00Z", "3d2h"),
        ("2026-12-22T12:20:00Z", "30d"),
        ("2029-12-22T12:20:00Z", "3y"),
    ],
)
def test_an_age_is_told_as_kubectl_tells_it(now: str, shown: str) -> None:
    assert age(NOW, datetime.fromisoformat(now)) == shown
