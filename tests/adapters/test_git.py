"""What the Git adapter does beyond the port: its cache, its door to libgit2, its refusals."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pygit2
import pytest

from gitops_serving.adapters.git import Credentials, GitRepository, cache, changed_paths
from gitops_serving.adapters.git.objects import decoded
from gitops_serving.adapters.git.remote import parse_remote
from gitops_serving.core.errors import Conflict, GitopsServingError, Misnamed, Refused, Unavailable
from gitops_serving.core.model import Change
from tests.contract.git_servers import BareRepository, bare_repository, check_objects, instant, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCORER = "clusters/demo/fraud/scorer.yaml"
SECRET = "hunter2-marked-secret-77"
WRITER = """
import sys, pathlib, datetime
from gitops_serving.adapters.git import GitRepository
from gitops_serving.core.errors import Conflict, Unavailable
from gitops_serving.core.model import Change
repository = GitRepository(sys.argv[1], "main", pathlib.Path(sys.argv[2]))
tree = repository.fetch()
told = False
at = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
while True:
    number = int(tree.read("counter") or b"0") + 1
    change = Change(service="a/b", files={"counter": b"%d" % number}, message=f"count {number}",
                    author="a <a@b>", at=at)
    try:
        tree = repository.append(tree.commit, [change])
    except (Conflict, Unavailable):
        tree = repository.fetch()
        continue
    if not told:
        print("ready", flush=True)
        told = True
"""


@pytest.fixture(name="bare")
def a_bare_repository(tmp_path: Path) -> BareRepository:
    return bare_repository(tmp_path / "fleet.git", {SCORER: b"one", "README.md": b"text"})


@pytest.fixture(name="repository")
def a_repository(bare: BareRepository, tmp_path: Path) -> Iterator[GitRepository]:
    repository = GitRepository(str(bare.path), "main", tmp_path / "cache")
    yield repository
    repository.close()


def change(data: bytes = b"new", **others: Any) -> Change:
    fields: dict[str, Any] = {"files": {SCORER: data}, "message": "a/b: shift", "author": "a <a@b.invalid>"}
    return Change(service="a/b", at=instant(1), **(fields | others))


def clones(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*/*.git"))


# --- addresses and credentials -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"https://bob:{SECRET}@127.0.0.1/fleet.git",
        f"https://{SECRET}@127.0.0.1/fleet.git",
        f"https://127.0.0.1/fleet.git?private_token={SECRET}",
        f"ssh://git:{SECRET}@127.0.0.1/fleet.git",
        f"https://bob:{SECRET}@127.0.0.1:port/fleet.git",
    ],
)
def test_an_address_with_a_credential_is_refused_unseen(url: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        GitRepository(url, "main", tmp_path / "cache")
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "url", ["ext::sh -c true", "--upload-pack=true", "", "ftp://127.0.0.1/x", "file://elsewhere/x"]
)
def test_an_address_of_an_unknown_kind_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="use https://"):
        parse_remote(url)


def test_addresses_of_this_machine_have_a_path_and_others_have_none(tmp_path: Path) -> None:
    assert parse_remote(str(tmp_path)).path == parse_remote(f"file://{tmp_path}").path == tmp_path
    for url in ("git@localhost:team/fleet.git", "ssh://git@localhost/fleet.git", "https://localhost/fleet.git"):
        assert parse_remote(url).path is None


@pytest.mark.parametrize("branch", ["", "a..b", "-x", "a b", "x.lock"])
def test_a_branch_that_git_cannot_name_is_refused(branch: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="name of a branch"):
        GitRepository(str(tmp_path), branch, tmp_path / "cache")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    repository = GitRepository(str(tmp_path / "nowhere"), "main", tmp_path / "cache")
    with pytest.raises(Misnamed, match="correct the path"):
        repository.fetch()
    repository.close()


@pytest.mark.slow
def test_a_credential_file_that_cannot_be_used_is_named(bare: BareRepository, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with served(bare.path.parent) as server:
        server.password = "something"
        for name, why in (("missing", "No such file"), ("empty", "is empty"), ("binary", "not text")):
            credentials = Credentials(token_file=tmp_path / name)
            repository = GitRepository(f"{server.url}/fleet.git", "main", tmp_path / "cache", credentials=credentials)
            with pytest.raises(Refused, match=f"{name}.*{why}"):
                repository.fetch()
            repository.close()


def test_known_hosts_that_cannot_be_read_are_named(bare: BareRepository, tmp_path: Path) -> None:
    credentials = Credentials(known_hosts_file=tmp_path / "missing")
    repository = GitRepository(str(bare.path), "main", tmp_path / "cache", credentials=credentials)
    with pytest.raises(Refused, match="missing: No such file"):
        repository.fetch()
    repository.close()


# --- what libgit2 raises -------------------------------------------------------------------------------------------

LIBGIT2 = [getattr(pygit2.errors, name) for name in pygit2.errors.__all__ if name != "Passthrough"]  # a callback's word
PYTHON = [OSError, ConnectionResetError, TimeoutError, ValueError, KeyError, TypeError, AssertionError, RuntimeError]
DECODING = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a hook's words were cut in the middle of a letter")
RAISED = [DECODING, *(error("a text of the library") for error in [*LIBGIT2, *PYTHON])]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", ["fetch", "push"])
def test_nothing_that_libgit2_raises_leaves_the_adapter(
    call: str, raised: Exception, bare: BareRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = GitRepository(str(bare.path), "main", tmp_path / "cache")
    repository._pusher = repository._transport  # a folder would be pushed to by the git command
    tree = repository.fetch()

    def failing(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(pygit2.Remote, call, failing)
    with pytest.raises((Refused, Unavailable)) as caught:
        repository.append(tree.commit, [change()]) if call == "push" else repository.fetch()
    assert "; " in str(caught.value)
    repository.close()


def test_git_that_cannot_be_started_is_refused(repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = repository.fetch()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="install git"):
        repository.append(tree.commit, [change()])


def test_a_local_push_that_hangs_is_ended_with_all_its_processes(bare: BareRepository, tmp_path: Path) -> None:
    bare.hook("pre-receive", "echo $$ >> pids; exec sleep 60")
    repository = GitRepository(str(bare.path), "main", tmp_path / "cache", timeout_seconds=0.3)
    tree = repository.fetch()
    with pytest.raises(Unavailable, match="did not finish"):
        repository.append(tree.commit, [change()])
    for pid in (bare.path / "pids").read_text().split():
        assert not running(int(pid))
    repository.close()


def running(pid: int) -> bool:
    """Tell whether a process still runs; one that only waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "wrong",
    [
        {"author": "nobody"},
        {"author": "a <a@b> <c@d>"},
        {"author": "<a@b>"},
        {"message": "a\0b"},
        {"message": "\ud800"},
        {"files": {"a//b": b""}},
        {"files": {"/a": b""}},
        {"files": {"a\nb": b""}},
    ],
)
def test_a_change_that_cannot_be_a_commit_is_refused(repository: GitRepository, wrong: dict[str, Any]) -> None:
    tree = repository.fetch()
    with pytest.raises(Refused):
        repository.append(tree.commit, [change(**wrong)])
    assert repository.append(tree.commit, [change()]).read(SCORER) == b"new"


