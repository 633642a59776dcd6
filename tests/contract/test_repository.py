"""One suite for everything that claims to be a ``Repository``: the fake, a folder, and a served repository.

A case runs on all three unless its parametrisation names fewer: the fake has no
links and no passwords, and a folder of this machine is never down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pygit2
import pytest

from gitops_serving.adapters.git import Credentials, GitRepository, changed_paths
from gitops_serving.core.errors import Conflict, Refused, Unavailable
from gitops_serving.core.model import Change
from gitops_serving.testing.repository import FakeRepository

from .git_servers import BareRepository, GitServer, bare_repository, instant, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gitops_serving.ports import Repository

SCORER = "clusters/demo/fraud/scorer.yaml"
RANKER = "clusters/demo/shop/ranker.yaml"
RECORD = "rollouts/demo/fraud/scorer.yaml"
FILES = {SCORER: b"spec: one\r\n\xff", RANKER: b"spec: two", "README.md": b"# for people\n"}
CONTROLLER = "gitops-serving <gitops-serving@demo.invalid>"
SECRET = "hunter2-marked-secret-77"


class Bench(Protocol):
    """A repository under test, and the world behind it."""

    @property
    def repository(self) -> Repository: ...
    def push(self, files: Mapping[str, bytes | None]) -> str: ...
    def head(self) -> str: ...
    def read(self, path: str) -> bytes | None: ...
    def subjects(self) -> list[str]: ...
    def pushes(self) -> int: ...
    def refuse(self, words: str) -> None: ...
    def compete(self, files: Mapping[str, bytes]) -> None: ...
    def lose_answer(self) -> None: ...


@dataclass(slots=True)
class FakeBench:
    repository: FakeRepository

    def push(self, files: Mapping[str, bytes | None]) -> str:
        return self.repository.push(files)

    def head(self) -> str:
        return self.repository.head.commit

    def read(self, path: str) -> bytes | None:
        return self.repository.head.read(path)

    def subjects(self) -> list[str]:
        return [logged.message.splitlines()[0] for logged in reversed(self.repository.log)]

    def pushes(self) -> int:
        return self.repository.pushes

    def refuse(self, words: str) -> None:
        self.repository.refuses = words

    def compete(self, files: Mapping[str, bytes]) -> None:
        self.repository.before_append = lambda: self.repository.push(files)

    def lose_answer(self) -> None:
        self.repository.lose_answer = 1

    def down(self) -> None:
        self.repository.down = "nobody is at home"


@dataclass(slots=True)
class GitBench:
    repository: GitRepository
    bare: BareRepository
    server: GitServer | None

    def push(self, files: Mapping[str, bytes | None]) -> str:
        return self.bare.push(files)

    def head(self) -> str:
        return self.bare.head

    def read(self, path: str) -> bytes | None:
        return self.bare.read(path)

    def subjects(self) -> list[str]:
        return [commit.message.splitlines()[0] for commit in self.bare.commits()]

    def pushes(self) -> int:
        return self.bare.moves()

    def refuse(self, words: str) -> None:
        self.bare.hook("pre-receive", f"echo '{words}' >&2; exit 1")

    def compete(self, files: Mapping[str, bytes]) -> None:
        """Let somebody else's commit land after the push was negotiated and before it moves the branch."""
        other = self.bare.commit({p: (0o100644, d) for p, d in files.items()}, "a competing commit", "refs/heads/other")
        self.bare.hook("pre-receive", f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/main {other}")

    def lose_answer(self) -> None:
        if self.server is not None:
            self.server.cut_after = 1
        else:  # the receiving side takes its whole process group with it, once the branch has moved
            self.bare.hook("post-receive", "rm -f hooks/post-receive; kill -9 0")

    def down(self) -> None:
        assert self.server is not None
        self.server.stop()


ALL = ("fake", pytest.param("local", marks=pytest.mark.slow), pytest.param("served", marks=pytest.mark.slow))
REAL = ALL[1:]
SERVED = ALL[2:]


@pytest.fixture(params=ALL)
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "fake":
        yield FakeBench(FakeRepository(FILES, instant(0)))
        return
    bare = bare_repository(tmp_path / "served" / "fleet.git", FILES)
    if request.param == "local":
        repository = GitRepository(str(bare.path), "main", tmp_path / "cache")
        yield GitBench(repository, bare, None)
        repository.close()
        return
    with served(bare.path.parent) as server:
        repository = GitRepository(f"{server.url}/fleet.git", "main", tmp_path / "cache", timeout_seconds=10)
        yield GitBench(repository, bare, server)
        repository.close()


def change(
    files: Mapping[str, bytes], *, message: str = "fraud/scorer: shift to 5 %\n\nbecause", second: int = 1
) -> Change:
    return Change(service="fraud/scorer", files=files, message=message, author=CONTROLLER, at=instant(second))


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


@pytest.mark.parametrize("fetched", [False, True])
def test_a_decision_on_an_older_head_is_a_conflict_and_writes_nothing(bench: Bench, *, fetched: bool) -> None:
    tree = bench.repository.fetch()
    theirs = bench.push({RANKER: b"theirs"})
    if fetched:
        bench.repository.fetch()
    with pytest.raises(Conflict, match=theirs[:12]):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.head() == theirs
    assert bench.read(SCORER) == FILES[SCORER]


@pytest.mark.parametrize("bench", REAL, indirect=True)
def test_a_branch_that_somebody_rewound_is_not_wound_forward_again(bench: GitBench) -> None:
    """Our commit would descend from the rewound head, too: only the exact old id tells."""
    before = bench.repository.fetch()
    bench.push({RANKER: b"a mistake"})
    tree = bench.repository.fetch()
    (bench.bare.path / "refs" / "heads" / "main").write_text(f"{before.commit}\n")
    with pytest.raises(Conflict):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.head() == before.commit
    assert bench.server is None or bench.server.pushes() == 0
    assert bench.repository.fetch().commit == before.commit


def test_a_decision_on_a_commit_that_nobody_knows_is_a_conflict(bench: Bench) -> None:
    for onto in ("0" * 40, "f" * 40, "no commit"):
        with pytest.raises(Conflict):
            bench.repository.append(onto, [change({SCORER: b"mine"})])
    assert bench.subjects() == ["first commit"]


def test_a_push_that_lands_in_the_midst_of_ours_wins(bench: Bench) -> None:
    tree = bench.repository.fetch()
    bench.compete({RANKER: b"theirs"})
    with pytest.raises(Conflict):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.read(RANKER) == b"theirs"
    assert bench.read(SCORER) == FILES[SCORER]
    assert len(bench.subjects()) == 2
    assert bench.repository.fetch().read(RANKER) == b"theirs"


def test_a_refusing_hook_is_refused_with_its_words(bench: Bench) -> None:
    tree = bench.repository.fetch()
    bench.refuse("only on Tuesdays")
    with pytest.raises(Refused, match="only on Tuesdays"):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"}), change({RECORD: b"mine"})])
    assert bench.head() == tree.commit
    assert bench.repository.fetch().commit == tree.commit


def test_a_push_whose_answer_is_lost_has_landed_once(bench: Bench) -> None:
    tree = bench.repository.fetch()
    bench.lose_answer()
    appended = bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert appended.commit == bench.head()
    assert bench.subjects() == ["fraud/scorer: shift to 5 %", "first commit"]
    assert bench.pushes() == 1
    assert bench.repository.append(appended.commit, [change({SCORER: b"again"})]).read(SCORER) == b"again"


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_a_push_that_never_arrived_is_sent_once_more(bench: GitBench) -> None:
    assert bench.server is not None
    tree = bench.repository.fetch()
    bench.server.cut_before = 1
    appended = bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert appended.commit == bench.head()
    assert bench.pushes() == 1
    assert bench.server.pushes() == 2


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_a_push_that_never_arrives_is_unavailable(bench: GitBench) -> None:
    assert bench.server is not None
    tree = bench.repository.fetch()
    bench.server.cut_before = 2
    with pytest.raises(Unavailable):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.head() == tree.commit
    assert bench.repository.append(tree.commit, [change({SCORER: b"mine"})]).commit == bench.head()


@pytest.mark.parametrize("bench", ["fake", *SERVED], indirect=True)
def test_a_server_that_is_down_is_unavailable(bench: FakeBench | GitBench) -> None:
    tree = bench.repository.fetch()
    bench.down()
    with pytest.raises(Unavailable):
        bench.repository.fetch()
    with pytest.raises(Unavailable):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.head() == tree.commit
    assert tree.read(SCORER) == FILES[SCORER]  # what was fetched can still be read


@pytest.mark.parametrize("bench", ["fake"], indirect=True)
def test_a_landed_push_with_nobody_to_ask_is_unavailable(bench: FakeBench) -> None:
    tree = bench.repository.fetch()
    bench.repository.lose_answer_and_fetch = 1
    with pytest.raises(Unavailable):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.repository.fetch().read(SCORER) == b"mine"


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_a_landed_push_with_the_server_gone_says_that_nobody_knows(bench: GitBench) -> None:
    assert bench.server is not None
    tree = bench.repository.fetch()
    bench.server.cut_after, bench.server.then_gone = 1, True
    with pytest.raises(Unavailable, match="nobody knows"):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    assert bench.read(SCORER) == b"mine"


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (503, Unavailable), (500, Unavailable)])
@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_a_status_is_sorted_by_what_helps(bench: GitBench, status: int, kind: type[Exception]) -> None:
    assert bench.server is not None
    tree = bench.repository.fetch()
    bench.server.status = status
    with pytest.raises(kind):
        bench.repository.append(tree.commit, [change({SCORER: b"mine"})])
    bench.server.status_of_fetch = status
    with pytest.raises(kind):
        bench.repository.fetch()
    assert bench.head() == tree.commit


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_right_credentials_open_the_door_and_are_read_anew(bench: GitBench, tmp_path: Path) -> None:
    assert bench.server is not None
    bench.server.password = "first"
    token = tmp_path / "token"
    token.write_text("first\n")
    url = f"{bench.server.url}/fleet.git"
    repository = GitRepository(url, "main", tmp_path / "cache", credentials=Credentials(token_file=token))
    tree = repository.append(repository.fetch().commit, [change({SCORER: b"mine"})])
    bench.server.password = "second"
    token.write_text("second\n")
    assert repository.append(tree.commit, [change({SCORER: b"mine again"})]).commit == bench.head()
    repository.close()


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_wrong_credentials_are_refused_without_the_secret(bench: GitBench, tmp_path: Path) -> None:
    assert bench.server is not None
    tree = bench.repository.fetch()
    bench.server.password = "another"
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    url = f"{bench.server.url}/fleet.git"
    for credentials in (Credentials(token_file=token), Credentials(username="bob", password_file=token)):
        repository = GitRepository(url, "main", tmp_path / "cache", credentials=credentials)
        with pytest.raises(Refused, match="does not accept our credentials") as fetched:
            repository.fetch()
        with pytest.raises(Refused) as pushed:
            repository.append(tree.commit, [change({SCORER: b"mine"})])
        for caught in (fetched, pushed):
            shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
            assert SECRET not in shown
        repository.close()
    with pytest.raises(Refused, match="name a token"):
        bench.repository.fetch()
    assert len([line for line in bench.server.requests if "info/refs" in line]) < 20


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_a_hook_that_echoes_the_secret_does_not_get_it_into_the_error(bench: GitBench, tmp_path: Path) -> None:
    assert bench.server is not None
    bench.server.password = SECRET
    token = tmp_path / "token"
    token.write_text(SECRET)
    bench.refuse(f"not with {SECRET}")
    url = f"{bench.server.url}/fleet.git"
    repository = GitRepository(url, "main", tmp_path / "cache", credentials=Credentials(token_file=token))
    with pytest.raises(Refused, match=r"not with \*\*\*"):
        repository.append(repository.fetch().commit, [change({SCORER: b"mine"})])
    repository.close()


