"""How many files and connections a process may have open: as many as this machine lets it.

The usual limit is 1,024, a guard from the days of select().  A gateway whose model servers stall for a few seconds
holds more connections than that, and beyond the limit an event loop may close the very socket that it listens on.
"""

from __future__ import annotations

import resource


def allow_many() -> None:
    """Raise this process's own limit as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