# --- trees ---------------------------------------------------------------------------------------------------------


def test_names_that_git_itself_would_never_write_are_left_out() -> None:
    ident = bytes(20)
    names = [
        b"..",
        b".",
        b".git",
        b".GIT",
        b"",
        b"a/b",
        b"\xff",
        b"a\x00"[:1] + b"\x7f",
        b"twice",
        b"twice",
        b"good.yaml",
    ]
    data = b"".join(b"100644 " + name + b"\0" + ident for name in names)
    assert list(decoded(data)) == ["good.yaml"]


def test_a_tree_that_is_too_deep_is_refused(bare: BareRepository, repository: GitRepository) -> None:
    bare.push({"/".join(["d"] * 40) + "/file": b"deep", "fine/file": b"x"})
    tree = repository.fetch()
    assert tree.paths("fine") == ("fine/file",)
    with pytest.raises(Refused, match="too deep"):
        tree.paths()


def test_changed_paths_look_only_into_folders_that_differ(bare: BareRepository, repository: GitRepository) -> None:
    bare.push({f"clusters/c{n}/isvc.yaml": b"%d" % n for n in range(50)})
    old = repository.fetch()
    bare.push({"clusters/c7/isvc.yaml": b"new", "README.md": None})
    bare.push({"README.md/now/a/folder": b"x"})
    new = repository.fetch()
    repository._store()._trees.clear()
    assert changed_paths(old, new) == ("README.md", "README.md/now/a/folder", "clusters/c7/isvc.yaml")
    assert len(repository._store()._trees) == 9  # two roots, two clusters, two c7, and the three below README.md
    assert changed_paths(new, new) == ()


# --- the cache -----------------------------------------------------------------------------------------------------


def test_a_clone_is_private_and_carries_no_name_of_the_repository(repository: GitRepository, tmp_path: Path) -> None:
    repository.fetch()
    (clone,) = clones(tmp_path)
    assert stat.S_IMODE(clone.stat().st_mode) == stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert "fleet" not in str(clone.relative_to(tmp_path))