@pytest.mark.parametrize("bench", SERVED, indirect=True)
def test_credentials_do_not_follow_a_redirect_to_another_host(bench: GitBench, tmp_path: Path) -> None:
    assert bench.server is not None
    token = tmp_path / "token"
    token.write_text(SECRET)
    with served(bench.server.root) as elsewhere:
        bench.server.password = elsewhere.password = SECRET
        bench.server.redirect_to = elsewhere.url.replace("127.0.0.1", "localhost")
        url = f"{bench.server.url}/fleet.git"
        repository = GitRepository(url, "main", tmp_path / "cache", credentials=Credentials(token_file=token))
        with pytest.raises(Unavailable, match="redirect"):
            repository.fetch()
        bench.server.redirect_to = ""
        tree = repository.fetch()
        bench.server.redirect_to = elsewhere.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Unavailable, match="redirect"):
            repository.append(tree.commit, [change({SCORER: b"mine"})])
        repository.close()
        assert elsewhere.requests == []
    assert bench.head() == tree.commit


@pytest.mark.parametrize("bench", REAL, indirect=True)
def test_a_missing_branch_is_refused_even_if_it_was_there_before(bench: GitBench, tmp_path: Path) -> None:
    bench.repository.fetch()
    (bench.bare.path / "refs" / "heads" / "main").unlink()
    with pytest.raises(Refused, match="no such branch"):
        bench.repository.fetch()
    empty = GitRepository(str(bare_repository(tmp_path / "empty.git", {}).path), "main", tmp_path / "cache")
    with pytest.raises(Refused, match="push a first commit"):
        empty.fetch()
    empty.close()


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
