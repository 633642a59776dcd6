"""Where the Prometheus program comes from, without root and without a service.

Installing Debian's package starts a server on all interfaces; unpacking it gives the same program and starts nothing.
So the look-up goes from what the user named, over what is installed, to a copy unpacked earlier, and unpacks one last.
This module starts no Prometheus.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_INSIDE_PACKAGE = Path("usr/bin/prometheus")
_DOWNLOAD_SECONDS = 180


class PrometheusMissingError(RuntimeError):
    """No Prometheus program was found and none could be unpacked."""


def find(explicit: Path | None = None) -> Path:
    """Give the program: the one named, else from PATH, else our copy, else one unpacked now into the cache."""
    if explicit is not None:
        if not _runs(explicit):
            raise PrometheusMissingError(f"{explicit} is not a program; name Prometheus' binary, or leave it out")
        return explicit.absolute()
    return _found() or unpack(_cache())


def install() -> Path:
    """Make sure that there is a program, unpacking one beside the Python environment if need be."""
    return _found() or unpack(_environment())


def unpack(directory: Path) -> Path:
    """Unpack Debian's package into `directory` with one rename, so that nobody ever sees half of it."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise PrometheusMissingError(
                f"Prometheus is not installed, and without {tool} its package cannot be unpacked into {directory}; "
                "install Prometheus 2.42 or newer so that it is on PATH"
            )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".prometheus-") as scratch:
        _run(["apt-get", "download", "prometheus"], Path(scratch))
        package = next(Path(scratch).glob("prometheus_*.deb"))
        _run(["dpkg-deb", "-x", str(package), "unpacked"], Path(scratch))
        try:
            (Path(scratch) / "unpacked").rename(directory)
        except OSError:
            # Somebody else was faster; theirs is the same.
            if not _runs(directory / _INSIDE_PACKAGE):
                raise
    return directory / _INSIDE_PACKAGE


def _found() -> Path | None:
    on_path = shutil.which("prometheus")
    if on_path is not None:
        return Path(on_path).absolute()
    copies = (place / _INSIDE_PACKAGE for place in (_environment(), _cache()))
    return next((copy for copy in copies if _runs(copy)), None)


def _environment() -> Path:
    return Path(sys.prefix) / "prometheus"


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "gitops-serving" / "prometheus"


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _run(command: list[str], directory: Path) -> None:
    """Run a tool in a directory; raise PrometheusMissingError with its last words."""
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PrometheusMissingError(_failed(command, f"no end after {_DOWNLOAD_SECONDS} s")) from error
    if done.returncode != 0:
        raise PrometheusMissingError(_failed(command, " ".join(done.stderr.split()[-40:])))


def _failed(command: list[str], reason: str) -> str:
    return (
        f"Prometheus is not installed and its package could not be unpacked: {' '.join(command)}: {reason}; "
        "run apt-get update, or install Prometheus 2.42 or newer so that it is on PATH"
    )
