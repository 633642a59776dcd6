from __future__ import annotations

import pytest

from gitops_serving.cli.names import find
from gitops_serving.core.errors import Invalid
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.repository import FakeRepository
from tests.cli.fleet import environment

NOW = ManualClock()()
FILES = {
    **environment("prod", "fraud/scorer", "search/scorer", "search/ranker"),
    **environment("test", "fraud/scorer", "fraud/judge"),
}
TREE = FakeRepository(FILES, at=NOW).head


def wrong(name: str, *environments: str) -> str:
    with pytest.raises(Invalid) as raised:
        find(name, TREE, environments, NOW)
    return str(raised.value)


def test_a_whole_name_and_a_unique_bare_name_are_found() -> None:
    assert find("search/scorer", TREE, ["prod"], NOW) == ("prod", "search/scorer")
    assert find("ranker", TREE, ["prod"], NOW) == ("prod", "search/ranker")
    assert find("judge", TREE, ["prod", "test"], NOW) == ("test", "fraud/judge")


def test_a_name_of_several_services_is_answered_with_all_of_them() -> None:
    assert wrong("scorer", "prod") == (
        "several services are called scorer: fraud/scorer, search/scorer; say which one: write namespace/name"
    )


def test_a_service_in_several_environments_needs_its_environment() -> None:
    assert wrong("fraud/scorer", "prod", "test") == (
        "several services are called fraud/scorer: fraud/scorer in prod, fraud/scorer in test; "
        "say which one: write namespace/name, and its environment with --env"
    )


def test_a_slip_is_answered_with_the_nearest_name() -> None:
    assert wrong("rankr", "prod") == "there is no service rankr; did you mean search/ranker?"
    assert wrong("frod/scorer", "test") == "there is no service frod/scorer; did you mean fraud/scorer?"


def test_a_name_like_no_other_is_answered_with_what_there_is() -> None:
    assert wrong("zzz", "test") == "there is no service zzz; there are: fraud/judge, fraud/scorer"
    assert wrong("zzz") == "there is no service zzz; there is none at all"
