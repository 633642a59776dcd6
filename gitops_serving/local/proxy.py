"""One request to one replica and back: headers, bodies and what a broken connection means.

Two failures are told apart and nothing else. A connection that was refused was never sent, so `NeverSent` lets the
caller try again; whatever breaks later may have been worked on and is the revision's 502. No decision about which
revision or replica is made here, and nothing is counted.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

REVISION_HEADER = "x-served-by-revision"
# The upper limit of Knative's revisions is 600 s, their default 300 s; a longer answer is a 504 here too.
ANSWER_SECONDS = 300.0
# Below the 65 s of kserve's server, so that it is never the server that closes a connection we are about to use.
KEEPALIVE_SECONDS = 55.0
# Answers up to this size are complete before their first byte goes out, so that a break can still become a 502.
BUFFERED_BYTES = 1 << 20
_ONE_CONNECTION_ONLY = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "trailers", "upgrade"}
)
_DONE_BY_AIOHTTP = frozenset({"content-length", "expect", "transfer-encoding"})
_FOR_PROXIES = frozenset({"proxy-authenticate", "proxy-authorization"})
_NOT_OURS_TO_ADD = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class NeverSent(Exception):  # it is an outcome that the caller expects
    """Nobody listens at the replica's socket; the request did not leave the gateway."""


class _Broken(Exception):  # a name for aiohttp not to know, see _once
    """The connection broke after it stood."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as its replica shall see it."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer for the client, and the code that counts: 502 also when a stream broke after a 200 was sent."""

    response: web.StreamResponse
    code: int


class Upstreams:
    """The connections to replicas, one pool for each."""

    def __init__(self) -> None:
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def forward(self, replica: str, request: web.Request, outgoing: Outgoing, *, revision: str) -> Answered:
        """Send a request and give the answer; raise NeverSent if the connection was refused."""
        try:
            async with self._session(replica).request(
                outgoing.method,
                # Its authority is never looked at, the connector knows the socket; encoded: not ours to normalise.
                URL(f"http://replica{outgoing.path}", encoded=True),
                headers=outgoing.headers,
                data=_payload(outgoing.body),
                allow_redirects=False,
            ) as upstream:
                if upstream.content_length is not None and upstream.content_length <= BUFFERED_BYTES:
                    return await _whole(upstream, outgoing.method, revision)
                return await _stream(upstream, request, revision)
        except TimeoutError:
            return failure(504, f"revision {revision} did not answer within {ANSWER_SECONDS:.0f} s", revision=revision)
        except (_Broken, aiohttp.ClientError):
            text = f"revision {revision} broke the connection before its answer was complete; see its log"
            return failure(502, text, revision=revision)

    async def keep(self, replicas: set[str]) -> None:
        """Close the connections to all other replicas."""
        for replica in self._sessions.keys() - replicas:
            await self._sessions.pop(replica).close()

    def _session(self, replica: str) -> aiohttp.ClientSession:
        session = self._sessions.get(replica)
        if session is None:
            session = self._sessions[replica] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(replica, limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_NOT_OURS_TO_ADD,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                middlewares=(_once,),
            )
        return session


async def listens(replica: str) -> bool:
    """Say whether somebody listens at a replica's socket, without asking for anything."""
    try:
        _, writer = await asyncio.open_unix_connection(replica)
    except OSError:
        return False
    writer.close()
    return True


def failure(code: int, text: str, *, revision: str | None = None) -> Answered:
    """Make the gateway's own answer; `revision` is whom it is counted against."""
    headers = {} if revision is None else {REVISION_HEADER: revision}
    return Answered(web.json_response({"error": text}, status=code, headers=headers), code)


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Copy the headers that concern both ends, without those of one connection and without the length."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    dropped = _ONE_CONNECTION_ONLY | _DONE_BY_AIOHTTP | _FOR_PROXIES | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again after its connection broke: it repeats only errors that it knows."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError as error:
        raise NeverSent(str(error)) from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """Hand a large body over as a file, which aiohttp writes in pieces."""
    if not body:
        return None
    return io.BytesIO(body) if len(body) > BUFFERED_BYTES else body


def _response_headers(upstream: aiohttp.ClientResponse, revision: str) -> CIMultiDict[str]:
    headers = end_to_end(upstream.headers)
    headers[REVISION_HEADER] = revision
    return headers


async def _whole(upstream: aiohttp.ClientResponse, method: str, revision: str) -> Answered:
    headers = _response_headers(upstream, revision)
    body = await upstream.read()
    if method == "HEAD":
        headers["Content-Length"] = str(upstream.content_length)
    response = web.Response(status=upstream.status, reason=upstream.reason, headers=headers, body=body or None)
    return Answered(response, upstream.status)


async def _stream(upstream: aiohttp.ClientResponse, request: web.Request, revision: str) -> Answered:
    """Pass an answer on as it comes; when it breaks off, the client's connection has to break as well."""
    headers = _response_headers(upstream, revision)
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
    if upstream.content_length is not None:
        response.content_length = upstream.content_length
    chunks = upstream.content.iter_any()
    first = await anext(chunks, b"")
    await response.prepare(request)
    try:
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientPayloadError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
        return Answered(response, 502)
    except ConnectionResetError:
        # The client left. The revision did its part.
        return Answered(response, upstream.status)
    return Answered(response, upstream.status)
