"""Fetch, and compare-and-swap push, over http, https, ssh and git://.

libgit2 reports nearly every failure as one class with a text.  The text is for
people; what happened is told by what the callbacks saw: whether the server asked
for credentials, whether the push had been negotiated, what the server answered
for the branch.  A push that returns has not succeeded: it has succeeded when the
server said so for the branch.

The old id is compared in ``push_negotiation``, before anything is sent; the
server compares once more when it moves the branch.  Both are needed: without the
first, a push that merely fast-forwards would land on a head nobody decided about.

Time-outs, the home folder with the known hosts and proxies are settings of the
whole process: that is libgit2's choice.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pygit2

from gitops_serving.core.errors import Conflict, GitopsServingError, Misnamed, Refused, Unavailable

from .cache import KNOWN, TRACKED
from .remote import Secrets

if TYPE_CHECKING:
    from pygit2.enums import CredentialType
    from pygit2.remotes import PushUpdate, TransferProgress

    from .remote import Answer, Credentials, Remote

RAISED = (pygit2.GitError, OSError, ValueError, LookupError, TypeError, AssertionError, RuntimeError)  # by pygit2
PACK_BYTES = 1024**3  # a guess: far above any repository of manifests
WAITS = 10  # an operation as a whole may take ten times as long as one wait for the server
SAID_NO = re.compile(r"status code: (401|403|404|410)\b")
WORDS = 600  # of a hook are shown; the rest is for the server's own log

Outcome = Literal["landed", "declined", "unsent", "unknown"]


@dataclass(frozen=True, slots=True)
class Told:
    """What one attempt to push told us.

    landed: the server said yes.  declined: it said no.  unsent: nothing was sent.  unknown: nobody knows yet.
    ``error`` is what to raise once a fetch has shown that the branch did not move.
    """

    outcome: Outcome
    error: GitopsServingError


class Callbacks(pygit2.RemoteCallbacks):
    """What libgit2 asks and tells during one operation; every default that trusts a server is overridden."""

    def __init__(
        self, where: str, credentials: Credentials, deadline: float, expected: pygit2.Oid | None = None
    ) -> None:
        super().__init__()
        self.where = where
        self.secrets = Secrets(credentials)
        self.untrusted = False
        self.negotiated = False
        self.results: dict[str, str | None] = {}
        self._deadline = deadline
        self._expected = expected
        self._asked = 0
        self._words: list[str] = []

    def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:  # noqa: ARG002 - libgit2's call
        """Trust no certificate and no host key that the libraries do not."""
        self.untrusted = self.untrusted or not valid
        return valid

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> Answer:  # noqa: ARG002 - libgit2's call
        """Answer with credentials at most twice; libgit2 would ask for ever."""
        self._asked += 1
        if self._asked > 2:
            raise Refused(f"{self.where} does not accept our credentials; renew the token, password or key file")
        return self.secrets.answer(username_from_url, allowed_types, self.where)

    def transfer_progress(self, stats: TransferProgress) -> None:
        """Stop a transfer that has no end."""
        self._in_time()
        if stats.received_bytes > PACK_BYTES:
            raise Refused(f"{self.where} sends more than {PACK_BYTES} bytes; keep large files out of the repository")

    def push_transfer_progress(self, objects_pushed: int, total_objects: int, bytes_pushed: int) -> None:  # noqa: ARG002 - libgit2's call
        """Stop a push that has no end."""
        self._in_time()

    def push_negotiation(self, updates: list[PushUpdate]) -> None:
        """Compare the branch with the commit that was decided about, before anything is sent."""
        for update in updates:
            if update.src != self._expected:
                raise moved(self.where, self._expected, update.src)
        self.negotiated = True

    def push_update_reference(self, refname: str, message: str | None) -> None:
        """Keep the server's answer for each branch; None: it was moved."""
        self.results[refname] = message

    def sideband_progress(self, string: str) -> None:
        """Keep what a hook on the server says."""
        self._words.append(string)

    def words(self) -> str:
        """Fold what the server said into one line without secrets."""
        return one_line(self.secrets.redacted("".join(self._words)))

    def _in_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise Unavailable(f"{self.where} did not finish in time; it is tried again at the next tick")


