"""Errors as RFC 9457 problem+json: one table from exception class to status, one shape for every answer."""

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from services.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    Mistake,
    NotFound,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    TooManyAttempts,
    TrainyardError,
    Unauthorized,
    Unavailable,
)

logger = logging.getLogger("trainyard.api")

PROBLEM = "application/problem+json"

STATUS: Mapping[type[TrainyardError], HTTPStatus] = {
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
}

HEADERS: Mapping[HTTPStatus, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Bearer realm="trainyard"'},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "60"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "2"},
}


def status_of(error: TrainyardError) -> HTTPStatus:
    """The status of the nearest ancestor in the table; an error nobody foresaw is ours: 500."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    request_id: str,
    instance: str,
    hint: str | None = None,
    mistakes: Sequence[Mistake] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem+json answer; `mistakes` become its `errors` list."""
    body: dict[str, Any] = {
        "type": f"urn:trainyard:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": printable(detail),
        "instance": printable(instance),
        "code": code,
        "hint": None if hint is None else printable(hint),
        "request_id": request_id,
        "errors": [
            {
                "path": printable(m.path),
                "code": m.code,
                "message": printable(m.message),
                "hint": m.hint and printable(m.hint),
            }
            for m in mistakes
        ],
    }
    return JSONResponse(body, status, {**HEADERS.get(status, {}), **(headers or {})}, media_type=PROBLEM)


def printable(text: str) -> str:
    """`text` with lone surrogates escaped, which users can send in JSON but nobody can encode as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def request_id(request: Request) -> str:
    """The id that the request-id middleware gave this request."""
    return str(request.scope.get("request_id") or uuid4().hex)


def answer(request: Request, error: TrainyardError) -> JSONResponse:
    """The problem for one of our own exceptions."""
    mistakes = error.mistakes if isinstance(error, Invalid) else ()
    return problem(
        status_of(error),
        error.code,
        f"There are {len(mistakes)} mistakes; see errors." if len(mistakes) > 1 else error.message,
        request_id=request_id(request),
        instance=request.url.path,
        hint=error.hint,
        mistakes=mistakes,
        headers={"Retry-After": str(error.retry_after)} if isinstance(error, TooManyAttempts) else None,
    )


def install(app: FastAPI) -> None:
    """Register a handler for everything that can go wrong below."""
    app.add_exception_handler(TrainyardError, _ours)
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TrainyardError)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        where = request_id(request), request.method, request.url.path
        logger.error("request %s failed: %s %s: %s", *where, error.message, exc_info=error)
    return answer(request, error)


async def _request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer(request, Invalid(mistakes_of(error.errors())))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = _DETAILS.get(status) or str(error.detail)
    allow = {"Allow": ", ".join(methods_of(request))} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
    return problem(
        status,
        status.phrase.lower().replace(" ", "_"),
        detail,
        request_id=request_id(request),
        instance=request.url.path,
        headers={**(error.headers or {}), **allow},
    )


def methods_of(request: Request) -> list[str]:
    """Every method that the address of `request` has, whichever routes they belong to."""
    path, found = request.url.path, set[str]()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(path):
            found |= route.methods
    return sorted(found)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    """The trace goes to the log, the id to the user."""
    number = request_id(request)
    logger.error("request %s failed", number, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something broke on our side. The log has the details under this request id.",
        request_id=number,
        instance=request.url.path,
        headers={"X-Request-ID": number},
    )


_DETAILS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address. GET /openapi.json lists every route.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address exists, but not with this method; the Allow header lists the methods.",
}


def mistakes_of(errors: Sequence[Any]) -> list[Mistake]:
    """Pydantic's error list as mistakes with dotted paths."""
    return [Mistake(path_of(e["loc"]), str(e["type"]), str(e["msg"])) for e in errors]


def path_of(location: Sequence[str | int]) -> str:
    """`("body", "network", "layers", 3, "units")` as `network.layers[3].units`; other places keep their name."""
    place, *rest = location or ("body",)
    steps = rest if place == "body" else [place, *rest]
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return re.sub(r"^\.", "", text) or "body"
