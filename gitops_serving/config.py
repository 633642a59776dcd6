"""Options and environment variables of a process, read into one frozen value.

What is about the fleet is in Git; here is only where Git is, what to show for it at
the door, and which machine this is.  Nothing is opened or reached from here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .core.errors import Invalid, joined

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GITOPS_SERVING_"
WRITE_URL = "write it like https://HOST/PATH, ssh://git@HOST/PATH or /a/path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to run against, and with what."""

    repo: str  # an address without credentials, or a path
    branch: str = "main"
    env: tuple[str, ...] = ()  # names of environments; empty: all
    token_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts: Path | None = None  # None: the user's own
    kubeconfig: str = ""  # empty: the pod's account, or kubectl's default
    context: str = ""  # empty: what the environment says
    local_state: Path | None = None  # None: the default place of the local cluster
    prometheus: str = ""  # empty: what the environment says, or the local cluster
    cache_dir: Path


OPTIONS = tuple(field.name for field in fields(Settings))
PATHS = ("token_file", "ssh_key_file", "known_hosts", "local_state", "cache_dir")


def variable(option: str) -> str:
    """Name the environment variable of an option."""
    return PREFIX + option.upper()


def read_settings(options: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Put together what the command line says and, where it is silent, the environment variables.

    Raises Invalid with every complaint; no complaint repeats a value that may hold a secret.
    """
    found: dict[str, Any] = {}
    for option in OPTIONS:
        value = options.get(option) or environ.get(variable(option), "").strip()
        if value:
            found[option] = value
    if isinstance(names := found.get("env"), str):
        found["env"] = [name.strip() for name in names.split(",") if name.strip()]
    found["env"] = tuple(dict.fromkeys(found.get("env", ())))
    found.setdefault("cache_dir", _cache_dir(environ))
    found |= {option: Path(found[option]).expanduser() for option in PATHS if option in found}
    complaints = [*_address(found.get("repo", "")), *_prometheus(found.get("prometheus", "")), *_files(found)]
    if complaints:
        raise joined(complaints)
    return Settings(**found)


def _address(url: str) -> list[Invalid]:
    """Say what is wrong with the repository's address, without repeating it."""
    if not url:
        return [
            Invalid(
                "no repository is named",
                code="missing",
                remedy=f"give --repo URL, or set {variable('repo')}",
            )
        ]
    if "://" not in url:
        return []  # a path, or HOST:PATH, which can hold no password
    name, password, query = _secrets(url)
    if not password and not query and (not name or urlsplit(url).scheme == "ssh"):
        return []
    return [
        Invalid(
            "the repository's address holds a user name, a password or a query",
            code="credentials",
            remedy=f"{WRITE_URL}, and name a file that holds the token with --token-file",
        )
    ]


def _prometheus(url: str) -> list[Invalid]:
    """Say what is wrong with the address of Prometheus, without repeating it."""
    if not url:
        return []
    if not url.startswith(("http://", "https://")):
        return [Invalid("--prometheus is no http address", code="range", remedy="write it like http://HOST:9090")]
    if any(_secrets(url)):
        return [
            Invalid(
                "--prometheus holds a user name, a password or a query",
                code="credentials",
                remedy="write it like http://HOST:9090",
            )
        ]
    return []


def _secrets(url: str) -> tuple[bool, bool, bool]:
    """Tell whether a URL holds a user name, a password, a query or fragment; an unreadable one may hold all."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True, True, True
    return parts.username is not None, parts.password is not None, bool(parts.query or parts.fragment)


def _files(found: Mapping[str, Any]) -> list[Invalid]:
    """Complain of credential files that are not there, before a server is asked."""
    return [
        Invalid(
            f"there is no file {found[option]} for --{option.replace('_', '-')}",
            code="missing",
            remedy="correct the path",
        )
        for option in ("token_file", "ssh_key_file", "known_hosts")
        if option in found and not found[option].is_file()
    ]


def _cache_dir(environ: Mapping[str, str]) -> Path:
    """Find the place for clones, which may be deleted at any time."""
    home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    return Path(home) / "gitops-serving"
