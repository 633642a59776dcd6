"""An HTTP server for tests that can also do what servers do on bad days: hang, drip, break off.

One function says how every request is answered.  What was asked is kept, so that
a test can say what went over the wire.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Stub:
    """A server, what it was asked, and how it answers."""

    url: str
    answer: Callable[[Call], None]
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)  # set at the end: nobody hangs for longer


class Call(BaseHTTPRequestHandler):
    """One connection to a stub."""

    protocol_version = "HTTP/1.1"
    stub: Stub
    request_seen: Asked

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self.request_seen = Asked(
            method=self.command,
            path=url.path,
            query={name: values[-1] for name, values in parse_qs(url.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        self.stub.asked.append(self.request_seen)
        with suppress(ConnectionError):
            self.stub.answer(self)

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - http.server prescribes the names

    def reply(self, status: int, body: Any, content_type: str = "application/json", **headers: str) -> None:
        """Send a whole answer; a body that is neither bytes nor text is sent as JSON."""
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def replying(status: int, body: Any, content_type: str = "application/json", **headers: str) -> Callable[[Call], None]:
    """Give every request the same answer."""
    return lambda call: call.reply(status, body, content_type, **headers)


def hang(call: Call) -> None:
    """Never answer."""
    call.stub.over.wait()
    call.close_connection = True


def drip_head(call: Call) -> None:
    """Send the head of an answer one byte at a time, for as long as anybody listens."""
    call.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(call)


def drip_body(call: Call) -> None:
    """Send the body of an answer one byte at a time, for as long as anybody listens."""
    call.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
    drip(call)


def hang_in_body(call: Call) -> None:
    """Begin a body, and send no more."""
    call.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    hang(call)


def drip(call: Call) -> None:
    """Send a byte every twentieth of a second."""
    while not call.stub.over.wait(0.05):
        call.wfile.write(b" ")
    call.close_connection = True


def break_off(call: Call) -> None:
    """Close the connection in the middle of a body."""
    call.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    call.close_connection = True


@contextmanager
def serve(answer: Callable[[Call], None] = hang) -> Iterator[Stub]:
    """Run a stub on a port of its own."""
    stub = Stub("", answer)
    kind = type("Bound", (Call,), {"stub": stub})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        stub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stub
        finally:
            stub.over.set()
            server.shutdown()
            thread.join()


def await_that(holds: Callable[[], object], seconds: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
