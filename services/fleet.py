"""The workers and the queue as an operator sees them."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, final

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from services.sql.engine import reading, writing
from services.sql.schema import jobs, workers
from services.sql.types import utc_now
from services.sql.values import JobState


@final
@dataclass(frozen=True)
class Device:
    """What a worker computes on; memory in bytes, None where unknown. `kind` is "cpu" or "gpu"."""

    kind: str
    name: str
    memory_total: int | None = None
    memory_free: int | None = None


@final
@dataclass(frozen=True)
class Worker:
    """One worker process; `current_job` is the id of the job it runs, `seen_at` is set by the record.

    One that is `draining` is going down and takes no more jobs."""

    id: str
    host: str
    pid: int
    device: Device
    current_job: str | None = None
    seen_at: datetime | None = None
    draining: bool = False


@final
@dataclass(frozen=True)
class QueueView:
    """The queue at a glance: jobs per state, queued jobs per device, and the longest wait in seconds."""

    depth: dict[str, int]
    by_device: dict[str, int]
    oldest_wait_seconds: float


@final
class Fleet:
    """Worker rows: written by workers, read by everybody."""

    def __init__(self, engine: Engine) -> None:
        """Work on `engine`."""
        self.engine = engine

    def register(self, worker: Worker) -> None:
        """Add a worker, or replace the row of the same id."""
        row = asdict(worker) | {"seen_at": utc_now()}
        with writing(self.engine) as connection:
            connection.execute(delete(workers).where(workers.c.id == worker.id))
            connection.execute(insert(workers).values(row))

    def seen(self, id: str, *, current_job: str | None = None, memory_free: int | None = None) -> bool:
        """Note that a worker lives and what it runs; False when its row is gone (register again)."""
        with writing(self.engine) as connection:
            mine = select(workers.c.device).where(workers.c.id == id).with_for_update()
            device: dict[str, Any] | None = connection.execute(mine).scalar_one_or_none()
            if device is None:
                return False
            device |= {} if memory_free is None else {"memory_free": memory_free}
            changes = {"current_job": current_job, "device": device, "seen_at": utc_now()}
            connection.execute(update(workers).where(workers.c.id == id).values(changes))
        return True

    def drain(self, id: str) -> None:
        """Note that a worker is going down and takes no more jobs."""
        with writing(self.engine) as connection:
            connection.execute(update(workers).where(workers.c.id == id).values(draining=True))

    def forget(self, id: str) -> None:
        """Remove a worker that says goodbye."""
        with writing(self.engine) as connection:
            connection.execute(delete(workers).where(workers.c.id == id))

    def workers(self, *, within_seconds: float | None = None) -> list[Worker]:
        """Workers by id; `within_seconds` leaves out those not seen for longer."""
        everyone = select(workers).order_by(workers.c.id)
        if within_seconds is not None:
            everyone = everyone.where(workers.c.seen_at >= utc_now() - timedelta(seconds=within_seconds))
        with reading(self.engine) as connection:
            return [_worker_of(row) for row in connection.execute(everyone).mappings()]

    def queue(self) -> QueueView:
        """The queue at a glance; finished states are counted too."""
        with reading(self.engine) as connection:
            states = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
            return QueueView(
                depth={str(state): 0 for state in JobState} | {state: count for state, count in states},
                by_device=_queued_by_device(connection),
                oldest_wait_seconds=_oldest_wait(connection),
            )


def _worker_of(row: RowMapping) -> Worker:
    return Worker(**dict(row) | {"device": Device(**row["device"])})


def _queued_by_device(connection: Connection) -> dict[str, int]:
    queued = select(jobs.c.device, func.count()).where(jobs.c.state == JobState.QUEUED).group_by(jobs.c.device)
    return {device: count for device, count in connection.execute(queued).all()}


def _oldest_wait(connection: Connection) -> float:
    """How long the job that could have started earliest has been waiting."""
    first = select(func.min(jobs.c.not_before)).where(jobs.c.state == JobState.QUEUED)
    since = connection.execute(first).scalar()
    return 0.0 if since is None else max(0.0, (utc_now() - since).total_seconds())
