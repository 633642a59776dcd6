"""A real gateway process and real model servers on unix sockets, for the tests that need them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import sys
import tempfile
import textwrap
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.local.test_exposition import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from tests.local.test_exposition import Samples

# A model server reduced to what the gateway can see of one.
UPSTREAM = textwrap.dedent(
    """
    import asyncio, os, signal, sys
    from aiohttp import web

    name, path = sys.argv[1:]

    async def answer(request):
        body = await request.read()
        if "slow" in request.query:
            await asyncio.sleep(float(request.query["slow"]))
        if "die" in request.query:
            os.kill(os.getpid(), signal.SIGKILL)
        if "half" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"x" * 10)
            await asyncio.sleep(0.05)
            request.transport.abort()
            return response
        if "stream" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(int(request.query["stream"])):
                await response.write(b"y" * 65536)
            await response.write_eof()
            return response
        code = int(request.query.get("code", "200"))
        seen = {"name": name, "method": request.method, "path": request.raw_path, "headers": dict(request.headers),
                "bytes": len(body), "body": body[:200].decode("latin-1")}
        headers = {"X-Upstream": name, "Connection": "X-Private", "X-Private": "1"} if "hop" in request.query else {}
        return web.json_response(seen, status=code, headers=headers)

    async def main():
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        await asyncio.Event().wait()

    asyncio.run(main())
    """
)


@dataclass(frozen=True, slots=True)
class Gateway:
    process: asyncio.subprocess.Process
    data: str
    admin: str
    control: str
    client: aiohttp.ClientSession

    async def put(self, document: dict[str, Any]) -> int:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.control)) as session,
            session.put("http://gateway/table", json=document) as response,
        ):
            return response.status

    async def get(self, url: str, **options: Any) -> tuple[int, str | None]:
        async with self.client.get(url, **options) as response:
            await response.read()
            return response.status, response.headers.get("x-served-by-revision")

    async def admin_json(self, path: str) -> Any:
        async with self.client.get(f"{self.admin}{path}") as response:
            assert response.status == 200
            return await response.json()

    async def load(self, revision: str) -> dict[str, Any]:
        """Give how busy a revision of the namespace fraud is."""
        load: dict[str, Any] = (await self.admin_json("/table"))["inflight"][f"fraud/{revision}"]
        return load

    async def samples(self) -> Samples:
        async with self.client.get(f"{self.admin}/metrics") as response:
            return parse(await response.text())


@contextmanager
def short_directory() -> Iterator[Path]:
    """Give a directory with a path short enough for unix sockets, which pytest's own is not always."""
    with tempfile.TemporaryDirectory(prefix="gs-") as name:
        yield Path(name)


def names_in(directory: Path) -> list[str]:
    """List a directory; a function of its own because an async test must not."""
    return sorted(path.name for path in directory.iterdir())


def running(pid: int) -> bool:
    """Say whether a process runs; one that ended and was not yet reaped by whoever inherited it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def eventually(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if await held if inspect.isawaitable(held) else held:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(sys.executable, *command)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def until(path: Path, child: asyncio.subprocess.Process) -> None:
    """Wait for a file or socket of a process."""

    def there() -> bool:
        assert child.returncode is None, "the process ended before it was ready"
        return path.exists()

    await eventually(there)


@asynccontextmanager
async def gateway(state: Path, *options: str) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(
            process("-m", "gitops_serving.local.gateway", "--state", str(state), "--die-with-parent", *options)
        )
        await until(state / "gateway.json", child)
        where = json.loads((state / "gateway.json").read_text(encoding="utf-8"))
        assert where["pid"] == child.pid
        connector = aiohttp.TCPConnector(limit=0)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Gateway(
            child,
            f"http://127.0.0.1:{where['data_port']}",
            f"http://127.0.0.1:{where['admin_port']}",
            control=where["socket_path"],
            client=client,
        )


@asynccontextmanager
async def upstream(state: Path, name: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    path = state / f"{name}.sock"
    path.unlink(missing_ok=True)
    async with process("-c", UPSTREAM, name, str(path)) as child:
        await until(path, child)
        yield str(path), child


def table(weights: dict[str, int], replicas: dict[str, list[str]], concurrency: int = 0) -> dict[str, Any]:
    return {
        "services": {
            "fraud/scorer": {"targets": [{"revision": name, "percent": percent} for name, percent in weights.items()]}
        },
        "revisions": {
            f"fraud/{name}": {"configuration": "scorer-predictor", "replicas": paths, "concurrency": concurrency}
            for name, paths in replicas.items()
        },
    }
