"""Prometheus as the port Metrics: the only module that knows ``prometheus-api-client``.

The library leaves open what a controller must know: how long a call may last
(a server that hangs or drips keeps it for ever), how much may come back, what
Prometheus warned of, and why nothing came.  So the session below is our own:
it never repeats a query, reads a bounded body in bounded time, and turns every
silence into a reading with a cause.

Two silences are told apart.  *Blind*: Prometheus did not answer, which says
nothing about the canary.  *Silent*: it answered, and there is no number in the
answer; a query that it calls wrong is of this kind, because asking again will
not help and somebody must correct it.

What a query means, and how much evidence is enough, is not known here.
"""

from __future__ import annotations

import io
import ipaddress
import json
import math
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from requests.adapters import HTTPAdapter

from gitops_serving.core.measure import Reading, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from datetime import datetime, timedelta

    from gitops_serving.core.measure import Query

_PARALLEL = 4  # queries of one read, a guess: enough to hide the round trips; so eight services at once ask 32
_GRACE_SECONDS = 1.0  # on top of one call's time-out, for queries that waited for a free thread
_CHUNK = 64 * 1024
_WORDS = 300  # of a server's message that are worth repeating
_WARNINGS = 10


class PrometheusMetrics:
    """Range queries in parallel, every one bounded in time and size.

    ``timeout_seconds`` bounds one call; a whole ``read`` takes at most a second more.  ``url`` may carry a user and
    a password: they are used and never shown.  ``clock`` is ours, which Prometheus's is compared with; None: it is not.
    """

    def __init__(
        self,
        url: str,
        timeout_seconds: float = 5.0,
        *,
        max_bytes: int = 8 * 1024 * 1024,
        max_points: int = 100_000,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._where = _shown(url)
        self._timeout_seconds = timeout_seconds
        self._max_points = max_points
        self._open = partial(_Door, url, timeout_seconds, max_bytes, clock)
        self._free: list[_Door] = []  # of earlier reads, with their connections
        self._lock = threading.Lock()

    def read(self, queries: Sequence[Query]) -> Mapping[str, Reading]:
        """Answer every query by its name.  Never raises: a silence is a reading with a cause."""
        with self._lock:
            door = self._free.pop() if self._free else None
        door = door or self._open()  # each read has its own, so that what is cut here is nobody else's
        threads = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="prometheus")
        late: set[Future[Reading]] = set()
        try:
            asked = {query.name: threads.submit(self._ask, door, query) for query in queries}
            _, late = wait(asked.values(), timeout=self._timeout_seconds + _GRACE_SECONDS)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            if late:
                door.cut()
        if not late:
            with self._lock:
                self._free.append(door)
        return {name: self._late() if future in late else self._settle(future) for name, future in asked.items()}

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            for door in self._free:
                door.close()
            self._free.clear()

    def _ask(self, door: _Door, query: Query) -> Reading:
        """Put one query and read its answer; raises what the libraries raise."""
        answer, heard = door.ask(query)
        points = sum(len(each.get("values", ())) for each in answer)
        if points > self._max_points:
            raise _TooMuchError(f"{points} points, and {self._max_points} are allowed")
        series = tuple(_series(answer))
        return Reading(series, "" if series else _nothing(query, answer), warnings=heard.warnings, skew=heard.skew)

    def _settle(self, future: Future[Reading]) -> Reading:
        """Take what a call returned, or say why it returned nothing."""
        error = future.exception()
        return future.result() if error is None else self._silence(error)

    def _late(self) -> Reading:
        """Say that the whole reading ran out of time."""
        spent = self._timeout_seconds + _GRACE_SECONDS
        return Reading(cause=f"Prometheus at {self._where} did not answer within {spent:g} s; {_LOOK}", blind=True)

    def _silence(self, error: BaseException) -> Reading:
        """Sort what went wrong: a wrong query is silence, all else leaves us blind."""
        match error:
            case _WrongQueryError():
                cause = f"Prometheus cannot evaluate the query ({error}); correct its expression"
                return Reading(cause=cause, wrong=True, heavy=_TOO_MUCH_WORK in str(error))
            case _TooMuchError():
                cause = f"the answer is too large ({error}); match fewer series"
                return Reading(cause=cause, wrong=True, heavy=True)
            case _AnsweredError():
                what = f"answered {error}"
            case requests.Timeout() | urllib3.exceptions.TimeoutError():
                what = f"did not answer within {self._timeout_seconds:g} s"
            case urllib3.exceptions.ProtocolError():
                what = "broke off in the middle of its answer"
            case requests.ConnectionError() | OSError() if not isinstance(error, ValueError):  # JSON errors are both
                what = f"cannot be reached ({_reason(error)})"
            case _:
                what = f"sent something that is no answer of its API ({type(error).__name__})"
        return Reading(cause=f"Prometheus at {self._where} {what}; {_LOOK}", blind=True)


