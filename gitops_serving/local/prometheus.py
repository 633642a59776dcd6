"""A real Prometheus as a child process, with one target: the gateway.

One static target that exists from the first second is the point of the configuration: Prometheus finds new targets
only every five seconds, but new series of a known target with the next scrape, one second later. `honor_labels` keeps
the names that the gateway gives to its virtual pods.

Three things are not taken on trust. Another server may own the port in the moment in which it is chosen, and would
answer that it is ready: ours is recognised by its storage path. Prometheus itself does not lock its data directory: a
lock of our own does, held by the child too. And a killed parent must not leave it running: it is tethered.

Nothing here asks Prometheus for a metric.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import yaml

from gitops_serving.local import prometheus_binary, tether

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOOPBACK = "127.0.0.1"
SCRAPE_SECONDS = 1
_SCRAPE_TIMEOUT_MS = 900
# Ready takes 0.2 s; a write-ahead log of a day on a slow disk takes longer.
_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ATTEMPTS = 5


class PrometheusFailedError(RuntimeError):
    """Prometheus could not be started, or its directory is in use."""


class Prometheus:
    """A running Prometheus of our own; stop it, or leave the with block."""

    def __init__(self, directory: Path, *, gateway_admin_port: int, binary: Path | None = None) -> None:
        """Start it on `directory` (made if missing) and wait until it is ready; raise PrometheusFailedError."""
        program = prometheus_binary.find(binary)
        self._directory = directory.absolute()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self._directory)
        try:
            _write_configuration(self._directory, gateway_admin_port)
            self._process, self.port = _start(program, self._directory, self._lock)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def url(self) -> str:
        """Give the address for queries."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Give the id of the process."""
        return self._process.pid

    def alive(self) -> bool:
        """Say whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it and release its directory; a second call does nothing."""
        _end(self._process)
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _locked(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise PrometheusFailedError(
            f"another Prometheus writes to {directory}; stop the local cluster that uses it, or choose another state "
            "directory"
        ) from error
    return lock


def _write_configuration(directory: Path, gateway_admin_port: int) -> None:
    configuration = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{_SCRAPE_TIMEOUT_MS}ms"},
        "scrape_configs": [
            {
                "job_name": "gateway",
                "honor_labels": True,
                "static_configs": [{"targets": [f"{LOOPBACK}:{gateway_admin_port}"]}],
            }
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")


def _start(program: Path, directory: Path, lock: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start until it stands: a port that was free may be taken by the time Prometheus binds it."""
    for _ in range(_ATTEMPTS):
        port = _free_port()
        process = _spawn(program, directory, port, lock)
        try:
            if _ready(process, directory, port):
                return process, port
        except BaseException:
            _end(process)
            raise
    raise PrometheusFailedError(
        f"Prometheus ended {_ATTEMPTS} times at its start in {directory}: {_last_words(directory)}; see prometheus.log "
        "there"
    )


def _spawn(program: Path, directory: Path, port: int, lock: int) -> subprocess.Popen[bytes]:
    command = tether.command(
        str(program),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        "--storage.tsdb.retention.time=24h",
        "--storage.tsdb.retention.size=256MB",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--log.level=warn",
    )
    with (directory / "prometheus.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "GOMAXPROCS": "1"},
            # A signal to our terminal's group is for us to pass on, after the gateway has finished its requests.
            start_new_session=True,
            pass_fds=(lock,),
        )


def _ready(process: subprocess.Popen[bytes], directory: Path, port: int) -> bool:
    """Wait until it answers and is ours; False when it ended."""
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            _end(process)
            raise PrometheusFailedError(
                f"Prometheus in {directory} was not ready after {_READY_SECONDS:.0f} s; see prometheus.log there, or "
                "remove its data directory"
            )
        flags = _get(port, "/api/v1/status/flags")
        # Its API answers 503 until the storage is open, so a 200 also says that it is ready.
        if flags is not None and flags["data"]["storage.tsdb.path"] == str(directory / "data"):
            return True
        time.sleep(0.02)
    return False


def _get(port: int, path: str) -> Any:
    """Ask for JSON, past any proxy of the environment; None when there is no such answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _last_words(directory: Path) -> str:
    lines = (directory / "prometheus.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


def main() -> None:
    """Make sure that there is a Prometheus program, and say where."""
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m gitops_serving.local.prometheus install")
    try:
        sys.stdout.write(f"{prometheus_binary.install()}\n")
    except prometheus_binary.PrometheusMissingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
