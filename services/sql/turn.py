"""Whose turn it is: the job that a worker takes next.

Urgent jobs first; among equals the tenant that runs the fewest jobs; then the tenant whose last start is longest ago;
then the oldest job. A thousand jobs of one tenant cost one look at the head of a lane (a tenant's jobs for one kind of
device), not a thousand: the index `jobs_by_lane` holds everything that is looked at.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    insert,
    select,
    union_all,
    update,
)

from services.sql.engine import one_at_a_time
from services.sql.rows import device_kind
from services.sql.schema import jobs, turns, workers
from services.sql.transitions import due
from services.sql.types import utc_now
from services.sql.values import JobState

_TRIES: Final = 20
_CLAIMS: Final = "claims"
DEVICES: Final = ("auto", "cpu", "gpu")
"""What a job may ask for."""


@final
@dataclass(frozen=True)
class Room:
    """The memory of a worker's device in bytes, None where unknown: all of it, and what is free now.

    Other workers of `host` compute on the same memory: what their jobs have been promised is not free, even if they
    have not taken it yet.
    """

    host: str
    total: int | None = None
    free: int | None = None


def next_in_line(
    connection: Connection, worker: str, devices: Collection[str], max_running: int, room: Room | None = None
) -> tuple[RowMapping | None, int | None]:
    """The job whose turn it is on these devices, its row locked; one that does not fit into `room` is passed over.

    Also returns the bytes that are free and promised to nobody, None where unknown.

    Claims are made one at a time, so that two of them never see the same quota or the same free memory.
    """
    one_at_a_time(connection, _CLAIMS)
    kinds = {device_kind(device) for device in devices}
    free = None if room is None else _free(connection, worker, "gpu" if "gpu" in kinds else "cpu", room)
    need = jobs.c.memory_gpu if "gpu" in kinds else jobs.c.memory_cpu
    fits = None if free is None else need <= free
    locked: list[str] = []
    for _ in range(_TRIES):
        heads = connection.execute(_heads(sorted(kinds | {"auto"}), fits, locked)).scalars()
        id: str | None = connection.execute(_first([head for head in heads if head], max_running)).scalar()
        if id is None:
            break
        mine = select(jobs).where(jobs.c.id == id).with_for_update(skip_locked=True)
        if (row := connection.execute(mine).mappings().one_or_none()) is not None:
            return row, free
        # Its owner is changing it at this moment, most likely to cancel it.
        locked.append(id)
    return None, free


def taken(connection: Connection, tenant: str) -> None:
    """Note that the tenant had its turn."""
    last = select(func.coalesce(func.max(turns.c.number), 0) + 1).scalar_subquery()
    changed = connection.execute(update(turns).where(turns.c.tenant == tenant).values(number=last))
    if not changed.rowcount:
        connection.execute(insert(turns).values(tenant=tenant, number=last))


def running_by_tenant() -> Select[str, int]:
    """(tenant, running): how many jobs each tenant runs."""
    # Not the bare column: an index in the order of tenants would read every job there ever was.
    tenant: ColumnElement[str] = func.coalesce(jobs.c.tenant, "").label("tenant")
    mine = (jobs.c.state == JobState.RUNNING) & jobs.c.device.in_(DEVICES)
    return select(tenant, func.count().label("running")).where(mine).group_by(tenant)


def shares(worker: str, other: str, kind: str) -> bool:
    """Whether two workers of one host compute on the same memory: the host's, or that of the same GPU."""
    return kind == "cpu" or worker.partition("/")[0] == other.partition("/")[0]


def _free(connection: Connection, worker: str, kind: str, room: Room) -> int | None:
    """What is free and promised to nobody."""
    if room.total is None:
        return room.free
    need = jobs.c.memory_gpu if kind == "gpu" else jobs.c.memory_cpu
    beside = select(workers.c.id, workers.c.device, need).join(jobs, jobs.c.id == workers.c.current_job)
    rows = connection.execute(beside.where(workers.c.host == room.host, jobs.c.state == JobState.RUNNING)).all()
    # A worker's own row may still show the job that it has just ended.
    others = [row for row in rows if row[0] != worker and row[1]["kind"] == kind and shares(worker, row[0], kind)]
    left = room.total - sum(int(row[2]) for row in others)
    return left if room.free is None else min(room.free, left)


def _heads(devices: Collection[str], fits: ColumnElement[bool] | None, without: Collection[str]) -> Any:
    """The ids at the heads of all lanes; NULL for a lane in which nothing is due and fits."""
    now = utc_now()
    return union_all(*(_head_of_each(device, fits, now, without) for device in devices))


def _first(heads: Collection[str], max_running: int) -> Any:
    """The id among `heads` whose turn it is."""
    others = jobs.alias("others")
    # Every device by name, so that the index answers this too.
    runs = and_(others.c.state == JobState.RUNNING, others.c.device.in_(DEVICES), others.c.tenant == jobs.c.tenant)
    running = select(func.count()).select_from(others).where(runs).correlate(jobs).scalar_subquery()
    number = select(turns.c.number).where(turns.c.tenant == jobs.c.tenant).correlate(jobs).scalar_subquery()
    best = select(jobs.c.id).where(jobs.c.id.in_(heads))
    if max_running:
        best = best.where(running < max_running)
    return best.order_by(jobs.c.priority.desc(), running, func.coalesce(number, 0), jobs.c.id).limit(1)


def _head_of_each(
    device: str, fits: ColumnElement[bool] | None, now: datetime, without: Collection[str]
) -> Select[Any]:
    """For every tenant with jobs queued for `device`, the first of them that is due and fits."""
    lanes = _lanes(device)
    mine = and_(due(now), jobs.c.device == device, jobs.c.tenant == lanes.c.tenant)
    first = select(jobs.c.id).where(mine)
    first = first if fits is None else first.where(fits)
    first = first.where(jobs.c.id.not_in(without)) if without else first
    head = first.order_by(jobs.c.priority.desc(), jobs.c.id).limit(1).correlate(lanes).scalar_subquery()
    return select(head.label("id")).select_from(lanes).where(lanes.c.tenant.is_not(None))


def _lanes(device: str) -> CTE:
    """The tenants with jobs queued for `device`, found by jumping from each to the next in the index."""
    mine = and_(jobs.c.state == JobState.QUEUED, jobs.c.device == device)
    lanes = select(func.min(jobs.c.tenant).label("tenant")).where(mine).cte(f"lanes_{device}", recursive=True)
    following = select(func.min(jobs.c.tenant)).where(mine, jobs.c.tenant > lanes.c.tenant).correlate(lanes)
    return lanes.union_all(select(following.scalar_subquery()).where(lanes.c.tenant.is_not(None)))
