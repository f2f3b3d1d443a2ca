"""What happened lately to the jobs that somebody watches, in one transaction however many they are."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select

from services.sql.rows import event_of
from services.sql.schema import events, jobs
from services.sql.values import Event

TOUCHED = 10_000
"""Looked at beyond this many new events: every watched job, because the list of those touched is no shorter."""

_AFTER = (
    select(events)
    .where(events.c.job == bindparam("watched"), events.c.number > bindparam("after"))
    .order_by(events.c.number)
    .limit(bindparam("most"))
)


def news_of(connection: Connection, marks: Mapping[str, int], since: int | None, limit: int) -> dict[str, list[Event]]:
    """The events of each job above its mark, at most `limit`; jobs without news are left out.

    `since`: only jobs with an event numbered above it are looked at; None: all of them.
    """
    found = {}
    for job in marks if since is None else _touched(connection, marks, since):
        rows = connection.execute(_AFTER, {"watched": job, "after": marks[job], "most": limit}).mappings()
        if news := [event_of(row) for row in rows]:
            found[job] = news
    return found


def _touched(connection: Connection, marks: Mapping[str, int], since: int) -> set[str]:
    lately = select(events.c.job).where(events.c.number > since).order_by(events.c.number).limit(TOUCHED)
    touched = list(connection.execute(lately).scalars())
    return set(marks) if len(touched) == TOUCHED else set(touched) & set(marks)


def gone_of(connection: Connection, watched: list[str]) -> set[str]:
    """Those of the watched jobs that have been deleted."""
    return set(watched) - set(connection.execute(select(jobs.c.id).where(jobs.c.id.in_(watched))).scalars())
