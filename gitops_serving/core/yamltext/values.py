"""Trees to plain values: aliases written out, merges applied.

Every alias becomes a value of its own, so that changing one place never changes another.  A merge is applied only
where all readers agree on its result.  Relies on the budgets of ``scan``: nothing here can be deep or huge.
"""

from __future__ import annotations

from typing import Any

from gitops_serving.core.errors import Invalid

from .nodes import Alias, Mapping, Node, Scalar, Sequence
from .source import short


def value_of(node: Node) -> Any:
    """Return the plain value of a node; raise Invalid for a merge that two readers would read in two ways."""
    match node:
        case Scalar():
            return node.value
        case Alias():
            return value_of(node.target)
        case Sequence():
            return [value_of(item) for item in node.items]
        case Mapping():
            own = {entry.name: value_of(entry.value) for entry in node.entries if not entry.key.is_merge}
            return {**inherited(node), **own}


def inherited(mapping: Mapping) -> dict[str, Any]:
    """Return what a mapping takes over through ``<<``."""
    above: set[str] = set()
    for entry in mapping.entries:
        if entry.key.is_merge:
            return _merged(entry.key, entry.value, above)
        above.add(entry.name)
    return {}


def _merged(key: Scalar, node: Node, above: set[str]) -> dict[str, Any]:
    value = value_of(node)
    merged: dict[str, Any] = {}
    for source in reversed(value if isinstance(value, list) else [value]):
        if not isinstance(source, dict):
            raise Invalid("a merge takes a mapping", code="merge", line=key.line, remedy="merge an alias of a mapping")
        merged |= source
    if above & merged.keys():
        # go-yaml v2 lets the merge win over the keys above it, every other reader does not
        raise Invalid(
            f"the merge repeats the key {short(min(above & merged.keys()))} that stands above it",
            code="merge",
            line=key.line,
            remedy="put the merge first in its mapping",
        )
    return merged
