"""ASGI middleware that notes in the audit log who changed what, who was refused, and where a key came into use.

What was done is noted before it is answered. Refusals and failures are sampled, by client and over all, so that nobody
can fill the disk with them; the next event that is noted says how many were not.
"""

import logging
from collections import Counter, OrderedDict
from time import monotonic
from typing import Final, final

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.buckets import MOST_BUCKETS, Buckets, network_of
from services.audit import AuditLog, Deed, Outcome
from services.keys import Key

logger = logging.getLogger("trainyard.audit")

REFUSED: Final = frozenset({401, 403, 421, 429})
HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
READING: Final = frozenset({"validate_job", "predict_samples"})
"""Routes that are posted to and change nothing."""
PER_CLIENT, PER_CLIENT_SECONDS = 10, 30.0
OVER_ALL, OVER_ALL_SECONDS = 120, 1.0
USE_SECONDS: Final = 3600.0
"""A key in use at one address is noted once in so long."""


def address_of(scope: Scope) -> str:
    """The client's address; `unknown` behind a socket that has none."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def about(scope: Scope) -> tuple[str, str | None]:
    """What a request wanted to do, and to what."""
    action = getattr(scope.get("route"), "name", None) or f"{scope['method']} {scope['path']}"
    path = scope.get("path_params", {})
    return str(action), next((str(path[name]) for name in ("id", "name") if name in path), None)


@final
class Sampler:
    """Lets so many events through for each client and over all, and counts the rest."""

    def __init__(self) -> None:
        self._clients, self._all = Buckets(PER_CLIENT, PER_CLIENT_SECONDS), Buckets(OVER_ALL, OVER_ALL_SECONDS)
        self._skipped: Counter[str] = Counter()

    def admit(self, client: str) -> int | None:
        """How many of this client's events came unnoted before this one; None when this one is not to be noted."""
        if self._clients.take(client) or self._all.take(""):
            if len(self._skipped) < MOST_BUCKETS:
                self._skipped[client] += 1
            return None
        return self._skipped.pop(client, 0)


@final
class Uses:
    """Where keys were in use lately."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, key: str, address: str) -> bool:
        """Whether this key has not been noted at this address for an hour; from now on it has."""
        now, name = monotonic(), (key, address)
        if now - self._last.get(name, -USE_SECONDS) < USE_SECONDS:
            return False
        self._last[name] = now
        self._last.move_to_end(name)
        while len(self._last) > MOST_BUCKETS:
            self._last.popitem(last=False)
        return True


@final
class Auditing:
    """Notes requests once their status is known."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._sampler, self._uses = app, Sampler(), Uses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, message["status"], location(message))
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            await self._note(scope, 500, None)
            raise

    async def _note(self, scope: Scope, status: int, made: str | None) -> None:
        for deed in self._deeds(scope, status, made):
            try:
                await run_in_threadpool(log_of(scope).note, deed)
            except Exception:
                logger.exception("this was not noted in the audit log: %s", deed)

    def _deeds(self, scope: Scope, status: int, made: str | None) -> list[Deed]:
        """What is to be noted about one request: its deed, a key's appearance, both or neither."""
        address, request_id = address_of(scope), str(scope.get("request_id", ""))
        caller, (action, named) = scope.get("caller"), about(scope)
        key, tenant = (caller.id, caller.tenant) if isinstance(caller, Key) else (None, None)
        found = []
        if key is not None and status not in REFUSED and self._uses.is_new(key, address):
            found.append(Deed("use_key", "done", status, request_id, address, key, tenant, key))
        outcome: Outcome = "refused" if status in REFUSED else "failed" if status >= 400 else "done"
        changing = key is not None and scope["method"] not in HARMLESS and action not in READING
        if outcome == "refused" or changing:
            skipped = 0 if outcome == "done" else self._sampler.admit(key or network_of(address))
            if skipped is not None:
                found.append(Deed(action, outcome, status, request_id, address, key, tenant, made or named, skipped))
        return found


def location(message: Message) -> str | None:
    """The id of what an answer says it has made."""
    found = next((value for name, value in message["headers"] if name.lower() == b"location"), b"")
    return found.decode("latin-1").rpartition("/")[2] or None


def log_of(scope: Scope) -> AuditLog:
    """The application's audit log."""
    found = scope["app"].state.record.audit
    assert isinstance(found, AuditLog)
    return found
