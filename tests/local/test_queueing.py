from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gitops_serving.local.queueing import QUEUE_LENGTH, Held, Queue, Queues
from gitops_serving.local.routing import Revision
from tests.local.serving import eventually, in_loop

NOBODY = Revision("fraud", "new", "scorer-predictor")


def of(*replicas: str, concurrency: int = 0) -> Revision:
    return replace(NOBODY, replicas=replicas, concurrency=concurrency)


def later(seconds: float = 30) -> float:
    return asyncio.get_running_loop().time() + seconds


@in_loop
async def test_the_least_busy_replica_is_taken() -> None:
    queue = Queue(of("a", "b"))
    taken = [await queue.take(later()) for _ in range(4)]
    assert sorted(map(str, taken)) == ["a", "a", "b", "b"]
    queue.give_back("b")
    assert await queue.take(later()) == "b"


@in_loop
async def test_who_waited_first_is_served_first() -> None:
    queue = Queue(of("a", concurrency=1))
    assert await queue.take(later()) == "a"
    order: list[int] = []

    async def wait(number: int) -> None:
        assert await queue.take(later()) == "a"
        order.append(number)
        queue.give_back("a")

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await eventually(lambda: queue.load().held == 5)
    queue.give_back("a")
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    assert queue.load().inflight == 0


@in_loop
async def test_the_queue_is_bounded_and_its_requests_time_out() -> None:
    queue = Queue(NOBODY)
    results = await asyncio.gather(*(queue.take(later(0.05)) for _ in range(QUEUE_LENGTH + 3)))
    assert results.count(Held.OVERFLOW) == 3
    assert results.count(Held.TIMEOUT) == QUEUE_LENGTH
    assert queue.load().held == 0


@in_loop
async def test_a_replica_that_refused_is_left_alone_until_it_is_forgiven() -> None:
    queue = Queue(of("a", "b"))
    assert await queue.take(later()) == "a"
    assert queue.refuse("a")
    assert not queue.refuse("a")
    queue.give_back("a")
    assert [await queue.take(later()) for _ in range(3)] == ["b", "b", "b"]
    queue.update(of("a", "b", "c"))
    assert queue.refuses("a")
    assert await queue.take(later()) == "c"
    queue.forgive("a")
    assert await queue.take(later()) == "a"


@in_loop
async def test_what_waits_for_a_refusing_replica_goes_on_when_it_is_forgiven() -> None:
    queue = Queue(of("a"))
    assert queue.refuse("a")
    waiting = asyncio.create_task(queue.take(later()))
    await eventually(lambda: queue.load().held == 1)
    queue.forgive("a")
    assert await waiting == "a"


@in_loop
async def test_a_replica_that_left_the_table_is_not_looked_for() -> None:
    queue = Queue(of("a", "b"))
    assert queue.refuse("a")
    queue.update(of("b"))
    assert not queue.refuses("a")
    assert not queue.refuse("a")


@in_loop
async def test_a_new_entry_in_the_table_lets_the_waiting_in() -> None:
    queue = Queue(NOBODY)
    waiting = [asyncio.create_task(queue.take(later())) for _ in range(3)]
    await eventually(lambda: queue.load().held == 3)
    queue.update(of("a", concurrency=2))
    await eventually(lambda: sum(task.done() for task in waiting) == 2)
    assert queue.load().replicas == {"a": 2}
    queue.give_back("a")
    assert await asyncio.gather(*waiting) == ["a", "a", "a"]


@in_loop
async def test_a_request_that_is_given_up_in_the_moment_of_its_turn_blocks_nobody() -> None:
    queue = Queue(of("a", concurrency=1))
    assert await queue.take(later()) == "a"
    waiting = asyncio.create_task(queue.take(later()))
    await eventually(lambda: queue.load().held == 1)
    queue.give_back("a")
    assert queue.load().replicas == {"a": 1}
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert queue.load().replicas == {"a": 0}
    assert await queue.take(later()) == "a"


@in_loop
async def test_a_withdrawn_revision_answers_what_waits_and_is_gone_when_it_is_done() -> None:
    queues = Queues()
    queues.follow([of("a", concurrency=1)])
    queue = queues.of("fraud/new")
    assert await queue.take(later()) == "a"
    waiting = asyncio.create_task(queue.take(later()))
    await eventually(lambda: queue.load().held == 1)
    queues.follow([])
    assert await waiting is Held.WITHDRAWN
    assert await queue.take(later()) is Held.WITHDRAWN
    assert queues.replicas_in_use() == {"a"}
    queue.give_back("a")
    assert queues.loads() == {}


@in_loop
async def test_a_revision_that_returns_is_served_again() -> None:
    queues = Queues()
    queues.follow([of("a")])
    queue = queues.of("fraud/new")
    assert await queue.take(later()) == "a"
    queues.follow([])
    queues.follow([of("b")])
    assert queues.of("fraud/new") is queue
    assert await queue.take(later()) == "b"
    assert queue.load().replicas == {"a": 1, "b": 1}
