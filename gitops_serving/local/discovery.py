"""What the local cluster tells about itself: versions, groups, resources, and enough OpenAPI for kubectl.

Derived from ``kinds`` alone.  The OpenAPI documents carry no schema of ``spec``,
as KServe's minimal CRD carries none; they say that fields are validated by the
server, so that kubectl leaves that to us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitops_serving.local.kinds import KINDS

if TYPE_CHECKING:
    from gitops_serving.local.faults import Json
    from gitops_serving.local.kinds import Kind

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+gitops-serving-local",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "python",
    "platform": "local",
}


def documents() -> dict[str, Json]:
    """Write every document of discovery, by its path."""
    groups = sorted({(kind.group, kind.version) for kind in KINDS if kind.group})
    roots = sorted({kind.root for kind in KINDS})
    return {
        "/version": dict(VERSION),
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*group) for group in groups]},
        **{f"/apis/{group}": {"apiVersion": "v1", **_group(group, version)} for group, version in groups},
        **{root: _resources(root) for root in roots},
        "/openapi/v3": {"paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}"} for root in roots}},
        **{f"/openapi/v3{root}": _openapi(root, {"openapi": "3.0.0"}) for root in roots},
        "/openapi/v2": _openapi("/", {"swagger": "2.0"}),
    }


def _group(group: str, version: str) -> Json:
    """Describe a group, which has one version here."""
    only = {"groupVersion": f"{group}/{version}", "version": version}
    return {"kind": "APIGroup", "name": group, "versions": [only], "preferredVersion": only}


def _resources(root: str) -> Json:
    """List the resources of a group and version."""
    kinds = [kind for kind in KINDS if kind.root == root]
    listed = [
        {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
            "shortNames": list(kind.short),
        }
        for kind in kinds
    ]
    listed += [
        {
            "name": f"{kind.plural}/status",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": ["get"],
        }
        for kind in kinds
        if kind.has_status
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": listed}


def _openapi(root: str, head: Json) -> Json:
    """Write an OpenAPI document of the resources under a root."""
    kinds = [kind for kind in KINDS if kind.root.startswith(root)]
    schemas = {_schema_name(kind): _schema(kind) for kind in kinds}
    holder = {"definitions": schemas} if "swagger" in head else {"components": {"schemas": schemas}}
    paths = {_path(kind): _operations(kind) for kind in kinds}
    return {**head, "info": {"title": "gitops-serving local cluster", "version": "v1"}, "paths": paths, **holder}


def _path(kind: Kind) -> str:
    """Write the path of one object of a kind."""
    middle = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"{kind.root}{middle}/{kind.plural}/{{name}}"


def _operations(kind: Kind) -> Json:
    """Describe what may be done with one object."""
    about = {"x-kubernetes-group-version-kind": _identity(kind), "responses": {"200": {"description": "OK"}}}
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    patch = {"patch": {**about, "x-kubernetes-action": "patch", "parameters": parameters}}
    return {"get": {**about, "x-kubernetes-action": "get"}, **(patch if "patch" in kind.verbs else {})}


def _identity(kind: Kind) -> Json:
    """Name a kind as OpenAPI extensions do."""
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_name(kind: Kind) -> str:
    """Name the schema of a kind."""
    return ".".join(["local", *reversed(kind.group.split(".")), kind.version, kind.kind]).replace("..", ".")


def _schema(kind: Kind) -> Json:
    """Describe an object without saying what its spec holds."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "type": "object",
        "description": f"{kind.kind} as the local cluster keeps it",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {**anything, "x-kubernetes-map-type": "atomic"},
            "status": {**anything, "x-kubernetes-map-type": "atomic"},
        },
        "x-kubernetes-group-version-kind": [_identity(kind)],
    }
