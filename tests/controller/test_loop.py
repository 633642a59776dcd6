from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gitops_serving import shipped
from gitops_serving.controller.loop import AFTER_ENTRY, CONFLICTS_AT_ONCE, LEAST, Loop
from gitops_serving.controller.tick import Desk, look, tick
from gitops_serving.core.errors import Conflict, Unavailable
from gitops_serving.testing.clock import ManualClock
from gitops_serving.testing.cluster import FakeCluster
from gitops_serving.testing.metrics import FakeMetrics
from gitops_serving.testing.repository import FakeRepository
from gitops_serving.wiring import clock
from tests.cli.fleet import POLICY, environment, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gitops_serving.ports import Tree

SECONDS = 10.0  # of patience with this machine; a test that passes never waits for it
SERVICE = "clusters/demo/fraud/scorer.yaml"


class Gate(FakeRepository):
    """A repository that tells of each fetch, and can hold one up."""

    def __init__(self, *, interval: str = "1h") -> None:
        files = environment("demo", "fraud/scorer")
        path = "clusters/demo/cluster.yaml"
        files[path] = files[path].replace(b"spec:\n", f"spec:\n  interval: {interval}\n".encode())
        super().__init__({**files, "policies/brisk.yaml": POLICY}, at=ManualClock()())
        self.fetched: queue.Queue[int] = queue.Queue()
        self.fetches = 0
        self.open = threading.Event()
        self.open.set()

    def arrive(self) -> None:
        self.fetches += 1
        self.fetched.put(self.fetches)
        assert self.open.wait(SECONDS)


@dataclass(slots=True)
class Stage:
    """A loop on fakes, with the waits that it drew."""

    repository: Gate = field(default_factory=Gate)
    time: ManualClock = field(default_factory=ManualClock)
    draws: queue.Queue[tuple[float, float]] = field(default_factory=queue.Queue)
    wait: float = 0.0
    errors: list[Exception] = field(default_factory=list)  # raised by the next ticks in place of a desk
    cluster: FakeCluster = field(init=False)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    ended: threading.Condition = field(default_factory=threading.Condition)  # notified after each tick
    loop: Loop = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = FakeCluster(self.time)
        self.loop = Loop("demo", self.desk, clock=self.now, jitter=self.jitter)

    def now(self) -> datetime:
        """Tell real time; the loop asks when it plans, which is after a tick."""
        with self.ended:
            self.ended.notify_all()
        return clock()

    def plain_desk(self) -> Desk:
        return Desk(
            environment="demo",
            repository=self.repository,
            metrics=self.metrics,
            cluster=self.cluster,
            clock=self.time,
            shipped=shipped.packs(),
        )

    def scraped(self) -> None:
        """Let Prometheus scrape, and so much time pass that it is seen."""
        self.metrics.scrape(self.time())
        self.time.advance(20)

    def desk(self, _: Tree | None) -> Desk:
        """Give the desk at the beginning of a tick, or fail."""
        self.repository.arrive()
        if self.errors:
            raise self.errors.pop(0)
        return self.plain_desk()

    def jitter(self, least: float, most: float) -> float:
        self.draws.put((least, most))
        return self.wait

    def ticks(self, number: int) -> None:
        """Wait until this many ticks have begun."""
        while self.repository.fetched.get(timeout=SECONDS) < number:
            pass


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.repository.open.set()
    assert made.loop.stop(SECONDS)


def adopted(stage: Stage) -> None:
    """Bring the service up and adopt it, without the loop."""
    assert tick(stage.plain_desk()).appended


def await_true(found: Callable[[], bool], stage: Stage) -> None:
    """Wait until a tick has made something true; it is looked at after each tick."""
    stage.loop.wake()
    with stage.ended:
        assert stage.ended.wait_for(found, SECONDS)


def test_the_first_tick_comes_at_once_and_the_next_as_soon_as_something_was_appended(stage: Stage) -> None:
    stage.loop.start()
    stage.ticks(2)  # although the interval is an hour

    assert stage.repository.head.read("rollouts/demo/fraud/scorer.yaml") is not None


def test_a_lost_race_is_ticked_again_at_once(stage: Stage) -> None:
    stage.repository.before_append = lambda: stage.repository.push({"README.md": b"hello\n"})

    stage.loop.start()
    stage.ticks(2)
    await_true(lambda: stage.repository.head.read("rollouts/demo/fraud/scorer.yaml") is not None, stage)

    assert stage.draws.empty()


