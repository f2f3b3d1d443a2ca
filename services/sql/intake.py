"""How a job comes into the record, exactly once per idempotency key."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, func, insert, select, update

from services.errors import Conflict, KeyReused, NotFound
from services.estimate import Estimate, Pace, estimate
from services.sql.engine import insert_many
from services.sql.ids import is_id, new_id
from services.sql.rows import columns_of, foreseen
from services.sql.schema import checkpoints, idempotency, jobs, labels, metrics, uploads
from services.sql.transitions import announce, ring
from services.sql.types import to_json, utc_now
from services.sql.values import JobState

COMPARED: Final = 50
"""Finished jobs that an estimate looks at."""


def sha_of(text: str) -> str:
    """SHA-256 of a text, as hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def body_sha_of(spec: Mapping[str, Any], *descent: object) -> str:
    """What stands for the body when the caller gives no hash of it."""
    return sha_of(to_json([spec, *descent]))


def known_request(connection: Connection, tenant: str, key_sha: str, body_sha: str) -> str | None:
    """The job that this key made before, or None; KeyReused when the body was another one."""
    row = connection.execute(
        select(idempotency).where(idempotency.c.tenant == tenant, idempotency.c.key_sha == key_sha)
    ).mappings().one_or_none()  # fmt: skip
    if row is None:
        return None
    if row["body_sha"] != body_sha:
        raise KeyReused
    return str(row["job"])


def expected(connection: Connection, tenant: str, task: object, outline: Mapping[str, Any]) -> Estimate | None:
    """How long a job will train, from the tenant's last finished jobs; steps of agents are compared with each other."""
    same = jobs.c.task == "reinforcement"
    same = same if task == "reinforcement" else func.coalesce(jobs.c.task, "") != "reinforcement"
    done = select(jobs.c.id, jobs.c.flops_per_step, jobs.c.step_seconds).where(
        jobs.c.tenant == tenant, jobs.c.state == JobState.SUCCEEDED, same,
        jobs.c.step_seconds.is_not(None), jobs.c.flops_per_step.is_not(None),
    )  # fmt: skip
    rows = connection.execute(done.order_by(jobs.c.id.desc()).limit(COMPARED)).all()
    return estimate((Pace(*row) for row in rows), outline)


def add(
    connection: Connection, tenant: str, spec: Mapping[str, Any], outline: Mapping[str, Any], parent_id: str | None,
    origin: str | None = None,
) -> str:  # fmt: skip
    """T1: the job's row, its labels, its event and its doorbell; returns its id."""
    now, id = utc_now(), new_id()
    columns = columns_of(spec) | foreseen(outline) | {"spec": dict(spec), "outline": dict(outline)}
    guess = expected(connection, tenant, columns["task"], outline)
    columns |= {"parent_id": parent_id, "origin": origin, "expected_seconds": None if guess is None else guess.seconds}
    connection.execute(insert(jobs).values(id=id, tenant=tenant, created_at=now, not_before=now, **columns))
    insert_many(connection, labels, [{"job": id, "label": label} for label in sorted(set(columns["labels"]))])
    announce(connection, id, 0, JobState.QUEUED)
    ring(connection, id, now)
    return id


def require_upload(connection: Connection, tenant: str, spec: Mapping[str, Any]) -> None:
    """The upload that a spec names cannot be deleted before its job is recorded; NotFound when it is gone already."""
    dataset = spec.get("dataset")
    id = dataset.get("upload") if isinstance(dataset, Mapping) else None
    mine = select(uploads.c.id).where(uploads.c.id == id, uploads.c.tenant == tenant).with_for_update()
    if id is not None and connection.execute(mine).scalar() is None:
        raise NotFound("data set", str(id))


def remember_request(connection: Connection, tenant: str, key_sha: str, body_sha: str, job: str) -> None:
    """Bind the key to the job; an IntegrityError means that another request was faster."""
    row = {"tenant": tenant, "key_sha": key_sha, "body_sha": body_sha, "job": job, "at": utc_now()}
    connection.execute(insert(idempotency).values(row))


def parent(connection: Connection, tenant: str, parent_id: str) -> RowMapping:
    """The parent's row, locked so that it cannot be deleted meanwhile; NotFound for foreign ones."""
    mine = select(jobs).where(jobs.c.id == parent_id, jobs.c.tenant == tenant).with_for_update()
    row = connection.execute(mine).mappings().one_or_none() if is_id(parent_id) else None
    if row is None:
        raise NotFound("job", parent_id)
    return row


def inherit(connection: Connection, job: str, source: RowMapping) -> None:
    """Start from the parent's last checkpoint: its pointer, and the metrics up to it, become the new job's own."""
    step, now = source["checkpoint_step"], utc_now()
    here = and_(checkpoints.c.job == source["id"], checkpoints.c.step == step)
    if step is None or connection.execute(select(checkpoints.c.step).where(here)).first() is None:
        raise Conflict("There is no checkpoint to go on from.", hint="Say from: start, or replay the job.")
    _copy(connection, checkpoints, source["id"], job, checkpoints.c.step == step, now)
    _copy(connection, metrics, source["id"], job, metrics.c.step <= step, now)
    total = source["total_steps"]
    so_far = {"checkpoint_step": step, "step": step, "total_steps": total, "best": source["best"]}
    so_far["progress"] = step / total if total else 0.0
    connection.execute(update(jobs).where(jobs.c.id == job).values(so_far))


def _copy(connection: Connection, table: Any, old: str, new: str, which: Any, now: datetime) -> None:
    rows = connection.execute(select(table).where(table.c.job == old, which)).mappings().all()
    insert_many(connection, table, [dict(row) | {"job": new, "attempt": 0, "at": now} for row in rows])
