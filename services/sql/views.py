"""What belongs to one job, read inside an open transaction."""

from sqlalchemy import Connection, func, select

from services.errors import NotFound
from services.sql.ids import is_id
from services.sql.rows import attempt_of
from services.sql.schema import artifacts, attempts, events, jobs
from services.sql.values import Artifact, Attempt, Job, JobView, QueuePlace


def view_of(connection: Connection, job: Job, event_number: int, place: QueuePlace) -> JobView:
    """The job with everything that belongs to it; `event_number` was the last one when the job was read."""
    return JobView(
        job, event_number, place, tuple(attempts_of(connection, job.id)), tuple(artifacts_of(connection, job.id))
    )


def require(connection: Connection, tenant: str, id: str) -> None:
    """NotFound unless the tenant has this job; reads none of its documents."""
    mine = select(jobs.c.id).where(jobs.c.id == id, jobs.c.tenant == tenant)
    if not is_id(id) or connection.execute(mine).scalar() is None:
        raise NotFound("job", id)


def last_number(connection: Connection) -> int:
    """The highest event number of all jobs, 0 before the first."""
    return connection.execute(select(func.max(events.c.number))).scalar() or 0


def attempts_of(connection: Connection, id: str) -> list[Attempt]:
    """Every attempt of a job, first to last."""
    found = connection.execute(select(attempts).where(attempts.c.job == id).order_by(attempts.c.number))
    return [attempt_of(row) for row in found.mappings()]


def artifacts_of(connection: Connection, id: str) -> list[Artifact]:
    """The files that a job published, by name."""
    table = artifacts.c
    columns = select(table.name, table.path, table.sha256, table.size, table.attempt)
    return [Artifact(*row) for row in connection.execute(columns.where(table.job == id).order_by(table.name))]
