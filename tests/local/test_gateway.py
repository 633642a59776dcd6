"""A real gateway process before real model servers on unix sockets; nothing here is simulated but the models."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from tests.local.serving import Gateway, eventually, gateway, in_loop, short_directory, table, upstream
from tests.local.test_exposition import total

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture
def state() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


SERVING = "/serving/fraud/scorer"


def done(tasks: list[asyncio.Task[Any]]) -> int:
    return sum(task.done() for task in tasks)


def reached(answers: list[Any], goal: int) -> bool:
    return len(answers) >= goal


async def busy(gate: Gateway, revision: str, **at_least: int) -> bool:
    load = await gate.load(revision)
    return all(load[what] >= count for what, count in at_least.items())


@in_loop
async def test_the_split_is_exact_and_counted_everywhere(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "new") as (new, _), upstream(state, "old") as (old, _):
        assert await gate.put(table({"new": 10, "old": 90}, {"new": [new], "old": [old]})) == 200
        limit = asyncio.Semaphore(16)

        async def one() -> tuple[int, str | None]:
            async with limit:
                return await gate.get(f"{gate.data}{SERVING}/v1/models/scorer")

        answers = await asyncio.gather(*(one() for _ in range(500)))
        assert sorted(set(answers)) == [(200, "new"), (200, "old")]
        assert answers.count((200, "new")) == 50
        (epoch,) = (await gate.admin_json("/counts"))["fraud/scorer"]
        assert epoch["targets"] == {"new": 10, "old": 90}
        assert epoch["requests"] == {"new": {"2xx": 50, "4xx": 0, "5xx": 0}, "old": {"2xx": 450, "4xx": 0, "5xx": 0}}
        samples = await gate.samples()
        assert total(samples, "revision_request_count", revision_name="new", response_code="200") == 50
        assert total(samples, "revision_request_latencies_count", revision_name="old", response_code_class="2xx") == 450
        assert total(samples, "http_server_request_duration_seconds_count", revision_name="old") == 450
        assert total(samples, "revision_request_count", response_code_class="5xx") == 0


@in_loop
async def test_a_request_and_its_answer_pass_unchanged(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "one") as (one, _):
        await gate.put(table({"one": 100}, {"one": [one]}))
        zipped = gzip.compress(b'{"instances": []}')
        headers = {
            "Host": "scorer.fraud.example.com",
            "Content-Encoding": "gzip",
            "Content-Type": "application/json",
            "Connection": "keep-alive, X-Mine",
            "X-Mine": "1",
            "X-Request-Id": "abc",
        }
        url = URL(f"{gate.data}/v1/models/a%2Fb:predict?hop=1&x=%20", encoded=True)
        async with gate.client.post(url, data=zipped, headers=headers) as response:
            seen = await response.json()
            assert response.headers["X-Upstream"] == "one"
            assert response.headers["x-served-by-revision"] == "one"
            assert "X-Private" not in response.headers
        assert seen["method"] == "POST"
        assert seen["path"] == "/v1/models/a%2Fb:predict?hop=1&x=%20"
        assert seen["bytes"] == len(zipped)
        assert seen["headers"]["Host"] == "scorer.fraud.example.com"
        assert seen["headers"]["X-Request-ID"] == "abc"
        assert seen["headers"]["Content-Encoding"] == "gzip"
        assert "X-Mine" not in seen["headers"]
        async with gate.client.post(f"{gate.data}{SERVING}/x", data=io.BytesIO(b"z" * (5 << 20))) as response:
            assert (await response.json())["bytes"] == 5 << 20
        async with gate.client.get(f"{gate.data}{SERVING}/x?stream=40") as response:
            assert len(await response.read()) == 40 * 65536
        async with gate.client.head(f"{gate.data}{SERVING}/x") as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) > 0
        async with gate.client.get(f"{gate.data}{SERVING}/x?code=302") as response:
            assert response.status == 302


@in_loop
async def test_an_unknown_address_is_a_404_that_says_what_to_do(state: Path) -> None:
    async with gateway(state) as gate:
        assert (await gate.get(f"{gate.data}/serving/fraud/typo/v1/models"))[0] == 503  # nobody knows any address yet
        await gate.put(table({}, {}))
        async with gate.client.get(f"{gate.data}/serving/fraud/typo/v1/models") as response:
            assert response.status == 404
            text = (await response.json())["error"]
            assert "/serving/fraud/typo/v1/models" in text
            assert "fraud/scorer" in text
        assert (await gate.get(f"{gate.data}{SERVING}/v1"))[0] == 503
        assert await gate.admin_json("/healthz") == {"status": "ok"}


@in_loop
async def test_a_request_that_is_too_large_is_refused_in_json(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "one") as (one, _):
        await gate.put(table({"one": 100}, {"one": [one]}))
        async with gate.client.post(f"{gate.data}{SERVING}/x", data=io.BytesIO(b"z" * ((64 << 20) + 1))) as response:
            assert response.status == 413
            assert "64 MiB" in (await response.json())["error"]


@in_loop
async def test_a_faulty_table_leaves_the_one_before_in_force(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "one") as (one, _):
        good = table({"one": 100}, {"one": [one]})
        assert await gate.put(good) == 200
        assert await gate.put(table({"one": 99}, {"one": [one]})) == 400
        assert await gate.put(table({"two": 100}, {"one": [one]})) == 400
        assert (await gate.admin_json("/table"))["table"] == good
        assert await gate.get(f"{gate.data}{SERVING}/x") == (200, "one")


@in_loop
async def test_twelve_weight_changes_under_load_lose_no_request(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "new") as (new, _), upstream(state, "old") as (old, _):
        replicas = {"new": [new], "old": [old]}
        weights = [0, 5, 10, 20, 35, 50, 65, 80, 90, 100, 50, 0]
        await gate.put(table({"new": 1, "old": 99}, replicas))
        answers: list[tuple[int, str | None]] = []
        running = True

        async def client() -> None:
            while running:
                answers.append(await gate.get(f"{gate.data}{SERVING}/x?slow=0.002"))

        clients = [asyncio.create_task(client()) for _ in range(16)]
        for weight in weights:
            goal = len(answers) + 100
            await eventually(functools.partial(reached, answers, goal))
            await gate.put(table({"new": weight, "old": 100 - weight}, replicas))
        running = False
        await asyncio.gather(*clients)
        assert {code for code, _ in answers} == {200}
        epochs = (await gate.admin_json("/counts"))["fraud/scorer"]
        assert [epoch["targets"]["new"] for epoch in epochs] == [1, *weights]
        assert [epoch["since"] for epoch in epochs] == sorted(epoch["since"] for epoch in epochs)
        for epoch in epochs:
            served = {name: counts["2xx"] for name, counts in epoch["requests"].items()}
            assert abs(served["new"] - sum(served.values()) * epoch["targets"]["new"] / 100) < 1
        assert sum(counts["2xx"] for epoch in epochs for counts in epoch["requests"].values()) == len(answers)


@in_loop
async def test_a_revision_without_replicas_holds_its_requests_and_no_others(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "old") as (old, _):
        await gate.put(table({"new": 50, "old": 50}, {"new": [], "old": [old]}))
        asked = [asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x")) for _ in range(20)]
        await eventually(lambda: done(asked) == 10)
        await eventually(lambda: busy(gate, "new", held=10))
        assert await gate.load("new") == {"inflight": 10, "held": 10, "replicas": {}}
        assert [task.result() for task in asked if task.done()] == [(200, "old")] * 10
        async with upstream(state, "new") as (new, _):
            await gate.put(table({"new": 50, "old": 50}, {"new": [new], "old": [old]}))
            answers = await asyncio.gather(*asked)
        assert answers.count((200, "new")) == 10


@in_loop
async def test_a_hold_ends_with_504_and_an_overflow_with_503(state: Path) -> None:
    async with gateway(state, "--hold-seconds", "3") as gate:
        await gate.put(table({"new": 100}, {"new": []}))
        answers = await asyncio.gather(*(gate.get(f"{gate.data}{SERVING}/x") for _ in range(105)))
        assert answers.count((504, "new")) == 100
        assert answers.count((503, "new")) == 5
        (epoch,) = (await gate.admin_json("/counts"))["fraud/scorer"]
        assert epoch["requests"]["new"] == {"2xx": 0, "4xx": 0, "5xx": 105}


@in_loop
async def test_a_killed_replica_costs_its_own_revision_and_is_not_failed_over(state: Path) -> None:
    async with gateway(state, "--hold-seconds", "30") as gate, upstream(state, "old") as (old, _):
        async with upstream(state, "new") as (new, child):
            weights, replicas = {"new": 50, "old": 50}, {"new": [new], "old": [old]}
            await gate.put(table(weights, replicas))
            caught = [asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x?slow=20")) for _ in range(8)]
            await eventually(lambda: busy(gate, "new", inflight=4))
            child.send_signal(signal.SIGKILL)
            await child.wait()
        await eventually(lambda: done(caught) == 4)
        assert [task.result() for task in caught if task.done()] == [(502, "new")] * 4
        # Its socket refuses now: these wait for it to come back, and half of them would be answered if they moved.
        later = [asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x")) for _ in range(10)]
        await eventually(lambda: done(later) == 5)
        assert {task.result() for task in later if task.done()} == {(200, "old")}
        async with upstream(state, "new"):
            answers = await asyncio.gather(*later)
        assert answers.count((200, "new")) == 5
        requests = (await gate.admin_json("/counts"))["fraud/scorer"][-1]["requests"]
        assert requests["new"] == {"2xx": 5, "4xx": 0, "5xx": 4}
        assert requests["old"] == {"2xx": 5, "4xx": 0, "5xx": 0}
        samples = await gate.samples()
        assert total(samples, "revision_request_count", revision_name="new", response_code="502") == 4
        assert total(samples, "revision_request_count", revision_name="old", response_code_class="5xx") == 0
        for task in caught:
            task.cancel()


@in_loop
async def test_an_answer_that_breaks_off_counts_as_502(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "one") as (one, _):
        await gate.put(table({"one": 100}, {"one": [one]}))
        with pytest.raises(aiohttp.ClientError):
            await gate.get(f"{gate.data}{SERVING}/x?half=1")
        assert (await gate.get(f"{gate.data}{SERVING}/x?code=418"))[0] == 418
        (epoch,) = (await gate.admin_json("/counts"))["fraud/scorer"]
        assert epoch["requests"]["one"] == {"2xx": 0, "4xx": 1, "5xx": 1}


@in_loop
async def test_a_replica_takes_no_more_than_its_concurrency(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "a") as (first, _), upstream(state, "b") as (second, _):
        await gate.put(table({"one": 100}, {"one": [first, second]}, concurrency=1))
        asked = [asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x?slow=0.2")) for _ in range(6)]
        seen = []
        while not all(task.done() for task in asked):
            seen.append(await gate.load("one"))
            await asyncio.sleep(0.01)
        assert max(load["replicas"][path] for load in seen for path in (first, second)) == 1
        assert max(load["held"] for load in seen) == 4
        assert {task.result() for task in asked} == {(200, "one")}


@in_loop
async def test_an_old_revision_finishes_what_it_has_and_shows_when_it_is_done(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "old") as (old, _), upstream(state, "new") as (new, _):
        await gate.put(table({"old": 100}, {"old": [old]}))
        slow = asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x?slow=1"))
        await eventually(lambda: busy(gate, "old", inflight=1))
        await gate.put(table({"new": 100}, {"new": [new]}))
        assert await gate.load("old") == {"inflight": 1, "held": 0, "replicas": {old: 1}}
        assert await gate.get(f"{gate.data}{SERVING}/x") == (200, "new")
        assert await slow == (200, "old")
        assert "fraud/old" not in (await gate.admin_json("/table"))["inflight"]
        first, second = (await gate.admin_json("/counts"))["fraud/scorer"]
        assert first["requests"]["old"]["2xx"] == 1
        assert second["requests"]["new"]["2xx"] == 1


@in_loop
async def test_what_waits_for_a_withdrawn_revision_is_answered_at_once(state: Path) -> None:
    async with gateway(state) as gate:
        await gate.put(table({"new": 100}, {"new": []}))
        waiting = asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x"))
        await eventually(lambda: busy(gate, "new", held=1))
        await gate.put(table({}, {}))
        async with asyncio.timeout(5):
            assert await waiting == (503, "new")


@in_loop
async def test_sigterm_finishes_what_is_in_flight_and_accepts_nothing_new(state: Path) -> None:
    async with gateway(state) as gate, upstream(state, "one") as (one, _):
        await gate.put(table({"one": 100}, {"one": [one]}))
        slow = asyncio.create_task(gate.get(f"{gate.data}{SERVING}/x?slow=1"))
        await eventually(lambda: busy(gate, "one", inflight=1))
        gate.process.terminate()
        await eventually(lambda: not (state / "gateway.json").exists())
        async with aiohttp.ClientSession() as fresh:
            with pytest.raises(aiohttp.ClientConnectorError):
                await fresh.get(f"{gate.data}{SERVING}/x")
        assert await slow == (200, "one")
        assert await asyncio.wait_for(gate.process.wait(), 10) == 0


@in_loop
async def test_it_listens_where_it_listened_last_or_elsewhere_if_that_is_taken(state: Path) -> None:
    async with gateway(state) as first:
        first.process.kill()
        await first.process.wait()
        (state / "gateway.json").unlink()
        async with gateway(state) as second:
            assert (second.data, second.admin) == (first.data, first.admin)
            (state / "gateway.json").unlink()
            async with gateway(state) as third:  # while the second is there
                assert {third.data, third.admin}.isdisjoint({second.data, second.admin})


@in_loop
async def test_it_may_have_as_many_connections_as_the_machine_allows(state: Path) -> None:
    """Beyond the soft limit libuv closes the socket that it listens on: nobody would reach the gateway any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        async with gateway(state) as gate:
            assert resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@in_loop
async def test_only_its_owner_reaches_the_control_socket(state: Path) -> None:
    async with gateway(state) as gate:
        assert (state / "run").stat().st_mode & 0o777 == 0o700
        assert Path(gate.control) == state / "run" / "gateway.sock"
        async with gate.client.put(f"{gate.admin}/table", json=table({}, {})) as response:
            assert response.status == 405


@in_loop
async def test_a_state_directory_with_too_long_a_path_is_refused(state: Path) -> None:
    deep = state / ("d" * 120)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gitops_serving.local.gateway", "--state", str(deep)), stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    assert child.returncode == 1
    assert b"shorter path" in said