@dataclass(slots=True)
class _Heard:
    """What came beside an answer."""

    warnings: tuple[str, ...] = ()
    skew: timedelta | None = None


class _Door:
    """The library with a session of its own: bounded, never repeating, and to be cut off as a whole."""

    def __init__(self, url: str, timeout_seconds: float, max_bytes: int, clock: Callable[[], datetime] | None) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._heard = threading.local()  # beside the answer to this thread's call: the library drops it
        self._line = _Line()
        self._session = requests.Session()
        self._session.hooks["response"] = [self._receive]
        self._session.trust_env = not _is_loopback(url)  # nothing for this machine goes through a proxy
        self._prometheus = PrometheusConnect(url=url.rstrip("/"), session=self._session, timeout=timeout_seconds)
        # After the library, which mounts a transport of its own that repeats a query up to three times.
        self._session.mount(url.rstrip("/"), self._line)

    def ask(self, query: Query) -> tuple[Sequence[Mapping[str, Any]], _Heard]:
        """Put one query; raises what the libraries raise."""
        self._heard.now = _Heard()
        answer = self._prometheus.custom_query_range(
            query.expression,
            query.start,
            query.end,
            str(query.step.total_seconds()),
            params={
                "start": query.start.timestamp(),  # the library rounds both to whole seconds, and moves the grid
                "end": query.end.timestamp(),
                "timeout": f"{self._timeout_seconds * 0.8:.3f}",  # Prometheus gives up first, and says so
            },
        )
        return answer, self._heard.now

    def cut(self) -> None:
        """Break off everything that is under way here."""
        self._line.cut()

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _receive(self, response: requests.Response, *_: Any, **__: Any) -> requests.Response:
        """Read the body within its bounds, keep the warnings, and stop at everything but an answer."""
        with suppress(KeyError):
            if int(response.headers["Content-Length"]) > self._max_bytes:
                response.close()
                raise _TooMuchError(f"{response.headers['Content-Length']} bytes, and {self._max_bytes} are allowed")
        body = self._body(response)
        if response.status_code != requests.codes.ok:
            raise _complaint(response, body)
        if b'"warnings"' in body:
            self._heard.now.warnings = _warnings(body)
        if self._clock is not None:
            self._heard.now.skew = _skew(response, self._clock())
        response.raw = io.BytesIO(body)
        return response

    def _body(self, response: requests.Response) -> bytes:
        """Read what comes until the end, the limit or the time-out, whichever is first."""
        deadline = monotonic() + self._timeout_seconds - response.elapsed.total_seconds()
        body = bytearray()
        with ExitStack() as cleanup:
            cleanup.callback(response.close)  # what is left of the body must not be taken for the next answer
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                body += chunk
                if len(body) > self._max_bytes:
                    raise _TooMuchError(f"more than {self._max_bytes} bytes")
                if monotonic() > deadline:
                    raise requests.Timeout
            cleanup.pop_all()
        return bytes(body)


