"""The audit log: who did what, when, from where, and how it ended. It holds no secret and does not grow for ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, final

from sqlalchemy import Engine, delete, insert, select

from services.errors import Invalid, Mistake
from services.sql.engine import reading, writing
from services.sql.schema import audit
from services.sql.types import cleaned, utc_now
from services.sql.values import Page

Outcome: TypeAlias = Literal["done", "failed", "refused"]

MOST_KEPT: Final[Mapping[Outcome, int]] = {"done": 1_000_000, "failed": 100_000, "refused": 100_000}
"""Events of each outcome that are kept: each has its own share, so that refusals never push out what was done."""
SWEEP_EVERY: Final = 1000
LONGEST: Final = 200
COMMAND_LINE: Final = "command line"


@final
@dataclass(frozen=True)
class Deed:
    """What is to be noted. `key` and `tenant` are None where nobody was known; `skipped` like ones came unnoted before
    it."""

    action: str
    outcome: Outcome
    status: int
    request_id: str
    address: str
    key: str | None = None
    tenant: str | None = None
    object: str | None = None
    skipped: int = 0


@final
@dataclass(frozen=True)
class AuditEvent:
    """A deed as it was noted: its number only grows."""

    number: int
    at: datetime
    action: str
    outcome: str
    status: int
    request_id: str
    address: str
    key: str | None
    tenant: str | None
    object: str | None
    skipped: int


@final
class AuditLog:
    """Notes deeds, lists them, and forgets what is too old or too much."""

    def __init__(self, engine: Engine, days: int = 90) -> None:
        """Work on `engine`; keep events for `days`."""
        self.engine, self._kept, self._noted = engine, timedelta(days=days), 0

    def note(self, deed: Deed) -> None:
        """Write one event; every so often, forget old ones."""
        row = {name: _short(value) if isinstance(value, str) else value for name, value in vars(deed).items()}
        with writing(self.engine) as connection:
            connection.execute(insert(audit).values(row | {"at": utc_now()}))
        self._noted += 1
        if self._noted % SWEEP_EVERY == 0:
            self.sweep()

    def find(
        self, *, key: str | None = None, outcome: Outcome | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[AuditEvent]:
        """Events, newest first, of one key or one outcome where asked for."""
        listing = select(audit).order_by(audit.c.number.desc()).limit(limit + 1)
        if cursor is not None:
            listing = listing.where(audit.c.number < _number(cursor))
        if key is not None:
            listing = listing.where(audit.c.key == cleaned(key))
        if outcome is not None:
            listing = listing.where(audit.c.outcome == outcome)
        with reading(self.engine) as connection:
            found = [AuditEvent(**row) for row in connection.execute(listing).mappings()]
        return Page(tuple(found[:limit]), str(found[limit - 1].number) if len(found) > limit else None)

    def sweep(self, most: Mapping[Outcome, int] = MOST_KEPT) -> int:
        """Forget what is older than the retention or beyond `most` of its outcome; returns how many events went."""
        with writing(self.engine) as connection:
            gone = connection.execute(delete(audit).where(audit.c.at < utc_now() - self._kept)).rowcount
            for outcome, number in most.items():
                mine = select(audit.c.number).where(audit.c.outcome == outcome).order_by(audit.c.number.desc())
                last: Any = connection.execute(mine.offset(number).limit(1)).scalar()
                if last is not None:
                    surplus = delete(audit).where(audit.c.outcome == outcome, audit.c.number <= last)
                    gone += connection.execute(surplus).rowcount
        return gone


def _short(text: str) -> str:
    return cleaned(text)[:LONGEST]


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 15:
        raise Invalid([Mistake("cursor", "bad_cursor", "this is no cursor of ours", "Take next_cursor of a page.")])
    return int(cursor)
