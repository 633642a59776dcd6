"""The push to a folder of this machine, through the ``git`` command.

libgit2 writes into a local repository by itself: it runs no hook and compares
nothing, so that somebody's commit can be lost without a sign.  The ``git``
command starts the receiving side as a server would.

``--force-with-lease`` makes it an exact compare-and-swap.  It also switches off
the check for a fast-forward: whoever calls has to have checked that the new
commit descends from the old one.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.core.errors import Refused, Unavailable

from .transport import Told, declined, one_line

if TYPE_CHECKING:
    from pathlib import Path

    import pygit2

OPTIONS = (
    "core.hooksPath=/dev/null",
    "protocol.ext.allow=never",
    "credential.helper=",
    "gc.auto=0",
    "push.gpgSign=false",
    "push.followTags=false",
)
KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")  # the receiving side's hooks are programs of this machine


@dataclass(frozen=True, slots=True)
class LocalPush:
    """One branch of a repository that is a folder of this machine."""

    path: Path
    branch: str
    timeout_seconds: float

    def push(self, repository: pygit2.Repository, base: pygit2.Oid, mine: pygit2.Oid) -> Told:
        """Try once to move the branch from one commit to a descendant of it."""
        where, ref = f"{self.path} ({self.branch})", f"refs/heads/{self.branch}"
        arguments = ["--porcelain", "--no-verify", f"--force-with-lease={ref}:{base}", "--", str(self.path)]
        try:
            code, out, said = run(repository.path, ["push", *arguments, f"{mine}:{ref}"], self.timeout_seconds)
        except OSError as error:
            return Told(
                "unsent", Refused(f"cannot run git to push to {where}: {error.strerror}; install git or correct PATH")
            )
        except subprocess.TimeoutExpired:
            late = f"pushing to {where}: git did not finish within {self.timeout_seconds:g} s"
            return Told("unknown", Unavailable(f"{late}; it is tried again at the next tick"))
        answer = next((line for line in out.splitlines() if line.count("\t") == 2), "")
        if code == 0 and answer[:1] in {" ", "=", "+", "*"}:
            return Told("landed", Unavailable(f"pushing to {where}: landed"))
        if answer.startswith("!"):
            return Told("declined", declined(where, answer.rpartition("\t")[2], hook_words(said)))
        why = one_line(said) or f"git ended with {code}"
        return Told("unknown", Unavailable(f"pushing to {where}: {why}; it is tried again at the next tick"))


def run(cache: str, arguments: list[str], timeout_seconds: float) -> tuple[int, str, str]:
    """Run git on the cache with nothing of the user's configuration; its whole process group ends in time."""
    options = [part for option in OPTIONS for part in ("-c", option)]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "file",
    }
    with subprocess.Popen(
        ["git", "--git-dir", cache, *options, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, said = process.communicate(timeout=timeout_seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # hooks included; nobody is left to hold the pipes open
            raise
    return process.returncode, out, said


def hook_words(said: str) -> str:
    """Pick what the receiving side said out of git's own talk."""
    lines = [line.removeprefix("remote:") for line in said.splitlines() if line.startswith("remote:")]
    return one_line("\n".join(lines))
