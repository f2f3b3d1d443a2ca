"""The doorbells of queued jobs: which are due. Who is next says `services.sql.turn`, where a job stands
`services.sql.places`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, or_, select, update

from services.sql.schema import jobs, outbox
from services.sql.transitions import LAST_BACKOFF, due
from services.sql.types import utc_now

FIRST_RING: Final = 10.0
LAST_RING: Final = 300.0
_ORDER: Final = (jobs.c.priority.desc(), jobs.c.id)


def due_bells(connection: Connection, limit: int) -> list[str]:
    """Jobs whose doorbell should ring now, most urgent first."""
    now = utc_now()
    # As in `due`: a bell later than any rule allows was hung by a wrong clock.
    soon = or_(outbox.c.due_at <= now, outbox.c.due_at > now + timedelta(seconds=LAST_BACKOFF))
    bells = select(jobs.c.id).join(outbox, outbox.c.job == jobs.c.id).where(due(now), soon)
    return list(connection.execute(bells.order_by(*_ORDER).limit(limit)).scalars())


def postpone_bells(connection: Connection, ids: Sequence[str]) -> None:
    """After a ring, the next one is due in 10 s, 20 s, … 5 min, for as long as the job stays queued."""
    rings = select(outbox.c.job, outbox.c.rings).where(outbox.c.job.in_(ids)).order_by(outbox.c.job)
    now = utc_now()
    for row in connection.execute(rings.with_for_update()).all():
        pause = min(FIRST_RING * 2 ** min(row.rings, 8), LAST_RING)
        later = {"rings": row.rings + 1, "due_at": now + timedelta(seconds=pause)}
        connection.execute(update(outbox).where(outbox.c.job == row.job).values(later))
