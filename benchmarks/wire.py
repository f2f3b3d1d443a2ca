"""A lean HTTP/1.1 client for load: asyncio streams, kept connections, no parsing beyond status and length.

A generator that spends more time on a request than the server would measure itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import urlsplit

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@final
@dataclass(frozen=True)
class Reply:
    """What came back; `status` is 0 when the connection broke."""

    status: int
    body: bytes

    @property
    def data(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@final
class Wire:
    """A pool of kept connections to one server, with one key. For one event loop."""

    def __init__(self, url: str, key: str) -> None:
        place = urlsplit(url)
        self.host, self.port = place.hostname or "127.0.0.1", place.port or 80
        self._head = f"Host: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
        self._idle: deque[Line] = deque()

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Reply:
        """One request. A kept connection that the server has closed meanwhile is replaced once."""
        text = f"{method} {path} HTTP/1.1\r\n{self._head}{headers}"
        text += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        kept = bool(self._idle)
        try:
            return await self._exchange(text.encode() + body)
        except (OSError, asyncio.IncompleteReadError):
            if not kept:
                return Reply(0, b"")
        self.close()  # the others are as old, and a server closes what was idle for long
        try:
            return await self._exchange(text.encode() + body)
        except (OSError, asyncio.IncompleteReadError):
            return Reply(0, b"")

    async def stream(self, path: str) -> Line:
        """An open answer whose lines the caller reads, such as an event stream."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    def close(self) -> None:
        """Let go of the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, request: bytes) -> Reply:
        line = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self.port)
        try:
            line[1].write(request)
            reply = await _read(line[0])
        except BaseException:
            line[1].close()
            raise
        self._idle.append(line)
        return reply


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if found:
        return Reply(status, await reader.readexactly(int(rest.partition(b"\r\n")[0])))
    if b"transfer-encoding: chunked" not in head:
        return Reply(status, b"")
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return Reply(status, b"".join(pieces))
