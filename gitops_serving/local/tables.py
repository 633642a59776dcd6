"""Server-side printing: lists and objects as the tables that ``kubectl get`` shows.

The columns are KServe's and Knative's own, so that people and scripts see what
they see on a real cluster.  Pure: objects and the time in, tables out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gitops_serving.local.kinds import EVENT, INFERENCE_SERVICE, NAMESPACE, REVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gitops_serving.local.faults import Json
    from gitops_serving.local.kinds import Kind

    Cell = Callable[[Json], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, its type and where its value comes from."""

    name: str
    type: str
    cell: Cell
    priority: int = 0  # above 0: shown with -o wide only


def table(kind: Kind, bodies: Iterable[Json], *, version: str, now: datetime, include: str = "Metadata") -> Json:
    """Print objects as a Table; ``include`` says what each row carries of its object."""
    columns = COLUMNS[kind]
    definitions = [
        {"name": c.name, "type": c.type, "format": "name" if c.name == "Name" else "", "priority": c.priority}
        | {"description": f"{c.name} of the {kind.singular}"}
        for c in columns
    ]
    rows = [{"cells": [_shown(c, body, now) for c in columns], **_object(body, include)} for body in bodies]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": rows,
    }


def age(since: str, now: datetime) -> str:
    """Say how long ago something was, in kubectl's words."""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _shown(column: Column, body: Json, now: datetime) -> Any:
    """Fill one cell; None: there is no such value."""
    value = column.cell(body)
    return age(value, now) if column.type == "date" and value else value


def _object(body: Json, include: str) -> Json:
    """Say what a row carries of its object."""
    if include == "None":
        return {}
    if include == "Object":
        return {"object": body}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}
    return {"object": partial}


def _at(*path: str) -> Cell:
    """Read a value by its path; None where the path ends early."""

    def cell(body: Json) -> Any:
        value: Any = body
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return cell


def _condition(field: str) -> Cell:
    """Read a field of the condition Ready."""
    return lambda body: next((c.get(field) for c in _conditions(body) if c["type"] == "Ready"), None)


def _conditions(body: Json) -> list[Json]:
    """List an object's conditions."""
    found: list[Json] = body.get("status", {}).get("conditions", [])
    return found


def _traffic(field: str, *, latest: bool) -> Cell:
    """Read a field of the latest entry of the traffic, or of the one with the tag prev."""

    def cell(body: Json) -> Any:
        entries = _at("status", "components", "predictor", "traffic")(body) or []
        mine = (e for e in entries if (e.get("latestRevision") is True if latest else e.get("tag") == "prev"))
        return next((entry.get(field) for entry in mine), None)

    return cell


_NAME = Column("Name", "string", _at("metadata", "name"))
_AGE = Column("Age", "date", _at("metadata", "creationTimestamp"))

COLUMNS: dict[Kind, tuple[Column, ...]] = {
    NAMESPACE: (_NAME, Column("Status", "string", _at("status", "phase")), _AGE),
    EVENT: (_NAME, _AGE),
    INFERENCE_SERVICE: (
        _NAME,
        Column("URL", "string", _at("status", "url")),
        Column("Ready", "string", _condition("status")),
        Column("Prev", "integer", _traffic("percent", latest=False)),
        Column("Latest", "integer", _traffic("percent", latest=True)),
        Column("PrevRolledoutRevision", "string", _traffic("revisionName", latest=False)),
        Column("LatestReadyRevision", "string", _traffic("revisionName", latest=True)),
        _AGE,
    ),
    REVISION: (
        _NAME,
        Column("Config Name", "string", _at("metadata", "labels", "serving.knative.dev/configuration")),
        Column("Generation", "string", _at("metadata", "labels", "serving.knative.dev/configurationGeneration")),
        Column("Ready", "string", _condition("status")),
        Column("Reason", "string", _condition("reason")),
        Column("Actual Replicas", "integer", _at("status", "actualReplicas")),
        Column("Desired Replicas", "integer", _at("status", "desiredReplicas")),
        Column("Age", "date", _at("metadata", "creationTimestamp"), 1),
    ),
}