def test_a_clone_that_is_deleted_is_made_anew(repository: GitRepository, tmp_path: Path) -> None:
    tree = repository.fetch()
    subprocess.run(["rm", "-rf", str(tmp_path / "cache")], check=True)
    assert repository.append(tree.commit, [change()]).read(SCORER) == b"new"
    assert repository.fetch().read(SCORER) == b"new"


@pytest.mark.parametrize("damage", ["objects", "HEAD", "config", "refs", "pack"])
def test_a_damaged_clone_is_made_anew_by_the_next_process(
    damage: str, bare: BareRepository, repository: GitRepository, tmp_path: Path
) -> None:
    head = repository.fetch().commit
    repository.close()
    (clone,) = clones(tmp_path)
    spoil(clone, damage)
    again = GitRepository(str(bare.path), "main", tmp_path / "cache")
    assert again.fetch().read(SCORER) == b"one"
    assert again.append(head, [change()]).commit == bare.head
    again.close()


def spoil(clone: Path, damage: str) -> None:
    """Do to a clone what a full disk or a power cut does."""
    if damage == "objects":
        subprocess.run(["rm", "-rf", str(clone / "objects")], check=True)
    elif damage == "refs":
        (clone / cache.KNOWN).write_bytes(b"")
    elif damage == "pack":
        (pack,) = clone.glob("objects/pack/*.pack")
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:20])
    else:
        (clone / damage).write_bytes(b"\0\0[")


def test_a_file_that_cannot_be_read_heals_the_clone_at_the_next_fetch(
    repository: GitRepository, tmp_path: Path
) -> None:
    tree = repository.append(repository.fetch().commit, [change()])
    blob = tree.blob(SCORER)
    assert blob is not None
    (clone,) = clones(tmp_path)
    (clone / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(Unavailable, match="made anew"):
        tree.read(SCORER)
    assert repository.fetch().read(SCORER) == b"new"


def test_lock_files_of_a_killed_process_are_removed(
    repository: GitRepository, bare: BareRepository, tmp_path: Path
) -> None:
    repository.fetch()
    repository.close()
    (clone,) = clones(tmp_path)
    left = [clone / f"{name}.lock" for name in (cache.TRACKED, cache.KNOWN, "HEAD", "config")]
    for file in left:
        file.touch()
    bare.push({SCORER: b"two"})
    assert repository.fetch().read(SCORER) == b"two"
    assert not any(file.exists() for file in left)


def test_a_second_process_takes_the_next_folder_at_once(bare: BareRepository, tmp_path: Path) -> None:
    many = [GitRepository(str(bare.path), "main", tmp_path / "cache") for _ in range(cache.FOLDERS + 2)]
    assert {repository.fetch().commit for repository in many} == {bare.head}
    assert len(clones(tmp_path)) == cache.FOLDERS
    private = [repository._cache._temporary for repository in many if repository._cache._temporary is not None]
    assert len(private) == 2
    head = many[-1].fetch().commit
    assert many[-1].append(head, [change()]).commit == bare.head
    with pytest.raises(Conflict):
        many[0].append(head, [change(b"other")])
    for repository in many:
        repository.close()
    assert not any(os.path.exists(folder.name) for folder in private)  # noqa: PTH110 - TemporaryDirectory holds a text


def test_a_cache_that_cannot_be_made_is_refused(bare: BareRepository, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    repository = GitRepository(str(bare.path), "main", tmp_path / "cache")
    with pytest.raises(Refused, match="name another folder"):
        repository.fetch()


@pytest.mark.slow
def test_kill_9_at_any_moment_damages_nothing_and_doubles_nothing(bare: BareRepository, tmp_path: Path) -> None:
    with served(bare.path.parent) as server:
        url = f"{server.url}/fleet.git"
        for life in range(6):
            with subprocess.Popen(
                [sys.executable, "-c", WRITER, url, str(tmp_path / "cache")], stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                deadline = time.monotonic() + 0.11 + 0.013 * life  # the moment of death is the point of this test
                while time.monotonic() < deadline:
                    assert process.poll() is None
                os.kill(process.pid, signal.SIGKILL)
        repository = GitRepository(url, "main", tmp_path / "cache")
        assert repository.fetch().read("counter") is not None
        repository.close()
    last = int(bare.read("counter") or b"0")  # the server has finished whatever it was sent before a death
    (clone,) = clones(tmp_path)
    messages = [commit.message for commit in bare.commits()]
    assert last >= 6
    assert messages[:-1] == [f"count {number}" for number in range(last, 0, -1)]
    bare.check()
    check_objects(clone)


def test_every_error_says_what_to_do(repository: GitRepository) -> None:
    with pytest.raises(GitopsServingError, match="; fetch and decide again"):
        repository.append("0" * 40, [change()])