def test_races_lost_again_and_again_back_off(stage: Stage) -> None:
    stage.errors, stage.wait = [Conflict("moved")] * (CONFLICTS_AT_ONCE + 1), 3600.0

    stage.loop.start()
    stage.draws.get(timeout=SECONDS)

    assert stage.repository.fetches == CONFLICTS_AT_ONCE + 1


def test_waits_after_errors_are_drawn_from_a_range_that_grows_up_to_the_interval() -> None:
    stage = Stage()
    stage.errors = [Unavailable("no route to host")] * 7

    stage.loop.start()
    drawn = [stage.draws.get(timeout=SECONDS) for _ in range(7)]
    stage.loop.stop(SECONDS)

    assert drawn == [(0.5, 1.0), (0.5, 2.0), (0.5, 4.0), (0.5, 8.0), (0.5, 15.0), (0.5, 15.0), (0.5, 15.0)]


def test_a_tick_without_git_backs_off_and_one_with_it_ends_the_back_off(stage: Stage) -> None:
    adopted(stage)
    stage.repository.down = "no route to host"
    stage.loop.start()
    first, second = (stage.draws.get(timeout=SECONDS) for _ in range(2))

    stage.repository.down = None
    await_true(lambda: stage.loop.snapshot is not None and not stage.loop.snapshot.error, stage)
    while not stage.draws.empty():
        stage.draws.get()
    stage.repository.down = "no route to host"
    stage.loop.wake()

    assert (first, second) == ((0.5, 1.0), (0.5, 2.0))
    assert stage.draws.get(timeout=SECONDS) == (0.5, 1.0)


def test_a_wake_up_ticks_long_before_the_interval(stage: Stage) -> None:
    adopted(stage)
    stage.loop.start()
    stage.ticks(1)

    stage.loop.wake()

    stage.ticks(2)


def test_a_wake_up_during_a_tick_is_obeyed_after_it_and_never_beside_it(stage: Stage) -> None:
    adopted(stage)
    stage.repository.open.clear()
    stage.loop.start()
    stage.ticks(1)

    stage.loop.wake()
    stage.loop.wake()
    beside = stage.repository.fetches
    stage.repository.open.set()
    stage.ticks(2)

    assert beside == 1


def test_stopping_in_the_middle_of_a_tick_lets_it_end_and_starts_no_other(stage: Stage) -> None:
    stage.repository.open.clear()
    stage.loop.start()
    stage.ticks(1)
    ended: queue.Queue[bool] = queue.Queue()

    stopping = threading.Thread(target=lambda: ended.put(stage.loop.stop(SECONDS)))
    stopping.start()
    stage.repository.open.set()
    stage.loop.wake()

    assert ended.get(timeout=SECONDS)
    stopping.join(SECONDS)
    assert stage.repository.fetches == 1
    assert stage.repository.head.read("rollouts/demo/fraud/scorer.yaml") is not None  # the push was finished


def test_a_tick_that_does_not_end_is_reported(stage: Stage) -> None:
    stage.repository.open.clear()
    stage.loop.start()
    stage.ticks(1)

    assert not stage.loop.stop(0.0)


def test_a_stopped_loop_ignores_wake_ups(stage: Stage) -> None:
    adopted(stage)
    stage.loop.start()
    stage.ticks(1)
    stage.loop.stop(SECONDS)
    before = stage.repository.fetches

    stage.loop.wake()

    assert stage.repository.fetches == before
    assert not stage.loop._scheduler.running


def test_a_bug_does_not_end_the_loop(stage: Stage) -> None:
    adopted(stage)
    stage.errors = [RuntimeError("a bug")]

    with capture_logs() as logs:
        stage.loop.start()
        stage.ticks(2)
        await_true(lambda: stage.loop.snapshot is not None, stage)

    (failed,) = [line for line in logs if line["event"] == "failed"]
    assert failed["message"] == "RuntimeError: a bug"
    assert isinstance(failed["exc_info"], RuntimeError)
    assert [line["event"] for line in logs if line["event"] == "recovered"] == ["recovered"]


