"""The local cluster's HTTP API, shaped like Kubernetes': kubectl and the official clients work with it.

It translates requests into reads, watches and writes of the store, and refusals
into ``Status`` bodies.  It neither reconciles nor knows of processes: whoever
does watches the store.  Everything lies under a secret first path segment that
only the kubeconfig tells, because whoever may write a model's path here may run
code as this user, and loopback is open to every user of the machine.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from gitops_serving.local import body as bodies
from gitops_serving.local import discovery, writes
from gitops_serving.local.faults import (
    ApiError,
    Json,
    bad_option,
    bad_request,
    no_such_path,
    not_allowed,
    too_large,
    unsupported_media,
)
from gitops_serving.local.kinds import KINDS, Kind
from gitops_serving.local.selectors import selected
from gitops_serving.local.tables import table
from gitops_serving.local.watch import Watch, stream

if TYPE_CHECKING:
    from gitops_serving.local.selectors import Test
    from gitops_serving.local.store import Store

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
LONGEST_WATCH_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a path names: a resource, perhaps in a namespace, perhaps one object, perhaps its status."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    status: bool = False


class Api:
    """The web application over one store."""

    def __init__(self, store: Store, secret: str) -> None:
        self._store, self._secret = store, secret
        self._documents = discovery.documents()
        self.app = web.Application(client_max_size=bodies.LIMIT_BYTES)
        self.app.router.add_route("*", "/{secret}/{path:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; a refusal becomes its Status."""
        try:
            if not secrets.compare_digest(request.match_info["secret"].encode(), self._secret.encode()):
                raise no_such_path("an address without the kubeconfig's secret")
            return await self._route(request, "/" + request.match_info["path"].strip("/"))
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response(too_large(bodies.LIMIT_BYTES).body(), status=413)

    async def _route(self, request: web.Request, path: str) -> web.StreamResponse:
        """Find out what a path names, and do what the method says."""
        if path in {"/healthz", "/livez", "/readyz"}:
            return web.Response(text="ok")
        if path in self._documents and request.method == "GET":
            return web.json_response(self._documents[path])
        place = parse(path)
        match request.method:
            case "GET" if place.name:
                live = writes.live_object(self._store, self._write(request, place))
                return web.json_response(_printed(request, place.kind, live))
            case "GET":
                return await self._collection(request, place)
            case "POST" if not place.name:
                return await self._create(request, place)
            case "PUT" if place.name and not place.status:
                return await self._replace(request, place)
            case "PATCH" if place.name and not place.status:
                return await self._patch(request, place)
            case "DELETE" if place.name and not place.status:
                return await self._delete(request, place)
            case _:
                raise not_allowed(request.method.lower(), place.kind)

    async def _collection(self, request: web.Request, place: Place) -> web.StreamResponse:
        """List or watch."""
        test = selected(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
        if request.query.get("watch", "") in {"1", "true"}:
            return await self._watch(request, place, test)
        found = [one for one in self._store.every(place.kind, place.namespace) if test(one)]
        version = str(self._store.version)
        if as_table(request.headers.get("Accept", "")):
            include = request.query.get("includeObject", "Metadata")
            return web.json_response(table(place.kind, found, version=version, now=clock(), include=include))
        head = {"kind": f"{place.kind.kind}List", "apiVersion": place.kind.api_version}
        return web.json_response({**head, "metadata": {"resourceVersion": version}, "items": found})

    async def _watch(self, request: web.Request, place: Place, test: Test) -> web.StreamResponse:
        """Stream changes until the client goes or the time is up."""
        if "sendInitialEvents" in request.query:
            raise bad_option("sendInitialEvents", "Forbidden: not supported; list first and watch from there")
        watch = Watch(
            kind=place.kind,
            namespace=place.namespace,
            test=test,
            version=_number(request, "resourceVersion") or None,
            seconds=min(_number(request, "timeoutSeconds") or LONGEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS),
            bookmarks=request.query.get("allowWatchBookmarks", "") in {"1", "true"},
            show=lambda one: _printed(request, place.kind, one),
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        await response.prepare(request)
        await stream(self._store, watch, response.write)
        return response

    async def _create(self, request: web.Request, place: Place) -> web.Response:
        """Create an object."""
        _permit("create", place.kind)
        made = writes.create(self._store, self._write(request, place), await _body(request))
        return web.json_response(_printed(request, place.kind, made), status=201)

    async def _replace(self, request: web.Request, place: Place) -> web.Response:
        """Replace an object."""
        _permit("update", place.kind)
        after = writes.replace(self._store, self._write(request, place), await _body(request))
        return web.json_response(_printed(request, place.kind, after))

    async def _patch(self, request: web.Request, place: Place) -> web.Response:
        """Apply a configuration or merge a patch, as the content type says."""
        _permit("patch", place.kind)
        write, code = self._write(request, place), 200
        if request.content_type == APPLY:
            after, new = writes.apply(self._store, write, bodies.mapping(await request.read(), is_yaml=True))
            code = 201 if new else 200
        elif request.content_type == MERGE:
            if write.force:
                raise bad_option("force", "Forbidden: may not be specified for non-apply patch")
            after = writes.merge(self._store, write, bodies.mapping(await request.read()))
        else:
            raise unsupported_media(request.content_type, [APPLY, MERGE])
        return web.json_response(_printed(request, place.kind, after), status=code)

    async def _delete(self, request: web.Request, place: Place) -> web.Response:
        """Delete an object."""
        _permit("delete", place.kind)
        raw = await request.read()
        options = bodies.mapping(raw) if raw else {}
        write = self._write(request, place, rehearse=bool(options.get("dryRun")))
        gone = writes.delete(self._store, write, options.get("preconditions") or {})
        details = {"name": place.name, "group": place.kind.group, "kind": place.kind.plural}
        details["uid"] = gone["metadata"]["uid"]
        return web.json_response(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _write(self, request: web.Request, place: Place, *, rehearse: bool = False) -> writes.Write:
        """Gather what a request says beside its body."""
        query = request.query
        rehearsal = query.get("dryRun", "")
        if rehearsal not in {"", "All"}:
            raise bad_option("dryRun", f'Unsupported value: {rehearsal!r}: supported values: "All"')
        applies = request.method == "PATCH" and request.content_type == APPLY
        agent = "" if applies else request.headers.get("User-Agent", "").split("/")[0]
        manager = query.get("fieldManager", "") or agent or ("" if applies else "unknown")
        if len(manager) > 128 or not manager.isprintable():
            raise bad_option("fieldManager", "Invalid value: must be printable and have at most 128 characters")
        return writes.Write(
            kind=place.kind,
            namespace=place.namespace,
            name=place.name,
            manager=manager,
            now=stamp(),
            dry_run=rehearse or rehearsal == "All",
            strict=query.get("fieldValidation", "") == "Strict",
            force=query.get("force", "") in {"1", "true"},
        )


def parse(path: str) -> Place:
    """Find out what a path names; raises ApiError (404)."""
    for kind in KINDS:
        if not path.startswith(f"{kind.root}/"):
            continue
        match path.removeprefix(f"{kind.root}/").split("/"):
            case ["namespaces", namespace, plural, *rest] if kind.namespaced and plural == kind.plural:
                place = Place(kind=kind, namespace=namespace)
            case [plural, *rest] if plural == kind.plural and (not kind.namespaced or not rest):
                place = Place(kind=kind)
            case _:
                continue
        match rest:
            case []:
                return place
            case [name]:
                return Place(kind=kind, namespace=place.namespace, name=name)
            case [name, "status"] if kind.has_status:
                return Place(kind=kind, namespace=place.namespace, name=name, status=True)
    raise no_such_path(path)


def as_table(accept: str) -> bool:
    """Tell whether the first answer that a client accepts, and we can give, is a table."""
    for offer in accept.split(","):
        media, *parameters = [part.strip() for part in offer.split(";")]
        if media == "application/json" and "as=Table" in parameters:
            return "v=v1" in parameters
        if media in {"application/json", "*/*"} and not any(p.startswith("as=") for p in parameters):
            return False
    return False


def clock() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def stamp() -> str:
    """Tell the time as Kubernetes writes it."""
    return clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def _printed(request: web.Request, kind: Kind, one: Json) -> Json:
    """Print one object the way the client asked for."""
    if not as_table(request.headers.get("Accept", "")):
        return one
    include = request.query.get("includeObject", "Metadata")
    return table(kind, [one], version=one["metadata"].get("resourceVersion", ""), now=clock(), include=include)


def _permit(verb: str, kind: Kind) -> None:
    """Refuse what may not be done with a resource."""
    if verb not in kind.verbs:
        raise not_allowed(verb, kind)


async def _body(request: web.Request) -> Json:
    """Read a body of JSON or YAML; without a type it is JSON, as on the real server."""
    if "Content-Type" not in request.headers:
        return bodies.mapping(await request.read())
    if request.content_type not in {"application/json", "application/yaml"}:
        raise unsupported_media(request.content_type, ["application/json", "application/yaml"])
    return bodies.mapping(await request.read(), is_yaml=request.content_type.endswith("yaml"))


def _number(request: web.Request, name: str) -> int:
    """Read a query parameter that is a whole number; 0: not given."""
    text = request.query.get(name, "") or "0"
    if not text.isdecimal() or len(text) > 18:
        raise bad_request(f"{name} is {text!r}, which is not a whole number")
    return int(text)
