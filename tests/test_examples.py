"""Every fleet that we show is one that the controller takes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid
from gitops_serving.core.fleet import environment_names, policy_of, read_fleet
from gitops_serving.core.model import Policy, Rollout
from gitops_serving.testing.repository import FakeRepository

ROOT = Path(__file__).parent.parent
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FLEETS = [ROOT, *sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())]


@pytest.mark.parametrize("fleet", FLEETS, ids=lambda path: path.name)
def test_a_fleet_that_we_show_is_valid(fleet: Path) -> None:
    files = {
        str(path.relative_to(fleet)): path.read_bytes()
        for folder in ("clusters", "policies")
        for path in (fleet / folder).rglob("*.yaml")
    }
    tree = FakeRepository(files, NOON).fetch()
    environments = environment_names(tree)

    assert environments
    for name in environments:
        found = read_fleet(tree, name, NOON, shipped.packs())
        assert not isinstance(found.environment, Invalid), str(found.environment)
        assert found.rollouts
        for rollout in found.rollouts.values():
            assert isinstance(rollout, Rollout), str(rollout)
            assert isinstance(policy_of(found, rollout), Policy)


def test_an_example_says_what_it_shows() -> None:
    assert [path for path in FLEETS[1:] if not (path / "README.md").is_file()] == []
