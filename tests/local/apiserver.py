"""A running API of the local cluster for tests: the real application on a real port, without a supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from aiohttp import web

from gitops_serving.local.api import Api
from gitops_serving.local.statedir import prepare, write_kubeconfig
from gitops_serving.local.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

SECRET = "a-secret-of-the-test"


@dataclass(frozen=True, slots=True)
class Server:
    """Where the API is, and the way into its event loop."""

    url: str
    kubeconfig: Path
    store: Store
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something where the store lives."""

        async def run() -> T:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send one request; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl against the API."""
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)


def kubectl(kubeconfig: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubectl with a kubeconfig, and with a home of its own for its caches."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.fail("kubectl is not installed; put a kubectl of version 1.27 or newer on PATH")
    return subprocess.run(
        [program, "--kubeconfig", str(kubeconfig), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(kubeconfig.parent)},
    )


@contextlib.contextmanager
def running_api(directory: Path) -> Iterator[Server]:
    """Serve the API from a thread of its own."""
    loop, up, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    state = prepare(directory)
    found: list[tuple[str, Store]] = []

    async def serve() -> None:
        store = Store(state.objects)
        runner = web.AppRunner(Api(store, SECRET).app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.append((f"http://127.0.0.1:{runner.addresses[0][1]}/{SECRET}", store))
        up.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        url, store = found[0]
        write_kubeconfig(state, url)
        yield Server(url, state.kubeconfig, store, loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
