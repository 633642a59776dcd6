from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gitops_serving.local.load import Plan, Tally, run
from tests.local.serving import eventually, in_loop, names_in, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Endpoint:
    """A real server that remembers what it was asked and answers as it is told."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.bodies: list[bytes] = []
        self.hosts: list[str] = []
        self.arrivals: list[float] = []
        self.open = asyncio.Event()
        self.open.set()

    async def answer(self, request: web.Request) -> web.Response:
        number = next(self.numbers)
        self.arrivals.append(asyncio.get_running_loop().time())
        self.bodies.append(await request.read())
        self.hosts.append(request.headers["Host"])
        await self.open.wait()
        code = 500 if number % 10 == 9 else 200
        return web.Response(status=code, headers={"x-served-by-revision": "new" if number % 4 == 0 else "old"})


@asynccontextmanager
async def serving(service: Endpoint) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/predict", service.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/predict"
    finally:
        await runner.cleanup()


@in_loop
async def test_every_request_is_counted_by_status_and_by_revision() -> None:
    service = Endpoint()
    async with serving(service) as url:
        report = await run(Plan(url, 200, [b"1", b"2", b"3"], seconds=0.2), asyncio.Event())
    assert report["sent"] == report["answered"] == len(service.bodies) == 40
    assert report["statuses"] == {"2xx": 36, "4xx": 0, "5xx": 4, "error": 0}
    assert {name: sum(counts.values()) for name, counts in report["revisions"].items()} == {"new": 10, "old": 30}
    assert Counter(service.bodies) == {b"1": 14, b"2": 13, b"3": 13}


@in_loop
async def test_a_stalled_service_delays_no_arrival_and_its_stall_is_seen() -> None:
    service = Endpoint()
    service.open.clear()
    async with serving(service) as url:
        running = asyncio.create_task(run(Plan(url, 100, [b"{}"], seconds=0.5), asyncio.Event()))
        await eventually(lambda: len(service.arrivals) == 50)
        assert service.arrivals[-1] - service.arrivals[0] > 0.3
        service.open.set()
        report = await running
    assert report["answered"] == 50
    # The first request waited for about half a second, the middle one for half of that.
    assert report["latency_ms"]["max"] >= 400
    assert report["latency_ms"]["p50"] >= 150


@in_loop
async def test_a_seed_repeats_its_draw_of_bodies() -> None:
    draws = []
    for seed in (7, 7, 8):
        service = Endpoint()
        async with serving(service) as url:
            bodies = [str(number).encode() for number in range(50)]
            await run(Plan(url, 50, bodies, seconds=0.3, seed=seed, host="scorer.fraud"), asyncio.Event())
        draws.append(sorted(service.bodies))
        assert set(service.hosts) == {"scorer.fraud"}
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@in_loop
async def test_a_service_that_is_not_there_is_an_error_and_no_crash() -> None:
    service = Endpoint()
    async with serving(service) as url:
        pass
    report = await run(Plan(url, 100, [b"{}"], seconds=0.1), asyncio.Event())
    assert report["statuses"]["error"] == report["sent"] == 10
    assert report["revisions"] == {}


@in_loop
async def test_a_stop_ends_an_endless_plan() -> None:
    service = Endpoint()
    stop = asyncio.Event()
    async with serving(service) as url:
        running = asyncio.create_task(run(Plan(url, 100, [b"{}"]), stop))
        await eventually(lambda: len(service.bodies) >= 10)
        stop.set()
        report = await asyncio.wait_for(running, 10)
    assert report["answered"] == report["sent"] == len(service.bodies)


def test_quantiles_are_right_to_two_percent() -> None:
    tally = Tally(Plan("http://127.0.0.1", 1, [b""]))
    assert tally.document()["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    for latency in range(1, 1_001):
        tally.answer("2xx", None, float(latency))
    shown = tally.document()["latency_ms"]
    assert shown["p50"] == pytest.approx(500, rel=0.021)
    assert shown["p95"] == pytest.approx(950, rel=0.021)
    assert shown["p99"] == pytest.approx(990, rel=0.021)
    assert shown["max"] == 1_000


@pytest.mark.slow
@in_loop
async def test_the_program_keeps_its_report_whole_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    service, out, body = Endpoint(), tmp_path / "load.json", tmp_path / "bodies.jsonl"
    body.write_text('{"instances": [[1]]}\n\n{"instances": [[2]]}\n', encoding="utf-8")
    async with (
        serving(service) as url,
        process(
            *("-m", "gitops_serving.local.load", "--url", url, "--rate", "50", "--body", str(body)),
            *("--out", str(out), "--die-with-parent"),
        ) as child,
    ):
        sent: list[int] = []

        def grown() -> bool:
            if out.exists():
                sent.append(json.loads(out.read_text(encoding="utf-8"))["sent"])
            return len(set(sent)) >= 3

        await eventually(grown)
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 10) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["answered"] == report["sent"] == len(service.bodies)
    assert report["sent"] >= max(sent)
    assert set(service.bodies) == {b'{"instances": [[1]]}', b'{"instances": [[2]]}'}
    assert names_in(tmp_path) == ["bodies.jsonl", "load.json"]


@pytest.mark.slow
@in_loop
async def test_a_file_without_bodies_is_refused(tmp_path: Path) -> None:
    body = tmp_path / "empty.jsonl"
    body.write_text("\n", encoding="utf-8")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gitops_serving.local.load", "--url", "http://127.0.0.1:1", "--body", str(body)),
        *("--out", str(tmp_path / "out.json")),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await child.communicate()
    assert child.returncode == 2
    assert b"one JSON document per line" in said
