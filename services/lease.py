"""What the holder of a running job may write. Every write is fenced by the attempt; a stale one raises LeaseLost."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

from sqlalchemy import Connection, Engine, RowMapping, and_, delete, func, insert, select, update

from services.artifacts import ArtifactStore
from services.errors import Conflict, DataError, LeaseLost
from services.sql import descent, series, transitions, turn
from services.sql.engine import insert_many, writing
from services.sql.rows import checkpoint_of, job_of
from services.sql.schema import artifacts as artifact_rows
from services.sql.schema import attempts, checkpoints, jobs
from services.sql.schema import events as event_rows
from services.sql.schema import metrics as metric_rows
from services.sql.series import MetricRow
from services.sql.types import utc_now
from services.sql.values import EVENT_KINDS, Artifact, Checkpoint, Flags, Job, JobState, Progress, Reason


@final
class Lease:
    """One attempt of one job, held by one worker. Not thread-safe against itself ending: writes after the end raise."""

    def __init__(self, engine: Engine, job: Job, checkpoint: Checkpoint | None, spare: int | None = None) -> None:
        """Use `Lease.claim` instead. `spare` bytes of the device were free when the job was claimed (None: unknown)."""
        self.spare = spare
        self.engine, self.job, self.attempt = engine, job, job.attempt
        self.resume_from = checkpoint
        self._began = time.monotonic()

    @classmethod
    def claim(
        cls, engine: Engine, worker_id: str, devices: Collection[str], *, max_running: int = 0,
        room: turn.Room | None = None, environment: Mapping[str, Any] | None = None,
    ) -> "Lease | None":  # fmt: skip
        """Take the queued job whose turn it is on `devices` ("cpu", "gpu", "gpu:0"; auto fits all), or None.

        A job that needs more memory than `room` has free is passed over. `environment` says what the attempt will run
        on (see `services.receipt`).
        """
        with writing(engine) as connection:
            best, spare = turn.next_in_line(connection, worker_id, devices, max_running, room)
            row = best and transitions.start(connection, best, worker_id, ",".join(sorted(devices)), environment)
            if row is None:
                return None
            turn.taken(connection, row["tenant"])
            return cls(engine, job_of(row), checkpoint_of(connection, row), spare)

    def beat(self, progress: Progress | None = None) -> Flags:
        """Say that the holder lives."""
        with self._held(_columns(progress)) as (_, row):
            return _flags(row)

    def record(self, events: Iterable[tuple[str, Mapping[str, Any]]], progress: Progress | None = None) -> Flags:
        """Append (kind, data) events; kinds metric (step, epoch, values), log (level, text), diagnostic."""
        rows = [_event_row(self.job.id, self.attempt, kind, data) for kind, data in events]
        with self._held(_columns(progress)) as (connection, row):
            insert_many(connection, event_rows, rows)
            return _flags(row)

    def checkpoint(
        self,
        checkpoint: Checkpoint,
        metrics: Sequence[MetricRow],
        *,
        keep: int = 2,
        best: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Flags:
        """Commit the resume point and the metrics up to it together; `Flags.dropped` may be deleted from disk.

        `best` (for example step, metric, value) marks this as the best so far: the last best is kept beyond `keep`.
        """
        changes = _columns(progress) | {"checkpoint_step": checkpoint.step}
        changes |= {} if best is None else {"best": dict(best)}
        with self._held(changes) as (connection, row):
            series.commit(connection, self.job.id, self.attempt, metrics)
            replaced = _point_to(connection, self.job.id, self.attempt, checkpoint, best is not None)
            dropped = replaced | _drop_old(connection, self.job.id, keep)
            return _flags(row, sorted(_unreferenced(connection, dropped)))

    def give_up_checkpoint(self) -> Checkpoint | None:
        """`resume_from` is damaged: go back to the checkpoint before it, or to the beginning (None), metrics too."""
        with self._held({}) as (connection, _):
            self.resume_from = _step_back(connection, self.job.id, self.attempt)
        return self.resume_from

    def describe_data(self, data: Mapping[str, Any]) -> Flags:
        """Note which data was used (name, sha256, sizes)."""
        with self._held({"data": dict(data)}) as (_, row):
            return _flags(row)

    def succeed(
        self,
        reason: Reason | str,
        result: Mapping[str, Any],
        artifacts: Sequence[Artifact],
        metrics: Sequence[MetricRow] = (),
        *,
        store: ArtifactStore | None = None,
    ) -> None:
        """Running -> succeeded; `store` re-reads every artifact from disk first."""
        if store is not None and (broken := [item.name for item in artifacts if not store.verify(item)]):
            raise DataError(f"Artifacts are not what was written: {', '.join(broken)}.")
        replayed = descent.verdict_on(self.engine, self.job, Reason(reason), result, metrics)
        result = dict(result) | ({} if replayed is None else {"replay": replayed})
        with self._held({}) as (connection, row):
            series.commit(connection, self.job.id, self.attempt, metrics)
            insert_many(connection, artifact_rows, [_artifact_row(self.job, item) for item in artifacts])
            transitions.finish(connection, row, JobState.SUCCEEDED, Reason(reason), result=result, ran=self.ran)

    def fail(self, reason: Reason | str, message: str, metrics: Sequence[MetricRow] = ()) -> None:
        """Running -> failed, for good."""
        replayed = descent.verdict_on(self.engine, self.job, Reason(reason), {}, metrics)
        with self._held({}) as (connection, row):
            series.commit(connection, self.job.id, self.attempt, metrics)
            result = None if replayed is None else {"replay": replayed}
            transitions.finish(connection, row, JobState.FAILED, Reason(reason), message, result, ran=self.ran)

    def cancelled(self, message: str | None = None) -> None:
        """Running -> cancelled; only after the trainer process is gone. Conflict when nobody asked."""
        with self._held({}) as (connection, row):
            if not row["cancel_requested"]:
                raise Conflict("Nobody asked to cancel this job.")
            transitions.finish(connection, row, JobState.CANCELLED, Reason.CANCELLED_BY_USER, message, ran=self.ran)

    def requeue(
        self,
        cause: str,
        trainer_died: bool,
        not_before_delay: float | None = None,
        *,
        last_reason: Reason | None = None,
    ) -> JobState:
        """Running -> queued after a back-off in seconds (None: the usual one), or T7 (given up), or T9 (cancelled).

        `last_reason` is why it is given up, where that would be `poison` otherwise.
        """
        with self._held({}) as (connection, row):
            return transitions.send_back(
                connection, row, cause,
                trainer_died=trainer_died, delay=not_before_delay, ran=self.ran, last_reason=last_reason,
            )  # fmt: skip

    def await_space(self, cause: str) -> JobState:
        """Running -> queued because a disk is full, without counting it against the job; or T7 or T9."""
        with self._held({}) as (connection, row):
            return transitions.await_space(connection, row, cause, self.ran)

    def step_aside(self, cause: str) -> JobState:
        """Running -> queued because strangers have taken the device's memory; nothing counts against the job."""
        with self._held({}) as (connection, row):
            return transitions.step_aside(connection, row, cause, self.ran)

    @property
    def ran(self) -> float:
        """Seconds since the claim, by a clock that does not jump."""
        return time.monotonic() - self._began

    @contextmanager
    def _held(self, changes: Mapping[str, Any]) -> Iterator[tuple[Connection, RowMapping]]:
        """One transaction that begins with the fence; LeaseLost undoes nothing because nothing was written."""
        with writing(self.engine) as connection:
            row = transitions.hold(connection, self.job.id, self.attempt, changes=changes)
            if row is None:
                raise LeaseLost(f"Attempt {self.attempt} no longer holds job {self.job.id}; nothing was written.")
            yield connection, row


