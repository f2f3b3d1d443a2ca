"""The line of queued jobs: who is next, where a job stands, and which doorbells are due."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, and_, func, or_, select, update

from services.sql.rows import device_kind
from services.sql.schema import jobs, outbox, workers
from services.sql.transitions import LAST_BACKOFF, due
from services.sql.types import utc_now
from services.sql.values import Job, JobState, QueuePlace

FIRST_RING: Final = 10.0
LAST_RING: Final = 300.0
ALIVE_SECONDS: Final = 60.0
_ORDER: Final = (jobs.c.priority.desc(), jobs.c.id)


def next_in_line(connection: Connection, devices: Collection[str], max_running: int) -> RowMapping | None:
    """The best queued job for these devices, its row locked; rows locked by other claims are passed over."""
    kinds = {device_kind(device) for device in devices} | {"auto"}
    line: Select[Any] = select(jobs).where(due(utc_now()), jobs.c.device.in_(sorted(kinds)))
    if max_running:
        line = line.where(jobs.c.tenant.not_in(_busy_tenants(max_running)))
    best = line.order_by(*_ORDER).limit(1).with_for_update(skip_locked=True)
    return connection.execute(best).mappings().one_or_none()


def _busy_tenants(max_running: int) -> Select[tuple[str]]:
    """Tenants that run as many jobs as they may."""
    running = select(jobs.c.tenant).where(jobs.c.state == JobState.RUNNING)
    return running.group_by(jobs.c.tenant).having(func.count() >= max_running)


def place_of(connection: Connection, job: Job) -> QueuePlace:
    """Where a job stands in line and what it waits for."""
    if job.state is not JobState.QUEUED:
        return QueuePlace(None, None)
    before = or_(jobs.c.priority > job.priority, and_(jobs.c.priority == job.priority, jobs.c.id < job.id))
    ahead = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED, before)
    return QueuePlace(connection.execute(ahead).scalar_one() + 1, _waiting_for(connection, job))


def _waiting_for(connection: Connection, job: Job) -> str:
    """What stands between a queued job and its start, in a user's words."""
    wait = (job.not_before - utc_now()).total_seconds()
    if 0 < wait <= LAST_BACKOFF and job.attempt:
        return f"its next try in {wait:.0f} s"
    alive = select(workers.c.device).where(workers.c.seen_at >= utc_now() - timedelta(seconds=ALIVE_SECONDS))
    kinds = {device_kind(device["kind"]) for device in connection.execute(alive).scalars()}
    if not kinds:
        return "a worker: none is running"
    if job.device != "auto" and job.device not in kinds:
        return f"a worker with a {job.device.upper()}: none is running"
    return "a free worker"


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
