"""Files on their way in: from the connection to the disk in pieces, and then into the line for a child to read them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, ParamSpec, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.deps import Record
from services.uploads.folder import Arrival

P = ParamSpec("P")
T = TypeVar("T")

PIECE: Final = 1 << 20
IDLE_SECONDS: Final = 60.0


def refuse_wrapped(request: Request) -> None:
    """415 for a body that is not the file itself: a form, or one packed for the journey."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        raise HTTPException(415, "Send the file itself as the body, not a form (with curl: --upload-file).")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Send the file as it is, without Content-Encoding.")


async def pour(request: Request, record: Record, tenant: str) -> Arrival:
    """The body as a file in the tenant's folder; whoever takes it over closes it. When anything goes wrong on the way
    (TooLarge, QuotaExceeded, StorageFull, silence, a client that is gone) nothing is left behind."""
    declared = request.headers.get("content-length", "")
    expected = int(declared[:20]) if declared.isdecimal() else 0
    limit = record.settings.max_upload_bytes
    await run_in_threadpool(record.desk.store.expect, tenant, expected)
    arrival = await run_in_threadpool(record.desk.folder.receive, tenant, limit, expected)
    try:
        async for piece in pieces(request):
            await run_in_threadpool(arrival.write, piece)
    except BaseException as problem:
        arrival.close()
        if isinstance(problem, ClientDisconnect):
            raise HTTPException(400, "The connection broke off before the whole file had come.") from None
        raise
    return arrival


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte, however finely it comes in."""
    waiting, stream = bytearray(), aiter(request.stream())
    while (chunk := await patiently(stream)) is not None:
        waiting += chunk
        if len(waiting) >= PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def patiently(stream: AsyncIterator[bytes]) -> bytes | None:
    """The next chunk, or None at the end; 408 when none comes for too long."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await anext(stream, None)
    except TimeoutError:
        raise HTTPException(408, f"Nothing has come for {IDLE_SECONDS:g} seconds.") from None


async def in_turn(record: Record, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what needs a child process, when it is its turn: only so many run at once."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(record.inspections, lambda: act(*args, **kwargs))
