"""Requests at a constant rate, whatever the answers do: load for demos and tests.

The loop is open: each request has its instant, and a slow answer delays none of those that follow. Its latency counts
from that instant, so a service that stalls for a second shows a second for everybody who would have come meanwhile,
which a client that waits for its answers would never have noticed.

`python -m gitops_serving.local.load --url URL --rate 25 --body FILE --out JSON` runs until SIGTERM or `--seconds`; the
JSON is complete after every second. The module knows nothing of models: a body is a line of a file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from gitops_serving.local.descriptors import allow_many
from gitops_serving.local.tether import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REVISION_HEADER = "x-served-by-revision"
# Longer than the gateway holds a request, so that a 504 is its answer and not ours.
TIMEOUT_SECONDS = 75.0
# At 25 requests a second and a service that answers nothing, this is reached after three minutes of silence.
MAX_OUTSTANDING = 5_000
FLUSH_SECONDS = 1.0
# How long a stopped generator waits for answers that are on their way.
STOP_SECONDS = 2.0
# Latencies are counted in buckets that are 2 percent wide: any quantile to that precision, in constant memory.
_GROWTH = math.log(1.02)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send; `seconds` None means until stopped, `host` empty means that of the URL."""

    url: str
    rate: float
    bodies: Sequence[bytes]
    seconds: float | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    """The seed of a random order of bodies; None sends them in turn."""
    host: str = field(default="", kw_only=True)


