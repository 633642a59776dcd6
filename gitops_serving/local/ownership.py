"""Who owns which field: ``managedFields`` as server-side apply keeps them.

A leaf is what is owned as a whole: ``spec`` (KServe's minimal CRD makes it
atomic), each label and each annotation.  Owners are kept in the objects
themselves, in Kubernetes' format.  Pure: objects in, objects out; the caller
brings the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gitops_serving.local.faults import Json, field_conflicts

if TYPE_CHECKING:
    from collections.abc import Iterable

Leaf = tuple[str, ...]

MAPS = ("labels", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One manager and the leaves that are its own."""

    manager: str
    operation: str  # Apply or Update
    time: str
    leaves: frozenset[Leaf]

    def same(self, manager: str, operation: str) -> bool:
        """Tell whether this is the entry of that manager and operation."""
        return (self.manager, self.operation) == (manager, operation)


def leaves(body: Json) -> dict[Leaf, Any]:
    """List an object's leaves with their values."""
    found: dict[Leaf, Any] = {}
    if "spec" in body:
        found["spec",] = body["spec"]
    for part in MAPS:
        for key, value in ((body.get("metadata") or {}).get(part) or {}).items():
            found["metadata", part, key] = value
    return found


def with_leaves(body: Json, values: dict[Leaf, Any]) -> Json:
    """Copy an object with exactly these leaves; everything else stays."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in MAPS}
    for part in MAPS:
        entries = {leaf[2]: value for leaf, value in values.items() if leaf[:2] == ("metadata", part)}
        if entries:
            metadata[part] = entries
    rest = {key: value for key, value in body.items() if key not in {"metadata", "spec"}}
    spec = {"spec": values["spec",]} if ("spec",) in values else {}
    return {**rest, "metadata": metadata, **spec}


def owners(body: Json) -> tuple[Owner, ...]:
    """Read the owners from an object."""
    return tuple(
        Owner(
            manager=entry["manager"],
            operation=entry["operation"],
            time=entry["time"],
            leaves=frozenset(_flat(entry["fieldsV1"])),
        )
        for entry in body["metadata"].get("managedFields", [])
    )


def with_owners(body: Json, entries: Iterable[Owner], api_version: str) -> Json:
    """Copy an object with these owners; an owner of nothing is forgotten."""
    told = [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": api_version,
            "time": owner.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _nested(owner.leaves),
        }
        for owner in entries
        if owner.leaves
    ]
    return {**body, "metadata": {**body["metadata"], "managedFields": told}}


def applied(live: Json, wanted: Json, manager: str, *, force: bool, now: str, api_version: str) -> Json:
    """Apply a configuration; the very object given as ``live`` comes back when nothing changes.

    Raises ApiError with every conflict: a leaf that has another value and another owner.
    """
    before, mine = leaves(live), leaves(wanted)
    known = owners(live)
    own = next((owner for owner in known if owner.same(manager, "Apply")), None)
    others = [owner for owner in known if owner is not own]
    taken = {leaf for leaf, value in mine.items() if leaf in before and before[leaf] != value}
    conflicts = [
        (_told(owner, api_version), _path(leaf))
        for owner in others
        for leaf in sorted(owner.leaves & taken, key=_order)
    ]
    if conflicts and not force:
        raise field_conflicts(conflicts)
    others = [replace(owner, leaves=owner.leaves - taken) for owner in others]
    kept = frozenset[Leaf]().union(*(owner.leaves for owner in others))
    given_up = (own.leaves if own else frozenset()) - mine.keys() - kept
    after = {leaf: value for leaf, value in {**before, **mine}.items() if leaf not in given_up}
    entry = Owner(manager=manager, operation="Apply", time=now, leaves=frozenset(mine))
    if after == before and own is not None and own.leaves == entry.leaves:
        return live
    return with_owners(with_leaves(live, after), _in_place(known, others, own, entry), api_version)


def updated(live: Json | None, wanted: Json, manager: str, *, now: str, api_version: str) -> Json:
    """Note who changed what in a create or a replace; what was removed is nobody's any more."""
    before = leaves(live) if live else {}
    after = leaves(wanted)
    changed = {leaf for leaf, value in after.items() if leaf not in before or before[leaf] != value}
    lost = changed | (before.keys() - after.keys())
    known = owners(live) if live else ()
    own = next((owner for owner in known if owner.same(manager, "Update")), None)
    others = [replace(owner, leaves=owner.leaves - lost) for owner in known if owner is not own]
    held = ((own.leaves if own else frozenset()) & after.keys()) | changed
    time = own.time if own is not None and own.leaves == held else now
    entry = Owner(manager=manager, operation="Update", time=time, leaves=frozenset(held))
    return with_owners(wanted, _in_place(known, others, own, entry), api_version)


def _in_place(known: tuple[Owner, ...], others: list[Owner], own: Owner | None, entry: Owner) -> list[Owner]:
    """Put an owner's new entry where its old one stood, or at the end."""
    position = known.index(own) if own is not None else len(others)
    return [*others[:position], entry, *others[position:]]


def _nested(paths: Iterable[Leaf]) -> Json:
    """Write leaves in the nested form of FieldsV1."""
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(f"f:{part}", {})
    return tree


def _flat(tree: Json) -> list[Leaf]:
    """Read leaves from the nested form of FieldsV1."""
    found: list[Leaf] = []
    for key, below in tree.items():
        part = key.removeprefix("f:")
        found.extend((part, *rest) for rest in _flat(below)) if below else found.append((part,))
    return found


def _order(leaf: Leaf) -> tuple[int, Leaf]:
    """Sort leaves as Kubernetes does in messages: what is nearer to the root comes first."""
    return len(leaf), leaf


def _path(leaf: Leaf) -> str:
    """Write a leaf as Kubernetes does in messages."""
    return "".join(f".{part}" for part in leaf)


def _told(owner: Owner, api_version: str) -> str:
    """Name an owner as Kubernetes does in messages."""
    return f'"{owner.manager}"' + (f" using {api_version}" if owner.operation == "Update" else "")
