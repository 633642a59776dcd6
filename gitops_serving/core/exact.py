"""The values of a file that only we write, read back exactly: anything that we would not have written is damage.

The opposite of `fields`, which is patient with people and files every complaint.  Nobody
mends a record by hand, they restore it; so the first fault ends the reading, as a
``ValueError`` in words.  What is absent is absent, and what is there is of its type and
within its bounds: an empty list where a mapping belongs is damage, and no absence.

It knows the shapes of values and refuses to know what a record is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .fields import shown

ANY = re.compile(r".*", re.DOTALL)
REVISION = re.compile(r"[0-9a-f]{12}")
LABEL = re.compile(r"[0-9a-f]{12}\.[1-9][0-9]{0,8}")  # DIGEST.N
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MOST = 999_999_999  # of any number: as many digits as a label's N may have, and seconds enough for thirty years
YEARS = range(2000, 9900)  # so that any durations added to an instant make an instant still


@dataclass(frozen=True, slots=True)
class Part:
    """A mapping in the file, with its name for people; empty: the file itself."""

    value: Mapping[str, Any]
    name: str = ""

    def text(self, key: str, form: re.Pattern[str] = ANY) -> str:
        """Read a text of this form that has to be there."""
        found = self._needed(key)
        if not isinstance(found, str) or not form.fullmatch(found):
            raise self._wrong(key, found)
        return found

    def perhaps(self, key: str, form: re.Pattern[str] = ANY) -> str | None:
        """Read a text that may be absent."""
        return self.text(key, form) if key in self.value else None

    def whole(self, key: str, least: int, most: int = MOST) -> int:
        """Read a whole number between two bounds, both included."""
        found = self._needed(key)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self._wrong(key, found)
        return found

    def flag(self, key: str) -> bool:
        """Read a boolean; an absent one is false."""
        found = self.value.get(key, False)
        if not isinstance(found, bool):
            raise self._wrong(key, found)
        return found

    def instant(self, key: str) -> datetime:
        """Read an instant."""
        try:
            return instant(self.text(key))
        except ValueError:
            raise self._wrong(key, self.value[key]) from None

    def part(self, key: str) -> Part | None:
        """Find a mapping that may be absent."""
        return self._part(self.value[key], key) if key in self.value else None

    def parts(self, key: str) -> tuple[Part, ...]:
        """Find a list of mappings; an absent one is empty."""
        found = self.value.get(key, [])
        if not isinstance(found, list):
            raise self._wrong(key, found)
        return tuple(self._part(each, f"{key}[{number}]") for number, each in enumerate(found))

    def _part(self, found: object, key: str) -> Part:
        if not isinstance(found, Mapping):
            raise self._wrong(key, found)
        return Part(found, self._called(key))

    def _needed(self, key: str) -> Any:
        if key not in self.value:
            raise ValueError(f"{self._called(key)} is missing")
        return self.value[key]

    def _called(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _wrong(self, key: str, found: object) -> ValueError:
        return ValueError(f"{self._called(key)} cannot be {shown(found)}")


def instant(text: str) -> datetime:
    """Read an instant with its time zone, in years that leave room for sums; raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    if at.year not in YEARS:  # asked before it is moved to UTC, which is beyond the first and the last instant there is
        raise ValueError(f"{text} is in no year from {YEARS.start} to {YEARS.stop - 1}")
    return at.astimezone(UTC)


def number_of(label: str) -> int:
    """Read the N of a label that is one."""
    return int(label.rpartition(".")[2])