def test_only_what_changes_is_logged(stage: Stage) -> None:
    with capture_logs() as logs:
        stage.loop.start()
        stage.ticks(2)
        for number in range(3, 7):
            stage.loop.wake()
            stage.ticks(number)

    assert [(line["event"], line.get("entry") or line.get("phase")) for line in logs] == [
        ("appended", "rollout(fraud/scorer): adopt"),
        ("service", "New"),
        ("service", "Stable"),
    ]
    assert {line["environment"] for line in logs} == {"demo"}


def test_a_wrong_file_is_logged_once_with_its_place(stage: Stage) -> None:
    adopted(stage)
    stage.repository.push({SERVICE: b"{{ broken\n"})
    with capture_logs() as logs:
        stage.loop.start()
        stage.ticks(1)
        for number in range(2, 5):
            stage.loop.wake()
            stage.ticks(number)

    (line,) = [line for line in logs if line["event"] == "service"]
    assert line["log_level"] == "error"
    assert SERVICE in line["message"]


def test_what_the_cluster_refuses_is_logged_once_with_its_words(stage: Stage) -> None:
    """A first apply that was denied was in no log: only the tick itself learns of it, and it told nobody."""
    stage.cluster.refuses = lambda _: "denied by webhook"
    with capture_logs() as logs:
        stage.loop.start()
        stage.ticks(1)
        for number in range(2, 5):
            stage.loop.wake()
            stage.ticks(number)

    (line,) = [line for line in logs if line["event"] == "service"]
    assert (line["log_level"], line["phase"]) == ("error", "New")
    assert line["message"] == "the cluster refused what is due: denied by webhook"


def test_a_silent_cluster_is_logged_of_each_service(stage: Stage) -> None:
    adopted(stage)
    stage.cluster.down = "no route to host"
    with capture_logs() as logs:
        stage.loop.start()
        stage.ticks(1)
        stage.loop.wake()
        stage.ticks(2)

    assert [line["message"] for line in logs if line["event"] == "service"] == ["no route to host"]


def test_the_dwell_of_a_step_is_met_to_the_second(stage: Stage) -> None:
    """The interval is an hour, the dwell a minute: the loop wakes when the minute is over."""
    adopted(stage)
    stage.repository.push({SERVICE: manifest("fraud/scorer", "2")}, at=stage.time())
    stage.scraped()
    assert tick(stage.plain_desk()).appended
    stage.time.advance(40)
    snapshot = look(stage.plain_desk(), stage.repository.head, stage.time())

    assert stage.loop._pause(snapshot, stage.time()) == timedelta(seconds=20)
    assert stage.loop._pause(snapshot, stage.time() + timedelta(seconds=60)) == LEAST
    assert stage.loop._pause(replace(snapshot, appended=("x",)), stage.time()) == AFTER_ENTRY


def test_an_instant_that_was_seen_already_wakes_nobody(stage: Stage) -> None:
    adopted(stage)
    stage.repository.push({SERVICE: manifest("fraud/scorer", "2")}, at=stage.time())
    stage.scraped()
    assert tick(stage.plain_desk()).appended
    stage.time.advance(61)
    snapshot = look(stage.plain_desk(), stage.repository.head, stage.time())

    patience = timedelta(minutes=6)  # the dwell is over, and the next thing that time does is to end the patience
    assert stage.loop._pause(snapshot, stage.time()) == patience
    assert stage.loop._pause(snapshot, stage.time() + 2 * patience) == LEAST


def test_the_interval_follows_the_file_in_git(stage: Stage) -> None:
    adopted(stage)
    path = "clusters/demo/cluster.yaml"
    source = stage.repository.head.read(path) or b""
    stage.repository.push({path: source.replace(b"interval: 1h", b"interval: 7s")})
    snapshot = look(stage.plain_desk(), stage.repository.head, stage.time())

    assert stage.loop._pause(snapshot, stage.time()) == timedelta(seconds=7)


def test_an_instant_is_handed_on_once(stage: Stage) -> None:
    """A due instant that is named again at once keeps the library busy for ever."""
    adopted(stage)
    stage.loop.start()
    stage.ticks(1)
    await_true(lambda: stage.loop._planned is not None, stage)
    now = clock()
    with stage.loop._lock:
        stage.loop._planned = due = now - timedelta(seconds=1)

    assert stage.loop.next_tick(None, now) == due
    assert stage.loop.next_tick(due, now) > now + timedelta(minutes=1)
