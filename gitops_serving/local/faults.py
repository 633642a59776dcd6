"""How the local cluster's API says no: Kubernetes' ``Status`` body, so that kubectl and clients understand it.

Every refusal of a request is one ``ApiError``; its functions below are the whole
catalogue.  The wording follows Kubernetes where clients or people look for it
("the object has been modified"), and adds what to do where Kubernetes leaves one
guessing.  Knows nothing of HTTP beyond the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gitops_serving.local.kinds import Kind

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong, and where."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def body(self) -> Json:
        """Render the cause as an entry of ``details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """A request that the API refuses; it carries the HTTP code and the ``Status`` to answer with."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    def body(self) -> Json:
        """Render the ``Status`` object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def _details(kind: Kind, name: str, causes: Sequence[Cause] = ()) -> Json:
    """Name the object that a refusal is about."""
    details: Json = {"name": name, "group": kind.group, "kind": kind.plural}
    if causes:
        details["causes"] = [cause.body() for cause in causes]
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    """Say that there is no such object."""
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def no_such_path(path: str) -> ApiError:
    """Say that the API has no such address."""
    return ApiError(
        404,
        "NotFound",
        f"the local cluster has nothing at {path}; it serves inferenceservices, revisions, namespaces and events",
    )


def already_exists(kind: Kind, name: str) -> ApiError:
    """Say that a create found its object there."""
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _details(kind, name))


def modified(kind: Kind, name: str) -> ApiError:
    """Say that a write was made from an older version of its object."""
    message = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, _details(kind, name))


def no_such_object(kind: Kind, name: str, wanted: str) -> ApiError:
    """Say that an apply expected an object, by its uid, that is not there."""
    message = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": uid mismatch: the provided object specified '
        f"uid {wanted}, and no existing object was found"
    )
    return ApiError(409, "Conflict", message, _details(kind, name))


def other_object(kind: Kind, name: str, wanted: str, found: str) -> ApiError:
    """Say that a precondition on the uid failed."""
    message = (
        f'Operation cannot be fulfilled on {kind.resource} "{name}": Precondition failed: '
        f"UID in precondition: {wanted}, UID in object meta: {found}"
    )
    return ApiError(409, "Conflict", message, _details(kind, name))


def field_conflicts(conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """Say whose fields a server-side apply would take; pairs of (manager as told, field)."""
    causes = [Cause(field, f"conflict with {manager}", "FieldManagerConflict") for manager, field in conflicts]
    if len(conflicts) == 1:
        manager, field = conflicts[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {field}"
    else:
        lines = []
        for manager in sorted({manager for manager, _ in conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {field}" for owner, field in conflicts if owner == manager]
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", message, {"causes": [cause.body() for cause in causes]})


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """Say everything that is wrong with an object, at once."""
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    head = f'{kind.kind}.{kind.group} "{name}"' if kind.group else f'{kind.kind} "{name}"'
    return ApiError(422, "Invalid", f"{head} is invalid: {listed}", _details(kind, name, causes))


def bad_option(field: str, message: str) -> ApiError:
    """Say that a query parameter is not acceptable."""
    reasons = {
        "Required": "FieldValueRequired",
        "Forbidden": "FieldValueForbidden",
        "Unsupported": "FieldValueNotSupported",
    }
    cause = Cause(
        field, message, next((reasons[word] for word in reasons if message.startswith(word)), "FieldValueInvalid")
    )
    text = f'PatchOptions.meta.k8s.io "" is invalid: {field}: {message}'
    return ApiError(422, "Invalid", text, {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause.body()]})


def bad_request(message: str) -> ApiError:
    """Say that a request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def gone(wanted: int, oldest: int) -> ApiError:
    """Say that a watch asks for more history than is kept."""
    return ApiError(410, "Expired", f"too old resource version: {wanted} ({oldest})")


def not_allowed(verb: str, kind: Kind) -> ApiError:
    """Say that a resource cannot be used this way here."""
    return ApiError(405, "MethodNotAllowed", f"the local cluster does not {verb} {kind.resource}")


def unsupported_media(given: str, accepted: Sequence[str]) -> ApiError:
    """Say which bodies are understood."""
    message = f"the body of the request was in an unknown format: {given or 'none given'}; use {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> ApiError:
    """Say that a body is over the limit."""
    return ApiError(413, "RequestEntityTooLarge", f"the body of the request is larger than {limit} bytes")
