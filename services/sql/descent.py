"""What the record knows about a job and its parent: read for the verdict on a replay."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, select

from services.replay import Run, compared
from services.sql import series
from services.sql.engine import reading
from services.sql.schema import attempts, jobs
from services.sql.series import MetricRow
from services.sql.types import cleaned
from services.sql.values import Document, Job, Reason


def verdict_on(
    engine: Engine, job: Job, reason: Reason, result: Mapping[str, Any], metrics: Sequence[MetricRow]
) -> Document | None:
    """How a replay that is about to end compares with its original; None for any other job.

    `metrics` are the rows that will be committed with its end. Reads only: the caller's fence decides what is kept.
    """
    if job.origin != "replay" or job.parent_id is None:
        return None
    with reading(engine) as connection:
        first = connection.execute(select(jobs).where(jobs.c.id == job.parent_id)).mappings().one_or_none()
        if first is None:
            return None
        fresh = {(int(step), cleaned(name)): float(value) for step, name, value in metrics}
        ours = fresh | series.committed(connection, job.id)
        scores, weights = _scores(result), result.get("weights_sha256")
        again = Run(ours, scores, weights, reason, _environment(connection, job.id))
        return {"of": job.parent_id} | compared(_run_of(connection, first), again)


def _run_of(connection: Connection, row: RowMapping) -> Run:
    """A finished job as one side of the comparison."""
    result = row["result"] or {}
    values, ran = series.committed(connection, row["id"]), _environment(connection, row["id"])
    went_on = row["origin"] == "retry" and row["spec"] != _spec_of(connection, row["parent_id"])
    notes = (f"The original is a retry of job {row['parent_id']} with changes to its spec.",) if went_on else ()
    reason = None if row["reason"] is None else Reason(row["reason"])
    return Run(values, _scores(result), result.get("weights_sha256"), reason, ran, notes)


def _spec_of(connection: Connection, id: str) -> Document | None:
    found: Document | None = connection.execute(select(jobs.c.spec).where(jobs.c.id == id)).scalar()
    return found


def _environment(connection: Connection, job: str) -> Document | None:
    """What the last attempt ran on."""
    last = select(attempts.c.environment).where(attempts.c.job == job).order_by(attempts.c.number.desc()).limit(1)
    found: Document | None = connection.execute(last).scalar()
    return found


def _scores(result: Mapping[str, Any]) -> dict[str, float]:
    test = result.get("test") or {}
    return {str(name): float(value) for name, value in test.items() if isinstance(value, int | float)}
