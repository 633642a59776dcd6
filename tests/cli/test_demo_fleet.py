"""The demonstration's repository: what is in it, who wrote it, and a merge that is overtaken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_serving import shipped
from gitops_serving.adapters.git import GitRepository
from gitops_serving.cli import demo_fleet
from gitops_serving.cli.demo_fleet import Fleet, GitError, git
from gitops_serving.core.fleet import policy_of, read_fleet
from gitops_serving.core.model import Change, Policy, Rollout

MODELS = {"scorer": Path("/models/scorer-v1"), "ranker": Path("/models/ranker-v1")}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return demo_fleet.create(tmp_path, MODELS)


@pytest.fixture
def repository(fleet: Fleet, tmp_path: Path) -> GitRepository:
    return GitRepository(str(fleet.remote), "main", tmp_path / "cache")


def log(fleet: Fleet, form: str) -> list[str]:
    return git(fleet.remote, "log", "--topo-order", f"--format={form}", "main").splitlines()


def test_the_controller_reads_two_services_and_the_policy_of_each(repository: GitRepository) -> None:
    found = read_fleet(repository.fetch(), "demo", datetime(2026, 1, 1, tzinfo=UTC), shipped.packs())

    assert sorted(found.rollouts) == ["fraud/ranker", "fraud/scorer"]
    for rollout in found.rollouts.values():
        assert isinstance(rollout, Rollout)
        policy = policy_of(found, rollout)
        assert isinstance(policy, Policy)
        assert [step.weight for step in policy.steps] == [10, 25, 50]


def test_a_pull_request_changes_the_model_and_no_other_line(fleet: Fleet) -> None:
    branch = demo_fleet.propose(fleet, "scorer", Path("/models/scorer-v2"), "Serve gradient boosting")

    diff = git(fleet.remote, "show", "--format=", "--unified=0", branch).splitlines()
    assert [line for line in diff if line[:1] in "+-" and line[1:2] == " "] == [
        "-      storageUri: file:///models/scorer-v1",
        "+      storageUri: file:///models/scorer-v2",
    ]


def test_a_merge_is_a_merge_commit_of_a_person(fleet: Fleet) -> None:
    branch = demo_fleet.propose(fleet, "scorer", Path("/models/scorer-v2"), "Serve gradient boosting")

    commit = demo_fleet.merge(fleet, branch, 1, "Serve gradient boosting")

    name, parents, subject = git(fleet.remote, "show", "-s", "--format=%an%n%P%n%s", "main").splitlines()
    assert git(fleet.remote, "rev-parse", "main").strip() == commit
    assert (name, len(parents.split()), subject) == ("Ada Example", 2, f"Merge pull request #1 from {branch}")


def test_a_merge_keeps_what_the_controller_wrote_meanwhile(fleet: Fleet, repository: GitRepository) -> None:
    branch = demo_fleet.propose(fleet, "ranker", Path("/models/ranker-v2"), "Serve a table")
    change = Change(
        service="fraud/scorer",
        files={"rollouts/demo/fraud/scorer.yaml": b"kind: RolloutRecord\n"},
        message="rollout(fraud/scorer): adopt\n",
        author="gitops-serving <gitops-serving@demo.invalid>",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    repository.append(repository.fetch().commit, [change])

    demo_fleet.merge(fleet, branch, 1, "Serve a table")

    assert "rollout(fraud/scorer): adopt" in log(fleet, "%s")
    assert git(fleet.remote, "show", "main:rollouts/demo/fraud/scorer.yaml") == "kind: RolloutRecord\n"


def test_a_merge_that_is_overtaken_at_the_push_is_made_anew(fleet: Fleet, tmp_path: Path) -> None:
    branch = demo_fleet.propose(fleet, "scorer", Path("/models/scorer-v2"), "Serve gradient boosting")
    marker = tmp_path / "overtaken"
    hook = fleet.remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n[ -e {marker} ] && exit 0\ntouch {marker}\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)

    demo_fleet.merge(fleet, branch, 1, "Serve gradient boosting")

    assert marker.exists()
    assert log(fleet, "%s") == [
        f"Merge pull request #1 from {branch}",
        "Serve gradient boosting",
        "Serve the first models",
    ]


def test_a_persons_own_configuration_plays_no_part(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[user]\nname = Somebody\n[commit]\ngpgSign = true\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path))

    demo_fleet.propose(fleet, "scorer", Path("/models/scorer-v2"), "Serve gradient boosting")

    assert git(fleet.clone, "log", "--format=%an <%ae>", "-1").strip() == "Ada Example <ada@example.com>"


def test_what_git_says_is_part_of_the_error(fleet: Fleet) -> None:
    with pytest.raises(GitError, match=r"git checkout failed in .*nowhere"):
        git(fleet.clone, "checkout", "nowhere")
