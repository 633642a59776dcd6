"""The files that ship with the package: metric packs and policies to start from.

They are data and not code, so that people can read, copy and shadow them; a fleet
repository's ``policies/metrics/NAME.yaml`` takes the place of the one of that name here.
Installed they lie inside the package, and in a checkout in ``policies/`` at its top.
What they mean is not known here: whoever wants them read passes their bytes on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(__file__).parent
_PLACES = (_PACKAGE / "policies", _PACKAGE.parent / "policies")


@cache
def packs() -> Mapping[str, bytes]:
    """Give every metric pack by the path that it would have in a fleet repository."""
    return {f"policies/metrics/{path.name}": path.read_bytes() for path in sorted(_files("metrics/*.yaml"))}


def policies() -> list[str]:
    """Name the policies."""
    return sorted(path.stem for path in _files("*.yaml"))


def policy(name: str) -> bytes:
    """Give a policy by its name; raises Invalid where there is none."""
    for path in _files("*.yaml"):
        if path.stem == name:
            return path.read_bytes()
    raise Invalid(f"no policy {name} is shipped", code="missing", remedy=f"there are: {', '.join(policies())}")


def _files(pattern: str) -> list[Path]:
    """Find files where they were installed, or else in the checkout."""
    return next((found for place in _PLACES if (found := list(place.glob(pattern)))), [])
