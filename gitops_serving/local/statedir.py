"""The directory that a local cluster lives in: its lock, where it listens, and the kubeconfig.

Everything in it is for its owner alone.  The lock tells whether a cluster runs
here, whatever files an earlier one left behind.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gitops_serving.local.files import read_json, write_json

if TYPE_CHECKING:
    from gitops_serving.local.faults import Json

LONGEST_SOCKET_BYTES = 107  # the kernel's limit for the path of a unix socket


class StateError(Exception):
    """The directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """The places in the directory."""

    root: Path

    @property
    def objects(self) -> Path:
        """The API's objects."""
        return self.root / "objects"

    @property
    def records(self) -> Path:
        """What Knative would remember of each component."""
        return self.root / "records"

    @property
    def run(self) -> Path:
        """Unix sockets."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Logs of all processes."""
        return self.root / "logs"

    @property
    def kubeconfig(self) -> Path:
        """What kubectl and the clients are given."""
        return self.root / "kubeconfig"

    @property
    def addresses(self) -> Path:
        """Where everything listens, while all of it does."""
        return self.root / "local.json"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor itself says."""
        return self.logs / "supervisor.log"


def default_root() -> Path:
    """Find the directory that is used when none is named."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "gitops-serving" / "local"


def prepare(root: Path) -> StateDir:
    """Make the directory; raises StateError where sockets would not fit into it."""
    state = StateDir(root.expanduser().absolute())
    if len(os.fsencode(state.run / "0123456789.sock")) > LONGEST_SOCKET_BYTES:
        raise StateError(f"the state directory {state.root} has too long a path for unix sockets; choose a shorter one")
    for path in (state.root, state.run, state.logs):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    return state


def lock(state: StateDir) -> TextIO:
    """Take the lock, and keep it for as long as the file is open; raises StateError if somebody has it."""
    held = (state.root / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StateError(
            f"a local cluster runs in {state.root} already; use it, or stop it with: gitops-serving local down"
        ) from None
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    return held


def owner(state: StateDir) -> int:
    """Tell which process holds the lock; 0: none does."""
    try:
        with (state.root / "lock").open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or "0")
    except FileNotFoundError:
        pass
    return 0


def addresses(state: StateDir) -> Json:
    """Read where everything listens; empty: the cluster is not up."""
    try:
        told: Json = read_json(state.addresses)
    except FileNotFoundError:
        return {}
    return told if told.get("pid") == owner(state) else {}


def secret(state: StateDir) -> str:
    """Read the secret in the API's address, which is made once."""
    path = state.root / "secret"
    if not path.exists():
        write_json(path, secrets.token_urlsafe(24))
    return str(read_json(path))


def write_kubeconfig(state: StateDir, server: str) -> None:
    """Write a kubeconfig; kubectl reads JSON as the YAML that it is."""
    name = "gitops-serving-local"
    context: dict[str, Any] = {"cluster": name, "user": name, "namespace": "default"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "contexts": [{"name": name, "context": context}],
        "users": [{"name": name, "user": {}}],
    }
    write_json(state.kubeconfig, document)
