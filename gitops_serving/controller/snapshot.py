"""What the last look saw, immutable, for the faces: command line, page, log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitops_serving.core.due import hindered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gitops_serving.core.errors import Invalid
    from gitops_serving.core.evidence import Evidence
    from gitops_serving.core.measure import Query, Reading
    from gitops_serving.core.model import Decision, Situation
    from gitops_serving.ports import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One service, with everything that its decision rests on."""

    service: str
    situation: Situation | None = None  # None: its files could not be read
    decision: Decision | None = None
    queries: tuple[Query, ...] = ()
    readings: Mapping[str, Reading] | None = None
    evidence: Evidence | None = None  # None: nothing is measured
    invalid: Invalid | None = None  # what is wrong with its files, or with its policy
    error: str = ""  # what went wrong with this service alone in this tick

    @property
    def wrong(self) -> str:
        """What somebody ought to see to: an error of ours, a wrong file, a cluster that says no; empty: nothing."""
        if self.error or self.invalid is not None:
            return self.error or str(self.invalid)
        return (hindered(self.situation.live) or "") if self.situation is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One environment at one commit."""

    environment: str
    at: datetime
    tree: Tree | None = None  # None: nothing was ever fetched
    services: tuple[Seen, ...] = ()
    appended: tuple[str, ...] = ()  # first lines of the entries that this tick wrote
    error: str = ""  # what kept the whole tick from its work
    refused: bool = False  # whether that was a no, which waiting does not change
    invalid: Invalid | None = None  # what is wrong with the environment's own file
