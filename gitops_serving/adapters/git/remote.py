"""Where a repository is, and what is shown for it at the door.

An address never carries a credential: it would end up in the cache's
configuration, in logs and in errors.  Credentials are files, read anew at each
use so that a rotated one takes effect without a restart; what was read is held
only as long as one operation lasts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import pygit2
from pygit2.enums import CredentialType

from gitops_serving.core.errors import Misnamed, Refused

SERVED = ("http", "https", "ssh", "git")
SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:(?!//)\S+\Z", re.ASCII)
TOKEN_USER = "x-access-token"  # noqa: S105 - what code hosts take as the user beside a token; it is no secret

Answer = pygit2.UserPass | pygit2.KeypairFromMemory | pygit2.Username


@dataclass(frozen=True, slots=True)
class Remote:
    """An address that carries no credential.  ``path`` is set where the repository is a folder of this machine."""

    url: str
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The files that hold what a server asks for; None: there is none of that kind."""

    token_file: Path | None = None
    username: str = ""  # empty: a name that code hosts take beside a token
    password_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None  # None: ~/.ssh/known_hosts


class Secrets:
    """What one operation has read from the credential files, so that it can be kept out of every text."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._seen: list[str] = []

    def answer(self, user: str | None, allowed: CredentialType, where: str) -> Answer:
        """Choose what the server takes; raises Refused where there is nothing of that kind."""
        held = self._credentials
        password_file = held.token_file or held.password_file
        if allowed & CredentialType.SSH_MEMORY and held.ssh_key_file is not None:
            return pygit2.KeypairFromMemory(user or "git", None, self._read(held.ssh_key_file), "")
        if allowed & CredentialType.USERPASS_PLAINTEXT and password_file is not None:
            return pygit2.UserPass(held.username or TOKEN_USER, self._read(password_file))
        if allowed & CredentialType.USERNAME:
            return pygit2.Username(user or held.username or "git")
        raise Refused(f"{where} asks for credentials and none of a kind it takes are set; name a token or key file")

    def redacted(self, text: str) -> str:
        """Take every secret that was read out of a text that somebody else wrote."""
        for secret in self._seen:
            text = text.replace(secret, "***")
        return text

    def _read(self, path: Path) -> str:
        try:
            secret = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Refused(f"cannot read the credential file {path}: {why}; correct the path or its rights") from None
        lines = [line for line in secret.splitlines() if line]
        if not lines:
            raise Refused(f"the credential file {path} is empty; write the secret into it")
        self._seen.extend(line for line in lines if len(line) > 3 and not line.startswith("-----"))
        return secret if len(lines) > 1 else lines[0]


def parse_remote(url: str) -> Remote:
    """Check an address; raises Refused for one that carries a credential or is of an unknown kind."""
    if "://" not in url:
        if SCP_LIKE.match(url):
            return Remote(url, None)
        if "::" in url or url.startswith("-") or not url.strip():
            raise Misnamed("the repository address is of an unknown kind; use https://, ssh:// or a path")
        path = Path(url).expanduser().absolute()
        return Remote(str(path), path)
    parts = _split(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        path = Path(unquote(parts.path))
        return Remote(str(path), path)
    if parts.scheme not in SERVED or not parts.hostname:
        raise Misnamed("the repository address is of an unknown kind; use https://, ssh:// or a path")
    return Remote(url, None)


def _split(url: str) -> SplitResult:
    """Take an address apart without ever showing it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        user, password, _ = parts.username, parts.password, parts.port
    except ValueError:
        raise Misnamed("the repository address cannot be read; use https://HOST/PATH") from None
    if password is not None or parts.query or parts.fragment or (user is not None and parts.scheme != "ssh"):
        raise Misnamed(
            f"the repository address on {parts.hostname} carries a user name, password or query; "
            "take it out and name a token file or password file instead"
        )
    return parts