class Tally:
    """What has been sent and how it was answered."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._started = datetime.now(UTC)
        self._buckets: Counter[int] = Counter()
        self._worst_ms = 0.0
        self._statuses = Counter({"2xx": 0, "4xx": 0, "5xx": 0, "error": 0})
        self._revisions: dict[str, Counter[str]] = {}
        self.sent = 0
        self.dropped = 0

    def answer(self, status: str, revision: str | None, latency_ms: float) -> None:
        """Count one answer; a status is a class such as 2xx, or error where none came."""
        self._statuses[status] += 1
        if revision is not None:
            self._revisions.setdefault(revision, Counter())[status] += 1
        self._buckets[max(0, math.ceil(math.log(max(latency_ms, 1e-3) * 1e3) / _GROWTH))] += 1
        self._worst_ms = max(self._worst_ms, latency_ms)

    def document(self) -> dict[str, Any]:
        """Show the tally as JSON; latencies are null before the first answer."""
        answered = self._statuses.total()
        return {
            "url": self._plan.url,
            "rate": self._plan.rate,
            "started": self._started.isoformat(timespec="milliseconds"),
            "seconds": round((datetime.now(UTC) - self._started).total_seconds(), 3),
            "sent": self.sent,
            "answered": answered,
            "outstanding": self.sent - answered,
            "dropped": self.dropped,
            "statuses": dict(self._statuses),
            "revisions": {name: dict(counts) for name, counts in sorted(self._revisions.items())},
            "latency_ms": {
                "p50": self._quantile(0.5),
                "p95": self._quantile(0.95),
                "p99": self._quantile(0.99),
                "max": round(self._worst_ms, 3) if answered else None,
            },
        }

    def _quantile(self, share: float) -> float | None:
        rank = math.ceil(self._buckets.total() * share)
        passed = 0
        for bucket in sorted(self._buckets):
            passed += self._buckets[bucket]
            if passed >= rank:
                return round(min(math.exp(bucket * _GROWTH) / 1e3, self._worst_ms), 3)
        return None


async def run(plan: Plan, stop: asyncio.Event, *, out: Path | None = None) -> dict[str, Any]:
    """Send until `stop` is set or the plan's time is over, wait for the answers, and report.

    With `out`, the report is also written there every second and at the end, each time complete.
    """
    tally = Tally(plan)
    requests: set[asyncio.Task[None]] = set()
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        flusher = asyncio.create_task(_flush(tally, out))
        try:
            await _arrive(plan, tally, stop, session=session, requests=requests)
            await _settle(requests, stop)
        finally:
            late = (flusher, *requests)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
    if out is not None:
        _write(out, tally.document())
    return tally.document()


async def _arrive(
    plan: Plan, tally: Tally, stop: asyncio.Event, *, session: aiohttp.ClientSession, requests: set[asyncio.Task[None]]
) -> None:
    """Start each request at its instant; one that is late starts at once and its lateness counts."""
    bodies = _bodies(plan)
    start = asyncio.get_running_loop().time()
    for number in itertools.count():
        offset = number / plan.rate
        if plan.seconds is not None and offset >= plan.seconds:
            return
        if await _stopped_before(stop, start + offset):
            return
        if len(requests) >= MAX_OUTSTANDING:
            tally.dropped += 1
            continue
        tally.sent += 1
        request = asyncio.create_task(_request(plan, tally, session, body=next(bodies), due=start + offset))
        requests.add(request)
        request.add_done_callback(requests.discard)


async def _request(plan: Plan, tally: Tally, session: aiohttp.ClientSession, *, body: bytes, due: float) -> None:
    headers = {"Content-Type": "application/json"} | ({"Host": plan.host} if plan.host else {})
    revision = None
    try:
        async with session.post(plan.url, data=body, headers=headers, allow_redirects=False) as response:
            revision = response.headers.get(REVISION_HEADER)
            await response.read()
            status = f"{response.status // 100}xx"
    except (aiohttp.ClientError, TimeoutError):
        status = "error"
    tally.answer(status, revision, (asyncio.get_running_loop().time() - due) * 1_000)


async def _stopped_before(stop: asyncio.Event, due: float) -> bool:
    delay = due - asyncio.get_running_loop().time()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(delay, 0.0))
    # A generator that is behind must still let its requests run.
    await asyncio.sleep(0)
    return stop.is_set()


async def _settle(requests: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for the answers that are still to come, for long if the time was over and shortly if told to stop."""
    if requests and not stop.is_set():
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(asyncio.wait(set(requests))),
            asyncio.create_task(stop.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    if requests:
        await asyncio.wait(requests, timeout=STOP_SECONDS)


async def _flush(tally: Tally, out: Path | None) -> None:
    while out is not None:
        _write(out, tally.document())
        await asyncio.sleep(FLUSH_SECONDS)


def _bodies(plan: Plan) -> Iterator[bytes]:
    if plan.seed is None:
        yield from itertools.cycle(plan.bodies)
    draw = random.Random(plan.seed)  # noqa: S311  # a repeatable order, no secret
    while True:
        yield draw.choice(plan.bodies)


def _write(out: Path, document: dict[str, Any]) -> None:
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    draft.replace(out)


def main() -> None:
    """Send load until SIGTERM, SIGINT or the end of the given time."""
    parser = argparse.ArgumentParser(prog="gitops_serving.local.load", allow_abbrev=False)
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", default="", help="a Host header other than that of the URL")
    parser.add_argument("--rate", type=float, default=25.0, help="requests per second")
    parser.add_argument("--body", type=Path, required=True, metavar="FILE", help="one JSON body in each line")
    parser.add_argument("--seed", type=int, help="draw the bodies at random with this seed instead of in turn")
    parser.add_argument("--seconds", type=float, help="stop by itself after this time")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    parser.add_argument("--die-with-parent", action="store_true", help="end with the process that started this one")
    options = parser.parse_args()
    bodies = [line for line in options.body.read_bytes().splitlines() if line.strip()]
    if not bodies:
        parser.error(f"{options.body} has no body in it; write one JSON document per line")
    if options.rate <= 0:
        parser.error("the rate must be above 0 requests per second")
    if options.die_with_parent:
        die_with_parent()
    allow_many()
    plan = Plan(options.url, options.rate, bodies, seconds=options.seconds, seed=options.seed, host=options.host)
    asyncio.run(_until_signal(plan, options.out))


async def _until_signal(plan: Plan, out: Path) -> None:
    stop = asyncio.Event()
    for sent in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sent, stop.set)
    await run(plan, stop, out=out)


if __name__ == "__main__":
    main()
