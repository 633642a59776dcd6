"""When to tick: at an interval, when woken, when a dwell is over, and later after errors.

The only door to APScheduler.  One loop serves one environment with one thread, and
one tick runs at a time.  What a tick does is not known here, and nothing that
matters is remembered: a loop that is killed at any point is replaced by a new one.

    appended something      look again at once: the cluster answers it
    Conflict                tick again at once, a few times, then as after an error
    any other error         wait between half a second and the interval, drawn at random
    otherwise               the interval, or the instant at which time alone changes a decision

Only what changes is logged: an idle tick says nothing.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from gitops_serving.core.environment import INTERVAL, Environment
from gitops_serving.core.errors import Conflict, GitopsServingError
from gitops_serving.core.explain import next_change, phase
from gitops_serving.core.fleet import read_environment
from gitops_serving.core.model import Owned

from .tick import Desk, tick

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gitops_serving.core.model import Situation
    from gitops_serving.ports import Tree

    from .snapshot import Seen, Snapshot

CONFLICTS_AT_ONCE = 3  # races lost in a row before it backs off; as many as a person's verb tries
AFTER_ENTRY = timedelta(seconds=1)  # the cluster has begun to do what was appended
LEAST = timedelta(seconds=0.5)  # between two ticks, unless woken
FAR = timedelta(hours=1)  # the net below the plan; a tick that lasts longer is no tick


class Loop:
    """Ticks of one environment, until stopped.

    ``desk`` is asked before every tick for what to work with, given the last tree that was seen, so that a change of
    address in Git takes effect.  ``clock`` is real time, by which ticks are planned; ``jitter`` draws from a range.
    """

    def __init__(
        self,
        environment: str,
        desk: Callable[[Tree | None], Desk],
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[float, float], float],
    ) -> None:
        self.environment = environment
        self.snapshot: Snapshot | None = None  # of the last tick, for the faces
        self._desk = desk
        self._clock = clock
        self._jitter = jitter
        self._last: Snapshot | None = None  # what the next tick may fall back on
        self._failures = 0  # in a row
        self._told: dict[str, tuple[object, ...]] = {}  # by service: what was logged last
        self._error = ""
        self._lock = threading.Lock()
        self._planned: datetime | None = None  # None: a tick runs
        self._delay = timedelta()
        self._woken = self._stopping = False
        self._idle = threading.Event()
        self._idle.set()
        self._log = structlog.get_logger().bind(environment=environment)
        self._thread = ThreadPoolExecutor(1)
        self._scheduler = BackgroundScheduler(executors={"default": self._thread}, timezone="UTC")
        self._scheduler.add_listener(self._plan, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def start(self) -> None:
        """Tick now, and go on."""
        self._scheduler.add_job(
            self._tick,
            _Planned(self),
            id="tick",
            name=f"tick of {self.environment}",
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,  # however late, a tick is still wanted
            next_run_time=self._clock(),
        )
        self._scheduler.start()

    def wake(self) -> None:
        """Tick as soon as possible; while one runs, once more after it."""
        with self._lock:
            self._woken = True
            if self._planned is None or self._stopping:
                return
            self._planned = at = self._clock()
        self._set(at)

    def stop(self, timeout_seconds: float) -> bool:
        """Start nothing more, and wait until the running tick has ended; tell whether it did in time."""
        with self._lock:
            self._stopping = True
        ended = self._idle.wait(timeout_seconds)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
            self._thread.shutdown(wait=ended)
        return ended

    def next_tick(self, after: datetime | None, now: datetime) -> datetime:
        """Say when the next tick is to be, after the one of that instant; far away while nothing else is planned."""
        planned = self._planned
        return now + FAR if planned is None or planned == after else planned

    def _tick(self) -> None:
        """Tick once, and find out how long to wait then."""
        with self._lock:
            if self._stopping:
                return
            self._planned, self._woken = None, False
            self._idle.clear()
        try:
            self._delay = self._ticked()
        finally:
            self._idle.set()

    def _plan(self, _: Any) -> None:
        """Plan the next tick; called when the scheduler is ready for one again."""
        with self._lock:
            if self._stopping:
                return
            self._planned = at = self._clock() + (timedelta() if self._woken else self._delay)
        self._set(at)

    def _set(self, at: datetime) -> None:
        """Tell the scheduler of the plan; never under our lock, since it asks us under its own."""
        with suppress(JobLookupError):  # it was stopped just now
            self._scheduler.modify_job("tick", next_run_time=at)

    def _ticked(self) -> timedelta:
        """Tick, whatever comes of it, and say how long to wait."""
        last, self._last = self._last, None
        try:
            desk = self._desk(last.tree if last else None)
            snapshot = tick(desk, last)
        except Conflict as error:
            self._last = last  # its tree serves for judging and braking, should Git be away now
            self._failures += 1
            self._log.info("conflict", message=str(error), in_a_row=self._failures)
            return timedelta() if self._failures <= CONFLICTS_AT_ONCE else self._back_off(last)
        except GitopsServingError as error:
            self._last = last
            self._complain(str(error))
            return self._back_off(last)
        except Exception as error:  # noqa: BLE001 -- the loop outlives every bug; it is logged with its traceback
            self._last = last
            self._complain(f"{type(error).__name__}: {error}", exc_info=error)
            return self._back_off(last)
        self._last = self.snapshot = snapshot
        self._report(snapshot)
        return self._back_off(snapshot) if snapshot.error else self._pause(snapshot, desk.clock())

    def _pause(self, snapshot: Snapshot, now: datetime) -> timedelta:
        """Say how long to wait after a tick that went well."""
        self._failures = 0
        pauses = [_interval(snapshot)]
        if snapshot.appended:
            pauses.append(AFTER_ENTRY)
        if any(seen.situation is not None and _unseated(seen.situation) for seen in snapshot.services):
            pauses.append(LEAST)
        changes = (next_change(seen.situation) for seen in snapshot.services if seen.situation is not None)
        pauses += [max(at - now, LEAST) for at in changes if at is not None and at > snapshot.at]
        return min(pauses)

    def _back_off(self, snapshot: Snapshot | None) -> timedelta:
        """Draw a wait from a range that doubles with every failure in a row, up to the interval."""
        self._failures += 1
        least = LEAST.total_seconds()
        most = min(least * 2 ** min(self._failures, 16), max(_interval(snapshot).total_seconds(), least))
        return timedelta(seconds=self._jitter(least, most))

    def _complain(self, error: str, **more: Any) -> None:
        """Log what keeps the whole environment from its work, once."""
        if error != self._error:
            self._log.error("failed", message=error, **more)
        self._error = error

    def _report(self, snapshot: Snapshot) -> None:
        """Log what is new since the tick before."""
        for entry in snapshot.appended:
            self._log.info("appended", entry=entry)
        wrong = snapshot.error or (str(snapshot.invalid) if snapshot.invalid else "")
        if wrong:
            self._complain(wrong)
        elif self._error:
            self._log.info("recovered", after=self._error)
            self._error = ""
        for seen in snapshot.services:
            told = _told(seen)
            if told != self._told.get(seen.service):
                self._tell(seen, *told)
        self._told = {seen.service: _told(seen) for seen in snapshot.services}

    def _tell(self, seen: Seen, where: str, weight: int | None, verdict: str, wrong: str) -> None:
        """Log where a service stands now."""
        facts: dict[str, Any] = {"service": seen.service, "phase": where}
        if weight is not None:
            facts |= {"weight": weight, "verdict": verdict}
        if wrong:
            self._log.error("service", **facts, message=wrong)
        else:
            self._log.info("service", **facts)


class _Planned(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """A trigger that follows the loop's plan, made while a tick runs or at its end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """Tell the next instant; the library asks when a tick is due, and again when it was handed on."""
        return self._loop.next_tick(previous, now)


def _told(seen: Seen) -> tuple[str, int | None, str, str]:
    """Sum up a service by what is worth a line when it changes."""
    if seen.situation is None:
        return "Invalid" if seen.invalid else "Unknown", None, "", seen.wrong
    rollout, verdict = seen.situation.rollout, seen.situation.verdict
    weight = rollout.canary.weight if rollout.canary else None
    return phase(rollout), weight, verdict.outcome.value, seen.wrong


def _interval(snapshot: Snapshot | None) -> timedelta:
    """Read the interval that the environment's own file asks for."""
    if snapshot is None or snapshot.tree is None:
        return INTERVAL
    found = read_environment(snapshot.tree, snapshot.environment)
    return found.interval if isinstance(found, Environment) else INTERVAL


def _unseated(situation: Situation) -> bool:
    """Whether a seat is being put back: for that moment the canary's weight is 100, and it must not last."""
    canary, live = situation.rollout.canary, situation.live
    return canary is not None and canary.weight < 100 and live.template == Owned(100, canary.label)
