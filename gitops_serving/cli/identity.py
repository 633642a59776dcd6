"""Who a person is, for the commits of the verbs: as Git itself would find it out."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from gitops_serving.core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

FORM = re.compile(r"[^<>\x00-\x1f]*[^<>\s][^<>\x00-\x1f]* <[^<>\s]+>")
REMEDY = 'give --author "Name <address>", or set user.name and user.email with git config'


def author(given: str | None, environ: Mapping[str, str]) -> str:
    """Write the author as ``Name <address>``: as given, by Git's variables, or by its configuration."""
    if given is not None:
        if not FORM.fullmatch(given):
            raise Invalid(f"{given!r} does not name an author", code="author", remedy='write it like "Ada <ada@host>"')
        return given
    name = environ.get("GIT_AUTHOR_NAME", "").strip() or _configured("user.name")
    address = environ.get("GIT_AUTHOR_EMAIL", "").strip() or _configured("user.email")
    found = f"{name} <{address}>"
    if not FORM.fullmatch(found):
        raise Invalid("nobody knows in whose name to commit", code="author", remedy=REMEDY)
    return found


def _configured(key: str) -> str:
    """Read a key of Git's configuration; empty: it is not set, or there is no git."""
    try:
        found = subprocess.run(["git", "config", "--get", key], check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
