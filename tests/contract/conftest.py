"""The bench that a contract case runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gitops_serving.adapters.git import GitRepository
from gitops_serving.testing.repository import FakeRepository

from .git_servers import bare_repository, instant, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


from .benches import ALL, FILES, Bench, FakeBench, GitBench


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