@dataclass(frozen=True, slots=True)
class Transport:
    """One branch on its server."""

    remote: Remote
    branch: str
    credentials: Credentials
    timeout_seconds: float

    @property
    def where(self) -> str:
        """Name the branch for people."""
        return f"{self.remote.url} ({self.branch})"

    @property
    def ref(self) -> str:
        """The branch as the server names it."""
        return f"refs/heads/{self.branch}"

    def fetch(self, repository: pygit2.Repository) -> pygit2.Oid:
        """Bring the branch into the cache and return its head; raises Unavailable, Refused."""
        callbacks = self._prepared(repository)
        if self.remote.path is not None and not self.remote.path.is_dir():
            raise Misnamed(f"there is no folder {self.remote.path} to fetch from; correct the path of the repository")
        try:
            if repository.references.get(TRACKED) is not None:
                repository.references.delete(TRACKED)  # else a branch that is gone would look as if it were there
            repository.remotes["origin"].fetch([f"+{self.ref}:{TRACKED}"], callbacks=callbacks, proxy=self._proxy)
            reference = repository.references.get(TRACKED)
            if reference is None:
                raise Misnamed(f"{self.where}: there is no such branch; push a first commit to it or name another one")
            head = repository[reference.target].peel(pygit2.Commit).id
            repository.references.create(KNOWN, head, force=True)
        except GitopsServingError:
            raise
        except RAISED as error:
            raise self._translated("fetching", error, callbacks) from error
        return head

    def push(self, repository: pygit2.Repository, base: pygit2.Oid, mine: pygit2.Oid) -> Told:
        """Try once to move the branch from one commit to another; raises Conflict, Refused where that is certain."""
        callbacks = self._prepared(repository, base)
        silence = Unavailable(f"pushing to {self.where}: no answer for the branch; the next tick looks again")
        try:
            remote = repository.remotes.create_anonymous(self.remote.url)
            remote.push([f"{mine}:{self.ref}"], callbacks=callbacks, proxy=self._proxy)
        except (Conflict, Refused):
            raise
        except GitopsServingError as error:
            return Told("unknown" if callbacks.negotiated else "unsent", error)
        except RAISED as error:
            translated = self._translated("pushing to", error, callbacks)
            return Told(self._outcome(callbacks, "unknown" if callbacks.negotiated else "unsent"), translated)
        outcome = self._outcome(callbacks, "unknown")
        return Told(outcome, self._declined(callbacks) if outcome == "declined" else silence)

    def _outcome(self, callbacks: Callbacks, otherwise: Outcome) -> Outcome:
        """Tell how a push ended by what the server answered for the branch."""
        if self.ref not in callbacks.results:
            return otherwise
        return "landed" if callbacks.results[self.ref] is None else "declined"

    def _declined(self, callbacks: Callbacks) -> Refused:
        return declined(self.where, callbacks.results[self.ref] or "", callbacks.words())

    @property
    def _proxy(self) -> Literal[True] | None:
        """Honour the proxy of the environment, for the protocols that have one."""
        return True if self.remote.url.startswith("http") else None

    def _prepared(self, repository: pygit2.Repository, expected: pygit2.Oid | None = None) -> Callbacks:
        """Set the time-outs and the known hosts, and make the callbacks of one operation."""
        if self.credentials.known_hosts_file is not None:
            know_hosts(self.credentials.known_hosts_file, Path(repository.path) / "home")
        pygit2.settings.server_connect_timeout = pygit2.settings.server_timeout = int(self.timeout_seconds * 1000)
        deadline = time.monotonic() + WAITS * self.timeout_seconds
        return Callbacks(self.where, self.credentials, deadline, expected)

    def _translated(self, doing: str, error: BaseException, callbacks: Callbacks) -> GitopsServingError:
        """Sort a failure by what happens next."""
        if self.ref in callbacks.results:
            return self._declined(callbacks)
        text = one_line(callbacks.secrets.redacted(str(error)) or type(error).__name__)
        if callbacks.untrusted or isinstance(error, pygit2.errors.CertificateError):
            remedy = "add its key to the known hosts or its authority to the system's certificates"
            return Refused(f"{doing} {self.where}: the server's certificate or host key is not trusted; {remedy}")
        # The one text we look at: libgit2 keeps the status code nowhere else.  Should the wording change, a
        # server's no is taken for a server that is away, and is shown as such at every tick.
        if SAID_NO.search(text):
            return Refused(f"{doing} {self.where}: {text}; check that it exists and what our credentials may do there")
        return Unavailable(f"{doing} {self.where}: {text}; it is tried again at the next tick")


def know_hosts(listed: Path, home: Path) -> None:
    """Make libgit2 read our list of host keys: it looks at one place only, below the home folder."""
    try:
        (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / ".ssh" / "known_hosts").write_bytes(listed.read_bytes())
    except OSError as error:
        raise Refused(
            f"cannot use the known hosts of {listed}: {error.strerror}; correct the path or its rights"
        ) from None
    pygit2.settings.homedir = str(home)


def moved(where: str, expected: object, found: object) -> Conflict:
    """Say that somebody else was first."""
    return Conflict(f"{where} is at {str(found)[:12]} and not at {str(expected)[:12]}; fetch and decide again")


def declined(where: str, answer: str, words: str) -> Refused:
    """Say what the server said when it refused to move the branch."""
    said = ": ".join(part for part in (one_line(answer), words) if part)
    return Refused(f"{where} refused the push ({said}); allow this controller to push, or change what the hook found")


def one_line(text: str) -> str:
    """Fold a text from a server into one printable line of a bearable length."""
    folded = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return folded if len(folded) <= WORDS else folded[:WORDS] + "..."
