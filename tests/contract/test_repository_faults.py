"""One suite for everything that claims to be a ``Repository``: lost races, refusals, lost answers, passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gitops_serving.adapters.git import Credentials, GitRepository
from gitops_serving.core.errors import Conflict, Misnamed, Refused, Unavailable

from .git_servers import bare_repository, served

if TYPE_CHECKING:
    from pathlib import Path


from .benches import FILES, RANKER, REAL, RECORD, SCORER, SECRET, SERVED, Bench, FakeBench, GitBench, change


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
    with pytest.raises(Misnamed, match="no such branch"):
        bench.repository.fetch()
    empty = GitRepository(str(bare_repository(tmp_path / "empty.git", {}).path), "main", tmp_path / "cache")
    with pytest.raises(Refused, match="push a first commit"):
        empty.fetch()
    empty.close()
