"""The form of the controller's log lines: for people, or for machines; always on stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog

from gitops_serving.core.ledger import one_line

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def configure(form: str) -> None:
    """Write log lines as text, coloured on a terminal, or as JSON."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=coloured, pad_event_to=0, sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            printable,
            *([structlog.processors.dict_tracebacks] if form == "json" else []),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick that is not due is no news


def printable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Fold texts of clusters and commits to one line each, so that none can pose as a line of its own."""
    return {key: one_line(value) if isinstance(value, str) else value for key, value in event.items()}
