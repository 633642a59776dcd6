"""Whatever somebody does to a record, it is that service's trouble alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gitops_serving.cli import listing
from gitops_serving.cli.story import story
from gitops_serving.controller import requests
from gitops_serving.controller.requests import Word
from gitops_serving.controller.tick import look
from gitops_serving.core.explain import next_change
from gitops_serving.core.model import Request

from .stage import ANN, Stage, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = "rollouts/demo/fraud/scorer.yaml"
GONE = object()
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 5, 101, 10**30, 99_999_999_999_999_999, 1.5, float("inf"), float("nan")),
    *("", "x", "5", "é", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01"),
    *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9899-12-31T23:59:59Z"),
    *([], {}, [[1]], [{"revision": [1]}], {"a": 1}, ["a"], GONE),
)
Path = tuple[str | int, ...]


@pytest.fixture(scope="module")
def stage() -> Stage:
    """A scorer whose record holds everything that a record can hold, beside a service that is well."""
    found = Stage(names=("scorer", "other"))
    found.adopt()
    found.push("bad")
    for _ in range(60):
        found.tick()
        found.pass_by(10)
    found.push("two")
    for _ in range(3):
        found.tick()
        found.pass_by(10)
    word = Word(environment="demo", service="fraud/scorer", by=ANN, at=found.clock(), reason="on call")
    later = word.at.replace(year=2027)
    requests.commit(found.repository, lambda tree: requests.hold(word, tree, later))
    requests.commit(found.repository, lambda tree: requests.ask(word, tree, Request.ABORT))
    found.pass_by(10)
    return found


def places(value: object, here: Path = ()) -> Iterator[Path]:
    """List every place in a document."""
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    keys = list(range(len(value))) if isinstance(value, list) else keys
    for key in keys:
        yield (*here, key)
        yield from places(value[key], (*here, key))  # type: ignore[index]  # it has keys


def damaged(whole: Any, place: Path, value: object) -> bytes:
    """Write a document with another value at a place."""
    inner = changed = copy.deepcopy(whole)
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True).encode()


def test_no_damage_to_a_record_reaches_another_service(stage: Stage) -> None:
    """`stable: {}`, `admissions: .inf`, `rejected: [{revision: [1]}]`: a typo in one record stopped every service."""
    whole = yaml.safe_load(stage.repository.head.read(RECORD) or b"")
    assert {"stable", "previous", "canary", "hold", "asked", "rejected", "last"} - whole.keys() <= {"previous"}
    unread = 0
    for place in places(whole):
        for value in VALUES:
            stage.repository.push({RECORD: damaged(whole, place, value)})
            snapshot = look(stage.desk, stage.repository.fetch(), stage.clock())
            other, scorer = seen(snapshot, "fraud/other"), seen(snapshot)
            assert other.situation is not None
            assert (other.error, other.invalid) == ("", None), (place, value)
            assert scorer.error == "", (place, value)
            if scorer.situation is None:
                unread += 1
                assert scorer.invalid is not None
                assert (scorer.invalid.code, scorer.invalid.path) == ("record", RECORD), (place, value)
            else:
                next_change(scorer.situation)
            listing.item(scorer, snapshot)
            story(scorer, snapshot)
    assert unread > 500
