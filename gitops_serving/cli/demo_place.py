"""Where the demonstration keeps its files, and what this machine must have for it.

A directory that holds anything is refused: it may be somebody's work, and an earlier run's repository is no beginning.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gitops_serving.cli.demo_stage import DemoError
from gitops_serving.cli.local import NEEDED
from gitops_serving.local import statedir

if TYPE_CHECKING:
    from gitops_serving.local.statedir import StateDir

INSTALL = "run: pip install 'gitops-serving[local]'"


def prepare(directory: Path | None) -> Path:
    """Find the directory, and refuse one that is in use; raises DemoError with what is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        named = ", ".join(missing)
        raise DemoError(f"the demonstration needs packages that are missing: {named}; {INSTALL}")
    if shutil.which("git") is None:
        raise DemoError("the demonstration needs the git command, which is not on PATH; install git")
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="gitops-serving-demo-"))
    place = directory.expanduser().absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
        used = any(place.iterdir())
    except OSError as error:
        raise DemoError(f"{place} cannot be used: {error.strerror}; choose another directory") from None
    if used:
        raise DemoError(f"{place} is not empty; choose another directory, or remove what an earlier run left there")
    return place


def logs(place: Path) -> dict[str, Path]:
    """Say where those write that everything hangs on, by their names."""
    state = place / "state/logs"
    return {
        "the supervisor": state / "supervisor.log",
        "the gateway": state / "gateway.log",
        "the controller": place / "logs/controller.log",
    }


def state_dir(place: Path) -> StateDir:
    """Make the cluster's directory, elsewhere where the path would be too long for its sockets."""
    try:
        return statedir.prepare(place / "state")
    except statedir.StateError:
        elsewhere = Path(tempfile.mkdtemp(prefix="gs-"))
        (place / "state").symlink_to(elsewhere)
        return statedir.prepare(elsewhere)