_LOOK = "see that it runs and that the address is right"
_TOO_MUCH_WORK = "too many samples"  # in Prometheus's words, where it stops a query that would load more than it may


class _TooMuchError(Exception):
    """The answer is larger than we are ready to read."""


class _WrongQueryError(Exception):
    """Prometheus understood us and found the query to be wrong."""


class _AnsweredError(Exception):
    """Something answered, with a status that is no answer to a query."""


class _Line(HTTPAdapter):
    """A transport that never retries, and whose open connections another thread can cut.

    A time-out bounds the wait for the next byte only: a server that drips the head of its answer would keep a
    thread, and with it the end of the process, for hours.
    """

    def __init__(self) -> None:
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        super().__init__(pool_maxsize=_PARALLEL)

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        """Find the pool for a request, and have it tell us of each connection that it makes."""
        pool: Any = super().get_connection_with_tls_context(*args, **named)
        with self._lock:
            if not isinstance(pool.ConnectionCls, partial):
                pool.ConnectionCls = partial(self._opened, pool.ConnectionCls)
        return pool

    def _opened(self, kind: Any, *args: Any, **named: Any) -> Any:
        connection = kind(*args, **named)
        with self._lock:
            self._open.add(connection)
        return connection

    def cut(self) -> None:
        """Shut every connection; who waits on one wakes up with an error."""
        with self._lock:
            sockets = [connection.sock for connection in self._open]
        for each in sockets:
            with suppress(OSError):
                if each is not None:
                    each.shutdown(socket.SHUT_RDWR)


def _series(answer: Sequence[Mapping[str, Any]]) -> Iterator[Series]:
    """Turn the samples that are numbers into floats, and leave out series that have none."""
    for each in answer:
        pairs = ((float(at), float(value)) for at, value in each.get("values", ()))
        samples = tuple(pair for pair in pairs if math.isfinite(pair[1]))
        if samples:
            yield Series({str(name): str(value) for name, value in each["metric"].items()}, samples)


def _skew(response: requests.Response, now: datetime) -> timedelta | None:
    """Say how far the server's clock was ahead of ours as it answered, to a second; None: it did not tell the time."""
    with suppress(TypeError, ValueError, OverflowError):
        at = parsedate_to_datetime(response.headers.get("Date", ""))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return None


def _nothing(query: Query, answer: Sequence[Any]) -> str:
    """Say why an answer holds no number."""
    if answer:
        return f"Prometheus has only NaN or infinite samples for {query.name}; see what {query.expression} divides by"
    span = f"from {query.start:%H:%M:%S} to {query.end:%H:%M:%S}"
    return f"Prometheus has no series for {query.name} {span}; see whether {query.expression} names what is scraped"


def _warnings(body: bytes) -> tuple[str, ...]:
    """Dig out what Prometheus wants to have said, for instance that a part of its storage did not answer."""
    said = json.loads(body).get("warnings", ())
    return tuple(str(each)[:_WORDS] for each in said[:_WARNINGS])


def _complaint(response: requests.Response, body: bytes) -> Exception:
    """Read an answer that is no success; only Prometheus's own words make a query wrong."""
    try:
        said = json.loads(body)
        words = f"{said['errorType']}: {said['error']}"[:_WORDS]
    except (ValueError, LookupError, TypeError, RecursionError):
        return _AnsweredError(f"HTTP {response.status_code} {response.reason}"[:_WORDS])
    if response.status_code in {requests.codes.bad_request, requests.codes.unprocessable_entity}:
        return _WrongQueryError(words)
    return _AnsweredError(f"HTTP {response.status_code}, {words}")


def _reason(error: BaseException) -> str:
    """Find the operating system's words at the bottom of a chain of wrappers, which repeat the whole address."""
    reason, inner = type(error).__name__, cast("BaseException | None", error)
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            reason = inner.strerror
        inner = inner.__cause__ or inner.__context__
    return reason


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(url: str) -> str:
    """Write an address without the user and the password in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
