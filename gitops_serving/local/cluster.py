"""The supervisor of the local cluster: one process that is API server, KServe, Knative and kubelet in small.

Round and round: look at the objects and the processes, let each component's pass
say what follows, send the gateway its routing table, then start and stop model
servers.  A revision's processes are stopped only after the gateway has the table
without its share.  All state is in files, so that a killed supervisor comes back
with the same revisions; the gateway and all model servers die with it.

``python -m gitops_serving.local.cluster --state DIR`` runs it in the foreground.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from gitops_serving.local import component as components
from gitops_serving.local import statedir
from gitops_serving.local.api import Api, stamp
from gitops_serving.local.child import Child
from gitops_serving.local.files import read_json, write_json
from gitops_serving.local.fleet import Fleet, entry, place
from gitops_serving.local.kinds import INFERENCE_SERVICE, REVISION
from gitops_serving.local.monitor import Monitor
from gitops_serving.local.prometheus import PrometheusFailedError
from gitops_serving.local.prometheus_binary import PrometheusMissingError
from gitops_serving.local.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gitops_serving.local.component import Record
    from gitops_serving.local.faults import Json
    from gitops_serving.local.statedir import StateDir

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
UP_SECONDS = 60.0
RESYNC_SECONDS = 5.0  # for what no event tells of, such as a deadline that passes
TABLE_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Cluster:
    """Everything that runs, and the loop that keeps it as the objects say."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._store = Store(state.objects)
        self._news = asyncio.Event()
        self._records = {path: components.from_json(read_json(path)) for path in state.records.rglob("[!.]*.json")}
        self._fleet = Fleet(run_dir=state.run, log_dir=state.logs, changed=self._news.set, busy=self._busy)
        self._monitor = Monitor(state.root / "prometheus", self._news.set)
        self._pushed: tuple[Json, Json] = ({}, {})  # the table in force and the gateway that has it
        self._api = ""
        self._started = stamp()
        self._told: Json = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Come up, work until told to stop, go down."""
        for stale in self._state.run.glob("*.sock"):
            stale.unlink()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._state.addresses.unlink, missing_ok=True)
            stack.push_async_callback(self._fleet.close)
            self._gateway = self._start_gateway(stack)
            self._api = await self._serve(stack)
            statedir.write_kubeconfig(self._state, self._api)
            working = asyncio.create_task(self._work())
            stack.push_async_callback(_cancelled, working)
            await self._gateway.up(UP_SECONDS)
            stack.push_async_callback(self._monitor.stop)
            await self._monitor.begin(self._admin_port())
            keeping = asyncio.create_task(self._monitor.keep(self._admin_port))
            stack.push_async_callback(_cancelled, keeping)
            stopping = asyncio.create_task(stop.wait())
            stack.push_async_callback(_cancelled, stopping)
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()

    def _start_gateway(self, stack: contextlib.AsyncExitStack) -> Child:
        """Start the gateway."""
        command = [sys.executable, "-m", "gitops_serving.local.gateway", "--state", str(self._state.root)]
        child = Child(
            "the gateway",
            [*command, "--die-with-parent"],
            told=self._state.root / "gateway.json",
            log_path=self._state.logs / "gateway.log",
            changed=self._news.set,
        )
        stack.push_async_callback(child.stop)
        return child

    def _admin_port(self) -> int:
        """Tell the gateway's admin port; 0: it is away."""
        return int(self._gateway.where.get("admin_port", 0))

    def _gateway_url(self, port: str) -> str:
        """Write one of the gateway's addresses; empty: it is away."""
        return f"http://{LOOPBACK}:{self._gateway.where[port]}" if self._gateway.where else ""

    async def _serve(self, stack: contextlib.AsyncExitStack) -> str:
        """Serve the API, on the port of last time if it is free, and return its address."""
        secret = statedir.secret(self._state)
        runner = web.AppRunner(
            Api(self._store, secret).app, access_log=None, handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        ports = self._state.root / "api-port.json"
        try:
            await web.TCPSite(runner, LOOPBACK, read_json(ports) if ports.exists() else 0).start()
        except OSError:
            await web.TCPSite(runner, LOOPBACK, 0).start()
        port = runner.addresses[0][1]
        write_json(ports, port)
        return f"http://{LOOPBACK}:{port}/{secret}"

    async def _work(self) -> None:
        """Keep everything as the objects say, whatever goes wrong on the way: the gateway would die with this."""
        while True:
            self._news.clear()
            leaving: list[str] = []
            with _going_on("a look at the objects"):
                leaving = self._round()
            version = self._store.version
            with _going_on("giving the gateway its table"):
                if await self._push():
                    for key in leaving:
                        self._fleet.release(key)
            with _going_on("saying where everything listens"):
                self._announce()
            waits = [asyncio.create_task(self._news.wait()), asyncio.create_task(self._store.changed(version))]
            await asyncio.wait(waits, timeout=RESYNC_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for waiting in waits:
                await _cancelled(waiting)

    def _round(self) -> list[str]:
        """Run a pass of every component and start what is missing; the revisions that have to leave come back."""
        wanted: set[str] = set()
        services = {self._record_path(one): one for one in self._store.every(INFERENCE_SERVICE)}
        for path, record in list(self._records.items()):
            if path not in services or services[path]["metadata"]["uid"] != record.uid:
                with _going_on(f"forgetting {path.parent.name}/{path.stem}"):
                    self._forget(path, record)
        for path, service in services.items():
            with _going_on(f"the pass of {place(service)}"):
                self._pass(path, service)
            wanted |= self._start(path, service)
        return [key for key in self._fleet.names() if key not in wanted]

    def _pass(self, path: Path, service: Json) -> None:
        """Run one component's pass and put its record on disk."""
        world = components.World(
            store=self._store,
            scale=self._fleet.scale,
            elapsed=asyncio.get_running_loop().time(),
            now=stamp(),
            address=self._gateway_url("data_port"),
        )
        record = self._records.get(path) or components.blank(service)
        after = components.reconciled(record, service, world)
        if after != record or path not in self._records:
            self._records[path] = after
            write_json(path, components.to_json(after))

    def _start(self, path: Path, service: Json) -> set[str]:
        """See to it that every revision in reach has its processes; their keys come back."""
        record = self._records.get(path)
        names = record.component.reachable if record else frozenset()
        bodies = [self._store.get(REVISION, service["metadata"]["namespace"], name) for name in sorted(names)]
        found = [body for body in bodies if body is not None]
        for body in found:
            with _going_on(f"starting {place(body)}"):
                self._fleet.ensure(body)
        return {place(body) for body in found}

    def _forget(self, path: Path, record: Record) -> None:
        """Remove what is left of an InferenceService that is gone."""
        for body in components.own_revisions(self._store, path.parent.name, record.component.name):
            self._store.remove(REVISION, body)
        path.unlink(missing_ok=True)
        del self._records[path]

    def _table(self) -> Json:
        """Write the gateway's routing table."""
        services, revisions = {}, {}
        for path, record in self._records.items():
            namespace, named = path.parent.name, record.component.traffic
            targets = [{"revision": target.revision, "percent": target.percent} for target in named]
            services[f"{namespace}/{path.stem}"] = {"targets": targets}
            for target in named:
                body = self._store.get(REVISION, namespace, target.revision)
                gone = {"configuration": record.component.name, "replicas": [], "concurrency": 0}
                revisions[f"{namespace}/{target.revision}"] = entry(body) if body else gone
        return {"services": services, "revisions": {**revisions, **self._fleet.entries()}}

    async def _push(self) -> bool:
        """Send the gateway its table if it has another one; tell whether it has this one now."""
        wanted = (self._table(), self._gateway.where)
        if not self._gateway.where:
            return False
        if wanted == self._pushed:
            return True
        try:
            connector = aiohttp.UnixConnector(str(self._state.run / "gateway.sock"))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=TABLE_TIMEOUT) as session,
                session.put("http://gateway/table", json=wanted[0]) as answer,
            ):
                if answer.status != 200:
                    log.error("the gateway refused its table: %s", await answer.text())
                    return False
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("the gateway did not take its table and is asked again: %s", error)
            return False
        self._pushed = wanted
        return True

    async def _busy(self, key: str) -> int:
        """Ask the gateway how many requests a revision has in flight; a gateway that is down has none."""
        admin = self._gateway_url("admin_port")
        if not admin:
            return 0
        try:
            async with aiohttp.ClientSession(timeout=TABLE_TIMEOUT) as session, session.get(f"{admin}/table") as answer:
                loads = (await answer.json())["inflight"]
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
        return int(loads.get(key, {}).get("inflight", 0))

    def _announce(self) -> None:
        """Say where everything listens, once it does."""
        if not (self._gateway.where and self._monitor.url):
            return
        told = {
            "pid": os.getpid(),
            "api": self._api,
            "gateway": self._gateway_url("data_port"),
            "gatewayAdmin": self._gateway_url("admin_port"),
            "prometheus": self._monitor.url,
            "kubeconfig": str(self._state.kubeconfig),
            "started": self._started,
        }
        if told != self._told:
            self._told = told
            write_json(self._state.addresses, told)

    def _record_path(self, service: Json) -> Path:
        """Find the record of an InferenceService."""
        return self._state.records / f"{place(service)}.json"


@contextlib.contextmanager
def _going_on(doing: str) -> Iterator[None]:
    """Let what goes wrong with one thing be logged with its traceback, and all others go on."""
    try:
        yield
    except Exception:
        log.exception("%s failed; everything else goes on, and it is tried again", doing)


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait until it is."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _main(state: StateDir) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for sent in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sent, stop.set)
    await Cluster(state).run(stop)


def main() -> None:
    """Run the supervisor in the foreground."""
    parser = argparse.ArgumentParser(prog="gitops_serving.local.cluster", allow_abbrev=False)
    parser.add_argument("--state", type=Path, default=statedir.default_root(), metavar="DIR")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        state = statedir.prepare(options.state)
        with statedir.lock(state):
            asyncio.run(_main(state))
    except (statedir.StateError, PrometheusMissingError, PrometheusFailedError, TimeoutError, OSError) as error:
        raise SystemExit(f"the local cluster did not come up: {error}") from None


if __name__ == "__main__":
    main()
