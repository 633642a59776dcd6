"""Real Git repositories for tests: in a folder, and served over HTTP by ``git http-backend``.

The server speaks the protocol through git itself; this file only hands requests
through, asks for a password, and breaks off where a test wants that.  Hooks are
the real ones of the bare repository, so a refusal is a refusal of git.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import SortMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAIN = "refs/heads/main"
SOMEBODY = pygit2.Signature("Ann Example", "ann@example.invalid", 1_760_000_000, 0)


@dataclass(frozen=True, slots=True)
class BareRepository:
    """A bare repository in a folder, seen past every adapter."""

    path: Path

    @property
    def head(self) -> str:
        return str(self._opened().references[MAIN].target)

    def push(self, files: Mapping[str, bytes | None], message: str = "a person's commit") -> str:
        """Commit as somebody else, straight into the object database; None deletes."""
        return str(
            self.commit({path: None if data is None else (0o100644, data) for path, data in files.items()}, message)
        )

    def commit(self, entries: Mapping[str, tuple[int, bytes] | None], message: str, ref: str = MAIN) -> pygit2.Oid:
        """Commit entries of any mode; None deletes.  ``ref`` may be a side branch, which then starts at main."""
        repository = self._opened()
        parent = repository.references.get(MAIN)
        index = pygit2.Index()
        if parent is not None:
            index.read_tree(repository[parent.target].peel(pygit2.Tree))
        for path, entry in entries.items():
            if entry is None:
                index.remove(path)
            else:
                mode, data = entry
                target = pygit2.Oid(hex=data.decode()) if mode == 0o160000 else repository.create_blob(data)
                index.add(pygit2.IndexEntry(path, target, pygit2.enums.FileMode(mode)))
        parents = [] if parent is None else [parent.target]
        return repository.create_commit(ref, SOMEBODY, SOMEBODY, message, index.write_tree(repository), parents)

    def read(self, path: str) -> bytes | None:
        """Read what the head holds at a path."""
        tree = self._opened().references[MAIN].peel(pygit2.Tree)
        try:
            entry = tree[path]
        except KeyError:
            return None
        return entry.data if isinstance(entry, pygit2.Blob) else None

    def mode(self, path: str) -> int:
        return int(self._opened().references[MAIN].peel(pygit2.Tree)[path].filemode)

    def commits(self) -> list[pygit2.Commit]:
        """List the commits on the branch, newest first."""
        repository = self._opened()
        return list(repository.walk(repository.references[MAIN].target, SortMode.TOPOLOGICAL))

    def moves(self) -> int:
        """Count how often the branch was moved by pushes: its log has a line for each."""
        log = self.path / "logs" / MAIN
        return len([line for line in log.read_text().splitlines() if line.endswith("\tpush")]) if log.exists() else 0

    def hook(self, name: str, script: str) -> None:
        file = self.path / "hooks" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def check(self) -> None:
        """Let git look at every object; raises where one is damaged."""
        check_objects(self.path)

    def _opened(self) -> pygit2.Repository:
        return pygit2.Repository(str(self.path))


def bare_repository(path: Path, files: Mapping[str, bytes]) -> BareRepository:
    """Make a bare repository with one commit; no files: an empty one."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    for option in ("core.logAllRefUpdates=true", "http.receivepack=true"):
        subprocess.run(["git", "-C", str(path), "config", *option.split("=")], check=True)
    made = BareRepository(path)
    if files:
        made.push(files, "first commit")
    return made


def check_objects(path: Path) -> None:
    subprocess.run(["git", "-C", str(path), "fsck", "--strict", "--no-dangling"], check=True, capture_output=True)


@dataclass(slots=True)
class GitServer:
    """A served repository and its faults.

    ``password``: what it wants, of any user; empty: it asks nobody.  ``cut_before``, ``cut_after``: how many of the
    next pushes break off before git sees them, or after it has accepted them; ``then_gone``: nobody answers afterwards.
    ``status``: answer every push so; ``status_of_fetch``: and everything else.  ``redirect_to``: send everybody there.
    """

    url: str
    root: Path
    password: str = ""
    cut_before: int = 0
    cut_after: int = 0
    status: int = 0
    status_of_fetch: int = 0
    then_gone: bool = False
    redirect_to: str = ""
    requests: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    stop: Any = None

    def pushes(self) -> int:
        """Count the packs that were sent."""
        return len([line for line in self.requests if line.startswith("POST") and line.endswith("git-receive-pack")])


class Bridge(BaseHTTPRequestHandler):
    """One request, handed to git."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    git: GitServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        self.git.requests.append(f"{self.command} {path}")
        try:
            body = self._body()
        except (OSError, ValueError):  # the client was killed in the middle of its request
            self.close_connection = True
            return
        sending = self.command == "POST" and path.endswith("git-receive-pack")
        if self.git.password and not self._authorised():
            self._reply(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
        elif self.git.redirect_to:
            self._reply(302, [("Location", self.git.redirect_to + self.path)], b"")
        elif sending and self.git.status:
            self._reply(self.git.status, [], b"")
        elif not sending and self.git.status_of_fetch:
            self._reply(self.git.status_of_fetch, [], b"")
        elif sending and self.git.cut_before:
            self.git.cut_before -= 1
            self._cut()
        else:
            status, headers, out = self._backend(path, query, body)
            if sending and self.git.cut_after:
                self.git.cut_after -= 1
                self.git.status_of_fetch = 503 if self.git.then_gone else 0
                self._cut()
            else:
                self._reply(status, headers, out)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _authorised(self) -> bool:
        kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
        return kind == "Basic" and base64.b64decode(encoded).decode().partition(":")[2] == self.git.password

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _backend(self, path: str, query: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        asked = {
            "GIT_PROJECT_ROOT": str(self.git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "somebody",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env={**os.environ, **asked}, capture_output=True, check=True
        )
        head, _, out = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(": ")[::2] for line in head.decode().split("\r\n")]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        return status, [(name, value) for name, value in fields if name != "Status"], out

    def _reply(self, status: int, headers: list[tuple[str, str]], out: bytes) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(out))), ("Connection", "close")]:
            self.send_header(name, value)
        with suppress(OSError):  # a client that was killed does not listen any more
            self.end_headers()
            self.wfile.write(out)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def served(root: Path) -> Iterator[GitServer]:
    """Serve every repository below a folder on a free port of this machine, until the end or ``stop``."""
    bridge = type("BridgeOfOneServer", (Bridge,), {})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), bridge)
    httpd.daemon_threads = False
    git = GitServer(f"http://127.0.0.1:{httpd.server_address[1]}", root)
    bridge.git = git  # type: ignore[attr-defined] # a class made for this server alone, so that two may run at once
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def stop() -> None:
        if not git.stopped.is_set():
            git.stopped.set()
            httpd.shutdown()
            httpd.server_close()
            thread.join()

    git.stop = stop
    try:
        yield git
    finally:
        stop()


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def instant(second: int) -> datetime:
    """Make a time for a test, some seconds into one fixed minute."""
    return datetime(2026, 3, 1, 12, 0, second, tzinfo=UTC)
