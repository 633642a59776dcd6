"""The prediction endpoint of the local cluster: a process of its own, `python -m gitops_serving.local.gateway`.

It is separate from the reconciler so that a slow reconcile never delays a prediction. It listens on a data port and an
admin port of 127.0.0.1, chosen by the kernel at its first start and kept for all later ones while they are free, so
that clients find a gateway that was killed where it was; and on a unix socket in a private directory, over which the
supervisor sends the routing table. Where it listens stands in `DIR/gateway.json` as soon as all of it does.

This module is the process: sockets, endpoints, signals. What happens to a request is in `traffic`. HTTP/2, and with
it gRPC inference, is not served here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from gitops_serving.local import exposition
from gitops_serving.local.descriptors import allow_many
from gitops_serving.local.files import write_json
from gitops_serving.local.routing import SOCKET_PATH_BYTES, TableError, parse_table, table_document
from gitops_serving.local.tether import die_with_parent
from gitops_serving.local.traffic import BODY_BYTES, HOLD_SECONDS, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

LOOPBACK = "127.0.0.1"
PORTS = "gateway-ports.json"
DRAIN_SECONDS = 10.0
# Above the keep-alive of usual clients (aiohttp's is 15 s, Go's is 90 s but it retries), as kserve's server has it.
KEEPALIVE_SECONDS = 65.0


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="gitops_serving.local.gateway", allow_abbrev=False)
    parser.add_argument("--state", type=Path, required=True, metavar="DIR")
    parser.add_argument("--hold-seconds", type=float, default=HOLD_SECONDS, help="how long to wait for a replica")
    parser.add_argument("--die-with-parent", action="store_true", help="end with the process that started this one")
    options = parser.parse_args()
    if options.die_with_parent:
        die_with_parent()
    allow_many()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run(options.state, hold_seconds=options.hold_seconds))


async def run(state: Path, *, hold_seconds: float) -> None:
    """Serve until the process is told to stop, then finish what is in flight."""
    stop = asyncio.Event()
    for sent in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sent, stop.set)
    socket_path = _private_socket(state)
    traffic = Traffic(hold_seconds=hold_seconds)
    control = _control(traffic)
    data, admin = _last_ports(state)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(traffic.close)
        await stack.enter_async_context(_listening(control, socket_path))
        admin_port = await stack.enter_async_context(_listening(_admin(traffic), None, admin))
        # Entered last, left first: while requests are finished, their metrics can still be read.
        data_port = await stack.enter_async_context(_listening(_data(traffic), None, data))
        _keep_ports(state, data_port, admin_port)
        where: dict[str, int | str] = {
            "data_port": data_port,
            "admin_port": admin_port,
            "socket_path": str(socket_path),
        }
        with _announced(state / "gateway.json", where):
            await stop.wait()


def _data(traffic: Traffic) -> web.Application:
    app = web.Application(client_max_size=BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", traffic.serve)
    return app


def _admin(traffic: Traffic) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=traffic.exposition.page().encode(), headers={"Content-Type": exposition.CONTENT_TYPE})

    async def counts(_: web.Request) -> web.Response:
        return web.json_response(traffic.epochs.document())

    async def table(_: web.Request) -> web.Response:
        return web.json_response({"table": table_document(traffic.table), "inflight": traffic.loads()})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/counts", counts)
    app.router.add_get("/table", table)
    return app


def _control(traffic: Traffic) -> web.Application:
    async def put_table(request: web.Request) -> web.Response:
        try:
            document = await request.json()
            table = parse_table(document)
        except (json.JSONDecodeError, UnicodeDecodeError, TableError) as error:
            text = f"the routing table is refused and the one before stays in force: {error}"
            return web.json_response({"error": text}, status=400)
        await traffic.swap(table)
        return web.json_response({"services": len(table.services), "revisions": len(table.revisions)})

    app = web.Application(client_max_size=BODY_BYTES)
    app.router.add_put("/table", put_table)
    return app


@contextlib.asynccontextmanager
async def _listening(app: web.Application, socket_path: Path | None, port: int = 0) -> AsyncIterator[int]:
    """Serve an application on a unix socket or a port, which is given: the one of last time, or one of the kernel's.

    Drains at the end.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        # A body goes through as it came, its Content-Encoding says how to read it.
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=DRAIN_SECONDS,
    )
    await runner.setup()
    try:
        if socket_path is not None:
            await web.UnixSite(runner, socket_path).start()
            yield 0
        else:
            try:
                await web.TCPSite(runner, LOOPBACK, port).start()
            except (OSError, OverflowError):  # somebody else has it now, or it is none
                await web.TCPSite(runner, LOOPBACK, 0).start()
            yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _last_ports(state: Path) -> tuple[int, int]:
    """Read where the gateway before this one listened; 0: any port will do."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        data, admin = json.loads((state / PORTS).read_text(encoding="utf-8"))
        return int(data), int(admin)
    return 0, 0


def _keep_ports(state: Path, data: int, admin: int) -> None:
    """Note for the next one where this one listens; without the note it goes elsewhere."""
    with contextlib.suppress(OSError):
        write_json(state / PORTS, [data, admin])


def _private_socket(state: Path) -> Path:
    """Make the directory that keeps other users from the socket, and clear a socket that a killed gateway left."""
    directory = state.absolute() / "run"
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / "gateway.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise SystemExit(
            f"the gateway cannot listen at {path}: a unix socket's path has at most {SOCKET_PATH_BYTES} bytes; "
            "choose a state directory with a shorter path"
        )
    path.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _announced(path: Path, where: dict[str, int | str]) -> Iterator[None]:
    """Say where the gateway listens, all at once and only while it does."""
    document = {"pid": os.getpid(), **where}
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):  # a successor may have put its own file there
            if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
                path.unlink()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Take uvloop where it is installed: it halves the cost of a request."""
    with contextlib.suppress(ImportError):
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return factory
    return asyncio.new_event_loop


if __name__ == "__main__":
    main()
