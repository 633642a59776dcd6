"""The repositories under test, with the world behind each: the fake, a folder, and a served repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from gitops_serving.core.model import Change

from .git_servers import BareRepository, GitServer, instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gitops_serving.adapters.git import GitRepository
    from gitops_serving.ports import Repository
    from gitops_serving.testing.repository import FakeRepository

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


def change(
    files: Mapping[str, bytes], *, message: str = "fraud/scorer: shift to 5 %\n\nbecause", second: int = 1
) -> Change:
    return Change(service="fraud/scorer", files=files, message=message, author=CONTROLLER, at=instant(second))
