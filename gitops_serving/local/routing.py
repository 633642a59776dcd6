"""Who gets a request: the immutable table, the address in a request, and the exact split.

The table is one document that the supervisor writes and the gateway swaps in as a whole, so that no request ever sees
half of a change. A pick is final: the failure of a canary is the signal that a rollout waits for, and sending its
share elsewhere would hide it. Knative draws at random; here the split is a smooth weighted round robin, exact to one
request at any moment for the two or three targets that KServe writes, so that fifty requests at ten percent show five.

This module opens no socket and keeps no time.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_PREFIX = "/serving/"
_KEY = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
# sun_path holds 108 bytes with its terminating zero.
SOCKET_PATH_BYTES = 107


class TableError(ValueError):
    """A routing table that cannot be used; `problems` names every one of its faults."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Target:
    """A revision and its share of a service's requests."""

    revision: str
    percent: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that may be sent requests; no replicas means that its requests wait."""

    namespace: str
    name: str
    configuration: str
    replicas: tuple[str, ...] = ()
    concurrency: int = 0
    """How many requests one replica takes at a time; 0 means no limit."""

    @property
    def key(self) -> str:
        """Give the name under which the table knows this revision."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Table:
    """What goes where; services and revisions are keyed `namespace/name`. A service may have no targets yet."""

    services: Mapping[str, tuple[Target, ...]]
    revisions: Mapping[str, Revision]


EMPTY = Table(services=MappingProxyType({}), revisions=MappingProxyType({}))


def parse_table(document: Any) -> Table:
    """Read the supervisor's document; raise TableError with all its problems."""
    problems: list[str] = []
    if not isinstance(document, dict):
        raise TableError(["the routing table is not a JSON object"])
    revisions = {}
    for key, entry in _entries(document, "revisions", problems):
        if (revision := _revision(key, entry, problems)) is not None:
            revisions[key] = revision
    services = {}
    for key, entry in _entries(document, "services", problems):
        services[key] = _targets(key, entry, problems)
        namespace = key.partition("/")[0]
        problems += [
            f"services.{key}: revision {target.revision} is missing under revisions"
            for target in services[key]
            if f"{namespace}/{target.revision}" not in revisions
        ]
    if problems:
        raise TableError(problems)
    return Table(services=MappingProxyType(services), revisions=MappingProxyType(revisions))


def table_document(table: Table) -> dict[str, Any]:
    """Write a table as the document that `parse_table` reads."""
    return {
        "services": {
            key: {"targets": [{"revision": target.revision, "percent": target.percent} for target in targets]}
            for key, targets in table.services.items()
        },
        "revisions": {
            key: {
                "configuration": revision.configuration,
                "replicas": list(revision.replicas),
                "concurrency": revision.concurrency,
            }
            for key, revision in table.revisions.items()
        },
    }


def service_of(table: Table, host: str, raw_path: str) -> tuple[str | None, str]:
    """Find the service that a request addresses, and the path that its model server shall see.

    `/serving/{namespace}/{service}/...` wins over the Host header. The service is None when nothing matches.
    """
    if raw_path.startswith(PATH_PREFIX):
        namespace, _, rest = raw_path.removeprefix(PATH_PREFIX).partition("/")
        name, _, tail = rest.partition("/")
        key = f"{namespace}/{name}"
        return (key if key in table.services else None), f"/{tail}"
    labels = host.lower().partition(":")[0].split(".")
    if len(labels) < 2:
        return None, raw_path
    name, namespace = labels[0], labels[1]
    for candidate in (name, name.removesuffix("-predictor")):
        if f"{namespace}/{candidate}" in table.services:
            return f"{namespace}/{candidate}", raw_path
    return None, raw_path


class Split:
    """The picks of one service while its targets stay the same."""

    __slots__ = ("_debts", "targets")

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self.targets = targets
        self._debts = {target.revision: 0 for target in targets if target.percent > 0}

    def pick(self) -> str | None:
        """Name the revision that takes the next request, or None if there is no target."""
        if not self._debts:
            return None
        for target in self.targets:
            if target.percent > 0:
                self._debts[target.revision] += target.percent
        chosen = max(self._debts, key=self._debts.__getitem__)
        self._debts[chosen] -= 100
        return chosen


def _entries(document: dict[str, Any], field: str, problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    section = document.get(field)
    if not isinstance(section, dict):
        problems.append(f"{field}: missing or not an object")
        return []
    good = []
    for key, entry in section.items():
        if not _KEY.fullmatch(key):
            problems.append(f"{field}.{key}: the key is not of the form namespace/name")
        elif not isinstance(entry, dict):
            problems.append(f"{field}.{key}: not an object")
        else:
            good.append((key, entry))
    return good


def _revision(key: str, entry: dict[str, Any], problems: list[str]) -> Revision | None:
    where = f"revisions.{key}"
    configuration, replicas, concurrency = entry.get("configuration"), entry.get("replicas"), entry.get("concurrency")
    faults = []
    if not isinstance(configuration, str) or not configuration:
        faults.append(f"{where}.configuration: not a name")
    if not isinstance(replicas, list) or not all(_is_socket_path(path) for path in replicas):
        faults.append(f"{where}.replicas: not a list of absolute socket paths of at most {SOCKET_PATH_BYTES} bytes")
    if not _is_count(concurrency):
        faults.append(f"{where}.concurrency: not a number from 0 on")
    problems += faults
    if faults:
        return None
    namespace, _, name = key.partition("/")
    return Revision(
        namespace, name, str(configuration), replicas=tuple(replicas or ()), concurrency=int(concurrency or 0)
    )


def _targets(key: str, entry: dict[str, Any], problems: list[str]) -> tuple[Target, ...]:
    """Read a service's targets; Knative may name one revision twice, and its shares are then one share."""
    listed = entry.get("targets")
    shares: Counter[str] = Counter()
    for target in listed if isinstance(listed, list) else [None]:
        revision = target.get("revision") if isinstance(target, dict) else None
        percent = target.get("percent") if isinstance(target, dict) else None
        if not isinstance(revision, str) or not _is_count(percent):
            problems.append(f"services.{key}.targets: not a list of objects with a revision and a percent from 0 on")
            return ()
        shares[revision] += int(percent or 0)
    if shares and sum(shares.values()) != 100:
        problems.append(f"services.{key}.targets: the percents add up to {sum(shares.values())}, not to 100")
    return tuple(Target(revision, percent) for revision, percent in shares.items())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_socket_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/") and len(value.encode()) <= SOCKET_PATH_BYTES
