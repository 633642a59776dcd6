"""A log file that never grows beyond its limit: one file and the one before it.

Knows nothing of who writes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_BYTES = 5 * 1024 * 1024


class RotatedLog:
    """An open log file, readable by its owner alone."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path, self._limit = path, limit_bytes
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.descriptor = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def write(self, chunk: bytes) -> None:
        """Append, after putting a full file aside."""
        if os.fstat(self.descriptor).st_size + len(chunk) > self._limit:
            os.close(self.descriptor)
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self.descriptor = self._open()
        os.write(self.descriptor, chunk)

    def _open(self) -> int:
        """Open the file for appending."""
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
