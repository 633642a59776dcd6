from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from gitops_serving.local import traffic as module
from gitops_serving.local.proxy import Upstreams, listens
from gitops_serving.local.routing import parse_table
from gitops_serving.local.traffic import Traffic
from tests.local.serving import eventually, in_loop, short_directory, table, upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.mark.slow
@in_loop
async def test_requests_that_wait_for_a_dead_replica_do_not_storm_its_socket(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that waited used to try again together, ten times a second each, and starved the server they waited for."""
    looks, attempts = [], []
    forward = Upstreams.forward

    async def look(replica: str) -> bool:
        looks.append(replica)
        return await listens(replica)

    async def attempt(self: Upstreams, replica: str, *args: Any, **options: Any) -> Any:
        attempts.append(replica)
        return await forward(self, replica, *args, **options)

    monkeypatch.setattr(module, "listens", look)
    monkeypatch.setattr(Upstreams, "forward", attempt)
    traffic = Traffic()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", traffic.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/serving/fraud/scorer/x"
    await traffic.swap(parse_table(table({"new": 100}, {"new": [str(state / "new.sock")]})))
    async with aiohttp.ClientSession() as client:

        async def ask() -> int:
            async with client.get(url) as response:
                return response.status

        asked = [asyncio.create_task(ask()) for _ in range(50)]
        await eventually(lambda: traffic.loads()["fraud/new"]["held"] == 50)
        seen = len(looks)
        await eventually(lambda: len(looks) >= seen + 10)
        assert len(attempts) <= 50
        async with upstream(state, "new"):
            assert set(await asyncio.gather(*asked)) == {200}
        assert len(attempts) <= 100
    await traffic.close()
    await runner.cleanup()