def _columns(progress: Progress | None) -> dict[str, Any]:
    """The columns that a progress report changes."""
    if progress is None:
        return {}
    known = {name: value for name, value in vars(progress).items() if value is not None}
    if progress.step is not None and progress.total_steps:
        known["progress"] = min(1.0, max(0.0, progress.step / progress.total_steps))
    return known


def _flags(row: RowMapping, dropped: Iterable[str] = ()) -> Flags:
    return Flags(bool(row["cancel_requested"]), bool(row["stop_requested"]), tuple(dropped))


def _event_row(job: str, attempt: int, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `job_events`; state events are written by transitions alone."""
    if kind not in EVENT_KINDS or kind == "state":
        raise ValueError(f"unknown event kind {kind!r}; known: diagnostic, log, metric")
    step = data.get("step")
    return {"job": job, "attempt": attempt, "kind": kind, "step": step, "data": dict(data), "at": utc_now()}


def _artifact_row(job: Job, artifact: Artifact) -> dict[str, Any]:
    return vars(artifact) | {"job": job.id, "attempt": job.attempt}


def _point_to(connection: Connection, job: str, attempt: int, checkpoint: Checkpoint, best: bool) -> set[str]:
    """Add the checkpoint's row; one of the same step gives way, and its path is returned. Steps never go back."""
    table = checkpoints.c
    if connection.execute(select(table.step).where(table.job == job, table.step > checkpoint.step)).first():
        raise Conflict(f"A checkpoint later than step {checkpoint.step} is already recorded.")
    same = delete(checkpoints).where(table.job == job, table.step == checkpoint.step).returning(table.path)
    replaced = set(connection.execute(same).scalars())
    row = vars(checkpoint) | {"job": job, "attempt": attempt, "best": best, "at": utc_now()}
    connection.execute(insert(checkpoints).values(row))
    return replaced


def _step_back(connection: Connection, job: str, attempt: int) -> Checkpoint | None:
    """Forget the last checkpoint and every metric after the one before it."""
    row = connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one()
    connection.execute(
        delete(checkpoints).where(checkpoints.c.job == job, checkpoints.c.step == row["checkpoint_step"])
    )
    step = connection.execute(select(func.max(checkpoints.c.step)).where(checkpoints.c.job == job)).scalar()
    later = metric_rows.c.job == job if step is None else and_(metric_rows.c.job == job, metric_rows.c.step > step)
    connection.execute(delete(metric_rows).where(later))
    back = update(jobs).where(jobs.c.id == job).values(checkpoint_step=step, step=step or 0).returning(jobs)
    mine = and_(attempts.c.job == job, attempts.c.number == attempt)
    connection.execute(update(attempts).where(mine).values(start_step=step))
    return checkpoint_of(connection, connection.execute(back).mappings().one())


def _drop_old(connection: Connection, job: str, keep: int) -> set[str]:
    """Forget all but the last `keep` checkpoints and the last best one; returns the forgotten paths."""
    table = checkpoints.c
    newest = select(table.step, table.best).where(table.job == job).order_by(table.step.desc())
    rows = connection.execute(newest).all()
    kept = {row.step for row in rows[: max(1, keep)]} | {row.step for row in [r for r in rows if r.best][:1]}
    old = delete(checkpoints).where(table.job == job, table.step.not_in(kept)).returning(table.path)
    return set(connection.execute(old).scalars())


def _unreferenced(connection: Connection, paths: set[str]) -> set[str]:
    """Those paths that no checkpoint of any job points to any more: a retry shares its parent's file."""
    used = select(checkpoints.c.path).where(checkpoints.c.path.in_(sorted(paths)))
    return paths - set(connection.execute(used).scalars())
