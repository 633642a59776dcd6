"""One suite for everything that claims to be a ``Repository``: reading, writing, history.

A case runs on the fake, a folder and a served repository unless its parametrisation names fewer: the fake has no
links and no passwords, and a folder of this machine is never down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2
import pytest

from gitops_serving.adapters.git import GitRepository, changed_paths
from gitops_serving.core.errors import Conflict, Refused
from gitops_serving.testing.repository import FakeRepository

from .git_servers import bare_repository, instant

if TYPE_CHECKING:
    from pathlib import Path

    from gitops_serving.ports import Repository

from .benches import CONTROLLER, FILES, RANKER, REAL, RECORD, SCORER, Bench, FakeBench, GitBench, change


def test_a_fetch_shows_the_head_and_its_files(bench: Bench) -> None:
    tree = bench.repository.fetch()
    assert tree.commit == bench.head()
    assert tree.paths() == tuple(sorted(FILES))
    assert tree.paths("clusters/demo") == (SCORER, RANKER)
    assert tree.paths("clusters/demo/") == (SCORER, RANKER)
    assert tree.paths("clusters/dem") == tree.paths("README.md") == tree.paths("nowhere") == ()


def test_files_are_read_byte_for_byte(bench: Bench) -> None:
    tree = bench.repository.fetch()
    assert tree.read(SCORER) == FILES[SCORER]
    for path in ("clusters", "clusters/demo/fraud", "nowhere", "", f"{SCORER}/x", "../README.md", "/README.md"):
        assert tree.read(path) is None
        assert tree.blob(path) is None


def test_a_blob_id_is_the_one_git_gives(bench: Bench) -> None:
    assert bench.repository.fetch().blob(SCORER) == str(pygit2.hash(FILES[SCORER]))


def test_a_tree_never_changes(bench: Bench) -> None:
    tree = bench.repository.fetch()
    bench.push({SCORER: b"newer", RANKER: None, "new.yaml": b"new"})
    newer = bench.repository.fetch()
    assert tree.read(SCORER) == FILES[SCORER]
    assert tree.paths() == tuple(sorted(FILES))
    assert newer.read(SCORER) == b"newer"
    assert newer.paths() == ("README.md", SCORER, "new.yaml")
    assert changed_paths(tree, newer) == (SCORER, RANKER, "new.yaml")


def test_a_fetch_of_an_unmoved_branch_gives_the_same_tree(bench: Bench) -> None:
    assert bench.repository.fetch() is bench.repository.fetch()


def test_a_change_becomes_one_commit_with_its_message_author_and_time(bench: Bench) -> None:
    tree = bench.repository.fetch()
    appended = bench.repository.append(tree.commit, [change({SCORER: b"spec: new", RECORD: b"record"})])
    assert appended.commit == bench.head()
    assert appended.read(RECORD) == b"record"
    newest = next(bench.repository.history(RECORD))
    assert newest.id == appended.commit
    assert (newest.author, newest.at) == (CONTROLLER, instant(1))
    assert newest.message == "fraud/scorer: shift to 5 %\n\nbecause"
    assert bench.repository.fetch().commit == appended.commit


def test_a_change_touches_no_other_byte(bench: Bench) -> None:
    tree = bench.repository.fetch()
    appended = bench.repository.append(tree.commit, [change({SCORER: b"spec: new\r\n\xff\xfe"})])
    assert bench.read(SCORER) == b"spec: new\r\n\xff\xfe"
    assert changed_paths(tree, appended) == (SCORER,)
    assert {path: bench.read(path) for path in (RANKER, "README.md")} == {p: FILES[p] for p in (RANKER, "README.md")}


def test_many_changes_are_one_push_of_one_commit_each(bench: Bench) -> None:
    tree = bench.repository.fetch()
    changes = [change({f"rollouts/demo/a/s{n}.yaml": b"%d" % n}, message=f"a/s{n}: adopt", second=n) for n in range(3)]
    appended = bench.repository.append(tree.commit, changes)
    assert bench.subjects() == ["a/s2: adopt", "a/s1: adopt", "a/s0: adopt", "first commit"]
    assert bench.pushes() == 1
    assert appended.paths("rollouts") == tuple(f"rollouts/demo/a/s{n}.yaml" for n in range(3))


def test_no_changes_are_no_push(bench: Bench) -> None:
    tree = bench.repository.fetch()
    assert bench.repository.append(tree.commit, []).commit == tree.commit
    assert bench.pushes() == 0
    bench.push({SCORER: b"newer"})
    with pytest.raises(Conflict):
        bench.repository.append(tree.commit, [])


def test_equal_decisions_make_equal_commit_ids(bench: Bench, tmp_path: Path) -> None:
    tree = bench.repository.fetch()
    first = bench.repository.append(tree.commit, [change({RECORD: b"record"})])
    if isinstance(bench, FakeBench):
        other: Repository = FakeRepository(FILES, instant(0))
    else:
        assert isinstance(bench, GitBench)
        other = GitRepository(str(bare_repository(tmp_path / "other.git", FILES).path), "main", tmp_path / "cache")
    assert other.fetch().commit == tree.commit
    assert other.append(tree.commit, [change({RECORD: b"record"})]).commit == first.commit
    later = other.append(first.commit, [change({RECORD: b"record 2"}, second=2)])
    assert bench.repository.append(first.commit, [change({RECORD: b"record 2"}, second=3)]).commit != later.commit
    if isinstance(other, GitRepository):
        other.close()


@pytest.mark.parametrize("path", ["a//b", "../x", "a/./b", "/a", ".git/config", "a/", ""])
def test_a_path_that_is_not_safe_is_never_written(bench: Bench, path: str) -> None:
    tree = bench.repository.fetch()
    with pytest.raises(Refused):
        bench.repository.append(tree.commit, [change({RECORD: b"mine"}), change({path: b"mine"})])
    assert bench.head() == tree.commit


def test_history_lists_the_commits_of_one_file_newest_first(bench: Bench) -> None:
    bench.push({RANKER: b"other file"})
    bench.push({SCORER: b"by a person"})
    tree = bench.repository.fetch()
    mine = bench.repository.append(
        tree.commit, [change({SCORER: b"mine"}), change({RANKER: b"mine too"}, message="no")]
    )
    bench.push({SCORER: None})
    bench.repository.fetch()
    listed = list(bench.repository.history(SCORER))
    messages = ["a person's commit", "fraud/scorer: shift to 5 %\n\nbecause", "a person's commit", "first commit"]
    assert [commit.message for commit in listed] == messages
    assert listed[0].author == "Ann Example <ann@example.invalid>"
    assert mine.commit not in {commit.id for commit in listed}
    assert list(bench.repository.history("nowhere")) == []


def test_content_is_read_by_its_id_even_where_no_file_has_it_any_more(bench: Bench) -> None:
    blob = bench.repository.fetch().blob(SCORER)
    assert blob is not None
    bench.push({SCORER: b"newer"})
    tree = bench.repository.fetch()
    assert bench.repository.content(blob) == FILES[SCORER]
    for other in ("0" * 40, tree.commit, blob[:10], "", "no id"):
        assert bench.repository.content(other) is None


def test_a_file_larger_than_a_manifest_may_be_is_not_read(bench: Bench) -> None:
    bench.push({"big.yaml": b"x" * (1024 * 1024 + 1), "fits.yaml": b"x" * 1024 * 1024})
    tree = bench.repository.fetch()
    blob = tree.blob("big.yaml")
    assert blob is not None
    assert tree.read("big.yaml") is None
    assert bench.repository.content(blob) is None
    assert tree.read("fits.yaml") == b"x" * 1024 * 1024


@pytest.mark.parametrize("bench", REAL, indirect=True)
def test_links_submodules_and_unsafe_names_are_left_out(bench: GitBench) -> None:
    entries = {
        "clusters/link.yaml": (0o120000, b"/etc/passwd"),
        "clusters/module": (0o160000, b"1" * 40),
        "clusters/run.sh": (0o100755, b"#!/bin/sh\n"),
        "clusters/back\\slash": (0o100644, b"x"),
        "clusters/new\nline": (0o100644, b"x"),
    }
    bench.bare.commit(entries, "tricks")
    tree = bench.repository.fetch()
    assert tree.paths("clusters") == (SCORER, RANKER, "clusters/run.sh")
    for path in entries.keys() - {"clusters/run.sh"}:
        assert tree.read(path) is None
        assert tree.blob(path) is None
    for path in (
        "clusters/link.yaml",
        "clusters/link.yaml/x",
        "clusters/module",
        "clusters/demo",
        ".git/config",
        "a/../b",
    ):
        with pytest.raises(Refused):
            bench.repository.append(tree.commit, [change({path: b"mine"})])
    appended = bench.repository.append(tree.commit, [change({"clusters/run.sh": b"#!/bin/sh\ntrue\n"})])
    assert bench.bare.mode("clusters/run.sh") == 0o100755
    assert bench.bare.mode("clusters/link.yaml") == 0o120000
    assert appended.commit == bench.head()
    bench.bare.check()
