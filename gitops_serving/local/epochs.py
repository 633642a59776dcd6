"""Which revision answered how much at each weight: the gateway's own account of its splits.

Prometheus sees rates over windows; whoever wants to say "at 10 percent, 40 of 400 requests" needs counts that begin
anew with every change of a service's targets. A request belongs to the epoch in which its revision was picked, also
when it ends in a later one, so the counts of an epoch show the split that was in force and not the speed of answers.

This module knows no HTTP; it is told of targets, picks and outcomes.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from gitops_serving.local.routing import Target

# A rollout has about ten steps; this keeps twenty rollouts and bounds the memory of a gateway that runs for months.
KEPT_EPOCHS = 200
_CLASSES = ("2xx", "4xx", "5xx")


class Epoch:
    """The counts of one service under one set of targets."""

    __slots__ = ("_requests", "_since", "targets")

    def __init__(self, targets: tuple[Target, ...], since: datetime) -> None:
        self.targets = targets
        self._since = since
        self._requests: dict[str, Counter[str]] = {target.revision: Counter() for target in targets}

    def count(self, revision: str, code: int) -> None:
        """Add one answered request."""
        self._requests[revision][f"{code // 100}xx"] += 1

    def document(self) -> dict[str, Any]:
        """Show the epoch as JSON; classes other than 2xx, 4xx and 5xx appear only when there was one."""
        return {
            "since": self._since.isoformat(timespec="milliseconds"),
            "targets": {target.revision: target.percent for target in self.targets},
            "requests": {
                revision: {**dict.fromkeys(_CLASSES, 0), **counts} for revision, counts in self._requests.items()
            },
        }


class Epochs:
    """The epochs of every service in the table; a service that leaves the table takes its counts with it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Take a clock that gives aware instants."""
        self._clock = clock
        self._of: dict[str, deque[Epoch]] = {}

    def follow(self, services: Mapping[str, tuple[Target, ...]]) -> None:
        """Begin a new epoch for each service whose targets changed."""
        self._of = {key: self._of.get(key, deque(maxlen=KEPT_EPOCHS)) for key in services}
        for key, targets in services.items():
            epochs = self._of[key]
            if not epochs or epochs[-1].targets != targets:
                epochs.append(Epoch(targets, self._clock()))

    def current(self, service: str) -> Epoch:
        """Give the epoch in which a pick made now belongs."""
        return self._of[service][-1]

    def document(self) -> dict[str, Any]:
        """Show all epochs, oldest first, by service."""
        return {key: [epoch.document() for epoch in epochs] for key, epochs in self._of.items()}
