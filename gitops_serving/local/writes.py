"""Create, replace, merge, apply and delete: what a write makes of the object it meets.

Each function takes the store and the request's parts, and returns the object as
it is afterwards.  ``spec``, labels and annotations are the user's; everything
else (uid, generation, status, ownership) is kept from the live object, whatever
the request says.  Knows nothing of HTTP.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gitops_serving.local import ownership
from gitops_serving.local.faults import (
    Cause,
    Json,
    already_exists,
    bad_option,
    bad_request,
    invalid,
    modified,
    no_such_object,
    not_found,
    other_object,
)
from gitops_serving.local.validate import check

if TYPE_CHECKING:
    from gitops_serving.local.kinds import Kind
    from gitops_serving.local.store import Store

KNOWN = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
THEIRS = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What every write says beside its body."""

    kind: Kind
    namespace: str  # empty: the kind has none
    name: str  # empty: the body says it, in a create
    manager: str
    now: str
    dry_run: bool = False
    strict: bool = False  # unknown fields are refused instead of dropped
    force: bool = False


def create(store: Store, write: Write, body: Json) -> Json:
    """Store a new object; raises ApiError (409) if there is one."""
    wanted = _wanted(write, body)
    name = wanted["metadata"].get("name", "")
    if store.get(write.kind, write.namespace, name) is not None:
        raise already_exists(write.kind, name)
    owned = ownership.updated(None, wanted, write.manager, now=write.now, api_version=write.kind.api_version)
    return _finish(store, write, None, owned)


def replace(store: Store, write: Write, body: Json) -> Json:
    """Store an object in the place of the live one, made from it by whoever knew its version."""
    live = live_object(store, write)
    wanted = _wanted(write, body)
    if not body["metadata"].get("resourceVersion"):
        missing = Cause("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
        raise invalid(write.kind, write.name, [missing])
    _expect(write, live, body["metadata"])
    return _update(store, write, live, wanted)


def merge(store: Store, write: Write, patch: Json) -> Json:
    """Merge a patch into the live object; null removes."""
    live = live_object(store, write)
    merged = _merged(live, patch)
    if not isinstance(merged["metadata"], dict):
        raise bad_request("metadata has to be a mapping")
    _expect(write, live, patch.get("metadata") or {})
    return _update(store, write, live, _wanted(write, merged))


def apply(store: Store, write: Write, body: Json) -> tuple[Json, bool]:
    """Server-side apply; also tells whether the object is a new one."""
    if not write.manager:
        raise bad_option("fieldManager", "Required value: is required for apply patch")
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    wanted = _wanted(write, body)
    live = store.get(write.kind, write.namespace, write.name)
    if live is None:
        if body["metadata"].get("uid"):
            raise no_such_object(write.kind, write.name, body["metadata"]["uid"])
        blank = {key: value for key, value in ownership.with_leaves(wanted, {}).items() if key != "status"}
        return _finish(store, write, None, _applied(write, blank, wanted)), True
    if (body["metadata"].get("uid") or live["metadata"]["uid"]) != live["metadata"]["uid"]:
        wrong = Cause("metadata.uid", f"Invalid value: {body['metadata']['uid']!r}: field is immutable")
        raise invalid(write.kind, write.name, [wrong])
    _expect(write, live, body["metadata"])
    after = _applied(write, live, wanted)
    return (live if after is live else _finish(store, write, live, after)), False


def delete(store: Store, write: Write, preconditions: Json) -> Json:
    """Remove an object; what comes back is how it was last."""
    live = live_object(store, write)
    _expect(write, live, preconditions)
    return live if write.dry_run else store.remove(write.kind, live)


def live_object(store: Store, write: Write) -> Json:
    """Find the object that a write is about; raises ApiError (404)."""
    live = store.get(write.kind, write.namespace, write.name)
    if live is None:
        raise not_found(write.kind, write.name)
    return live


def _applied(write: Write, live: Json, wanted: Json) -> Json:
    """Apply with the request's manager."""
    return ownership.applied(
        live, wanted, write.manager, force=write.force, now=write.now, api_version=write.kind.api_version
    )


def _update(store: Store, write: Write, live: Json, wanted: Json) -> Json:
    """Note owners and finish, unless nothing changed."""
    if ownership.leaves(live) == ownership.leaves(wanted):
        return live
    owned = ownership.updated(live, wanted, write.manager, now=write.now, api_version=write.kind.api_version)
    return _finish(store, write, live, owned)


def _wanted(write: Write, body: Json) -> Json:
    """Take from a body what is the user's to say; raises ApiError where it speaks of something else."""
    unknown = sorted(body.keys() - KNOWN)
    if unknown and write.strict:
        raise bad_request("strict decoding error: " + ", ".join(f'unknown field "{field}"' for field in unknown))
    for field, expected in (("apiVersion", write.kind.api_version), ("kind", write.kind.kind)):
        if body.get(field) != expected:
            raise bad_request(f"{field} is {body.get(field)!r}, and this address is for {expected!r}")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise bad_request("metadata has to be a mapping with at least a name")
    for field, expected in (("name", write.name), ("namespace", write.namespace)):
        given = metadata.get(field) or expected
        if expected and given != expected:
            raise bad_request(f"the {field} of the object ({given}) does not match the {field} on the URL ({expected})")
    for part in ownership.MAPS:
        if not isinstance(metadata.get(part) or {}, dict):
            raise bad_request(f"metadata.{part} has to be a mapping of strings")
    placed = {"name": metadata.get("name") or write.name}
    if write.kind.namespaced:
        placed["namespace"] = write.namespace
    theirs = {key: metadata[key] for key in THEIRS if metadata.get(key)}
    wanted = {key: body[key] for key in ("apiVersion", "kind", "spec") if key in body}
    return copy.deepcopy({**wanted, "metadata": {**theirs, **placed}})


def _expect(write: Write, live: Json, metadata: Json) -> None:
    """Hold uid and version, where a request names them, against the live object."""
    found = live["metadata"]
    uid = metadata.get("uid") or found["uid"]
    if uid != found["uid"]:
        raise other_object(write.kind, write.name, str(uid), found["uid"])
    if (metadata.get("resourceVersion") or found["resourceVersion"]) != found["resourceVersion"]:
        raise modified(write.kind, write.name)


def _finish(store: Store, write: Write, live: Json | None, owned: Json) -> Json:
    """Check an object, give it what is the server's, and store it unless this is a rehearsal."""
    check(write.kind, owned)
    fresh: Json = {"uid": str(uuid.uuid4()), "creationTimestamp": write.now}
    before: Json = live["metadata"] if live else fresh
    generation = before.get("generation", 0) + int(live is None or live.get("spec") != owned.get("spec"))
    servers = {"uid": before["uid"], "creationTimestamp": before["creationTimestamp"], "generation": generation}
    after = {
        "apiVersion": write.kind.api_version,
        "kind": write.kind.kind,
        "metadata": {**owned["metadata"], **servers},
        **({"spec": owned["spec"]} if "spec" in owned else {}),
        **({"status": live["status"]} if live and "status" in live else {}),
    }
    if write.dry_run:
        version = before.get("resourceVersion")
        return {**after, "metadata": {**after["metadata"], **({"resourceVersion": version} if version else {})}}
    return store.put(write.kind, after)


def _merged(live: Any, patch: Any) -> Any:
    """Merge as RFC 7386 says."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    target = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = _merged(target.get(name), value)
    return target
