"""Request bodies to plain values: size and nesting first, meaning second.

A body is JSON or YAML.  Deep nesting and aliases can stall or crash a process
that parses them, so both are refused before anything is built.  Knows nothing of
Kubernetes; what it returns is a mapping of JSON's own types.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml

from gitops_serving.local.faults import bad_request, too_large

LIMIT_BYTES = 1024 * 1024
LIMIT_DEPTH = 64


class _PlainLoader(yaml.CSafeLoader):
    """YAML without dates: Kubernetes reads a date as a string, so do we."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def mapping(raw: bytes, *, is_yaml: bool = False) -> dict[str, Any]:
    """Parse a body that has to be one mapping; raises ApiError with what is wrong."""
    if len(raw) > LIMIT_BYTES:
        raise too_large(LIMIT_BYTES)
    value = _from_yaml(raw) if is_yaml else _from_json(raw)
    if not isinstance(value, dict):
        raise bad_request("the body of the request is not a mapping; send one object")
    _check(value)
    return value


def _from_json(raw: bytes) -> Any:
    """Parse JSON."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise bad_request(f"the body of the request is not JSON: {error}") from None


def _from_yaml(raw: bytes) -> Any:
    """Parse YAML, whose events are looked through before anything is built from them."""
    try:
        depth = 0
        for event in yaml.parse(raw, Loader=_PlainLoader):
            if isinstance(event, yaml.AliasEvent):
                raise bad_request("the body of the request uses a YAML alias; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > LIMIT_DEPTH:
                raise _too_deep()
        loader = _PlainLoader(raw)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:
        raise bad_request(f"the body of the request is not YAML: {error}") from None


def _check(value: Any) -> None:
    """Refuse what JSON cannot say, and what is nested too deeply, without recursion."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > LIMIT_DEPTH + 1:
            raise _too_deep()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise bad_request("the body of the request has a key that is not a string; put it in quotes")
            waiting.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            waiting.extend((child, depth + 1) for child in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise bad_request("the body of the request has a number that is not finite")
        elif not isinstance(item, str | int | float | None):
            raise bad_request(f"the body of the request has a value of type {type(item).__name__}; use JSON's types")


def _too_deep() -> Exception:
    """Say that a body is nested too deeply."""
    return bad_request(f"the body of the request is nested deeper than {LIMIT_DEPTH} levels")
