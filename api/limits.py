"""ASGI middleware that stands before every route: request ids, allowed hosts, safe headers, bounded bodies."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from itertools import accumulate
from typing import Final, final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from services.documents import DEPTH

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
"""Of every answer; a page has a policy of its own."""
KEPT: Final = ("/static/", "/static-offline-docs/")
"""What a browser may keep; everything else may be somebody's data."""

_STREAMED = re.compile(r"/v1/datasets/[^/]+")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# An unterminated string swallows the rest, so that every byte is looked at once.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"[{]}", b"\x02\x02\x00\x00")
_OTHERS = bytes(set(range(256)) - set(b"[{]}"))


def depth(body: bytes) -> int:
    """How deep brackets nest in a JSON text, counted without parsing it (a parser would recurse)."""
    brackets = _STRING.sub(b"", body).translate(_BRACKETS, _OTHERS)
    return max(accumulate((code - 1 for code in brackets), initial=0))


@final
class RequestId:
    """Takes a well-formed `X-Request-ID` or makes one, keeps it in the scope, and sends it back with safe headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given if _ID.fullmatch(given) else uuid4().hex

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = scope["request_id"]
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith(KEPT) else "no-store")
            await send(message)

        await self.app(scope, receive, stamped)


@final
class AllowedHosts:
    """Refuses a Host that is not ours: a page elsewhere that rebinds its name to this address gets nothing."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and not self.allows(Headers(scope=scope).get("host", "")):
            known = ", ".join(sorted(self.hosts))
            detail = f"This server does not answer to that Host. Known: {known}. TRAINYARD_ALLOWED_HOSTS adds to them."
            await refuse(scope, receive, send, HTTPStatus.MISDIRECTED_REQUEST, "unknown_host", detail)
            return
        await self.app(scope, receive, send)

    def allows(self, host: str) -> bool:
        """Whether `host`, less its port, is one of ours."""
        return re.sub(r":\d*$", "", host.lower()) in self.hosts


@final
class BodyLimit:
    """Reads the body up to `limit` bytes before the application sees it: 413 beyond, 422 for JSON nested too deeply.

    A file that is uploaded passes by unread: its route counts the bytes while they stream in.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if is_streamed(scope):
            await self.app(scope, *hanging_up(receive, send))
            return
        try:
            body = await self.read(scope, receive)
        except ClientDisconnect:
            return
        if body is None:
            detail = f"The body is larger than {self.limit:,} bytes."
            await refuse(scope, receive, send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
        elif depth(body) > DEPTH:
            detail = f"The body nests more than {DEPTH} levels deep."
            await refuse(scope, receive, send, HTTPStatus.UNPROCESSABLE_ENTITY, "too_deep", detail)
        else:
            await self.app(scope, replay(body, receive), send)

    async def read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None when it is longer than allowed; a declared length that is too large is believed."""
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.limit:
            return None
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            size, more = size + len(chunks[-1]), message.get("more_body", False)
            if size > self.limit:
                return None
        return b"".join(chunks)


def is_streamed(scope: Scope) -> bool:
    """Whether the body of this request is a file for a route that takes it piece by piece."""
    return scope["method"] == "PUT" and _STREAMED.fullmatch(scope["path"]) is not None


def hanging_up(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """The same two; who is answered before the whole body was read is told that the connection closes, so that the rest
    need not come."""
    unread = [True]

    async def heard() -> Message:
        message = await receive()
        unread[0] = message.get("more_body", False)
        return message

    async def said(message: Message) -> None:
        if message["type"] == "http.response.start" and unread[0]:
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return heard, said


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once and then what the server says (a disconnect)."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def refuse(scope: Scope, receive: Receive, send: Send, status: HTTPStatus, code: str, detail: str) -> None:
    """Answer a problem from outside the application."""
    response = problem(status, code, detail, request_id=scope.get("request_id", ""), instance=scope["path"])
    await response(scope, receive, send)
