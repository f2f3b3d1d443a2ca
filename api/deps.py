"""What routes ask for: the record, the caller and what the caller may do. Nothing here is open unless it is listed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, final

from fastapi import Depends, FastAPI, Path, Request, Security
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.routing import Mount

from api.audit import address_of
from api.bells import Bells
from api.logins import Logins
from api.measures import Measures
from api.models import Shelf
from api.sse import Stream
from services.artifacts import ArtifactStore
from services.audit import AuditLog
from services.errors import Forbidden, Unauthorized
from services.fleet import Fleet
from services.jobs import Job, JobStore
from services.keys import Key, KeyStore
from services.settings import Settings
from services.studies.store import StudyStore
from services.uploads.desk import Desk

Scope: TypeAlias = Literal["read", "submit", "cancel", "admin"]

PUBLIC: Final = frozenset({"/livez", "/readyz", "/", "/session", "/favicon.ico"})
"""Served without a key: health for orchestrators, and the page, which holds no data."""
LOCAL: Final = frozenset({"/openapi.json", "/docs", "/redoc"})
"""Served without a key to the same machine only."""
FILES: Final = frozenset({"/static", "/static-offline-docs"})
"""Folders of our own or packaged files."""

_LOOPBACK = frozenset({"127.0.0.1", "::1"})


@final
@dataclass(frozen=True)
class Record:
    """Everything a route may touch, opened once per process."""

    settings: Settings
    jobs: JobStore
    keys: KeyStore
    logins: Logins
    audit: AuditLog
    fleet: Fleet
    artifacts: ArtifactStore
    shelf: Shelf
    stream: Stream
    bells: Bells
    measures: Measures
    desk: Desk
    inspections: ThreadPoolExecutor
    studies: StudyStore


async def opened(request: Request) -> Record:
    """The record of this application. Not a plain function: those take a thread each time, for nothing here."""
    record = request.app.state.record
    assert isinstance(record, Record)
    return record


Opened: TypeAlias = Annotated[Record, Depends(opened)]

_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: `ty_…`.")


def admit(
    request: Request, record: Opened, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> Key | None:
    """The caller's key, or Unauthorized; None only where the address is public. Stands before every route."""
    path = request.scope["path"]
    if path in PUBLIC or (path in LOCAL and is_local(request, record.settings)):
        return None
    if bearer is not None:
        return log_in(request, record, bearer.credentials)
    if token := request.cookies.get(cookie_name(request)):
        same_origin(request)
        return log_in(request, record, token)
    raise Unauthorized(
        "This needs an API key.", hint="Send `Authorization: Bearer ty_…`, or open the page from its link."
    )


def log_in(request: Request, record: Record, secret: str) -> Key:
    """The key of a secret; the audit log hears whose it is. Unauthorized, or TooManyAttempts."""
    key = record.logins.verify(secret, address_of(request.scope))
    request.scope["caller"] = key
    return key


def is_local(request: Request, settings: Settings) -> bool:
    """Whether the client is on this machine; behind a proxy, nobody is known to be."""
    return not settings.behind_proxy and request.client is not None and request.client.host in _LOOPBACK


def cookie_name(request: Request) -> str:
    """One cookie per port: browsers share cookies between ports, two Trainyards on one machine must not."""
    return f"trainyard_{request.url.port or request.url.scheme}"


def same_origin(request: Request) -> None:
    """A cookie may change something only from our own page; Forbidden otherwise."""
    if request.method in {"GET", "HEAD"}:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = f"{request.url.scheme}://{request.url.netloc}"
    if site != "same-origin" and not (site is None and origin == ours):
        raise Forbidden("A signed-in page may act only on its own server.", hint="Elsewhere, send a Bearer key.")


@final
@dataclass(frozen=True)
class Needs:
    """A dependency: the caller's key has this scope, or Forbidden."""

    scope: Scope

    async def __call__(self, key: Annotated[Key | None, Depends(admit)]) -> Key:
        """The caller."""
        if key is None:
            raise Unauthorized
        if not key.allows(self.scope):
            raise Forbidden(
                f"This key lacks the scope {self.scope!r}.", hint=f"It has: {', '.join(sorted(key.scopes))}."
            )
        return key


Reader: TypeAlias = Annotated[Key, Depends(Needs("read"))]
Submitter: TypeAlias = Annotated[Key, Depends(Needs("submit"))]
Canceller: TypeAlias = Annotated[Key, Depends(Needs("cancel"))]
Admin: TypeAlias = Annotated[Key, Depends(Needs("admin"))]

JobId: TypeAlias = Annotated[str, Path(description="Id of a job.", examples=["019ab0c2-6a1e-7c43-9f0e-3d2b1a0c9e8f"])]


def own_job(id: JobId, caller: Reader, record: Opened) -> Job:
    """The caller's job of that id, or NotFound."""
    return record.jobs.get(caller.tenant, id)


OwnJob: TypeAlias = Annotated[Job, Depends(own_job)]


@final
class Unguarded(RuntimeError):
    """A route would be served without a key."""


def check_guards(app: FastAPI) -> None:
    """Refuse to start when a route is neither guarded nor listed above."""
    for context in iter_route_contexts(app.routes):
        path, route = context.path or "", context.original_route
        guarded = isinstance(route, APIRoute) and Needs in {type(call) for call in calls_of(context.dependant)}
        admitted = isinstance(route, APIRoute) and admit in calls_of(context.dependant)
        listed = path in PUBLIC | LOCAL if admitted else isinstance(route, Mount) and path in FILES
        if not ((guarded and admitted) or listed):
            raise Unguarded(f"{path} would be served without a key: give it a scope, or list it in api/deps.py")


def calls_of(dependant: object) -> list[object]:
    """Every function that stands before a route, at any depth."""
    below = getattr(dependant, "dependencies", [])
    return [getattr(d, "call", None) for d in below] + [call for d in below for call in calls_of(d)]
