"""Every change of a job's state, written once. Each takes an open writing transaction.

Whoever writes an event of a job has first updated that job's row, so event numbers of one job grow in commit order
on PostgreSQL too.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, insert, or_, select, update

from services.estimate import step_seconds
from services.sql.schema import attempts, events, jobs, outbox
from services.sql.types import cleaned, utc_now
from services.sql.values import JobState, Reason

NO_PROGRESS_LIMIT: Final = 3
LOST_LIMIT: Final = 10
ATTEMPT_LIMIT: Final = 20
FIRST_BACKOFF: Final = 10.0
LAST_BACKOFF: Final = 360.0
STORAGE_LIMIT: Final = 100
SPACE_BACKOFF: Final = 30.0
CLOCK_JUMP: Final = 60.0


def hold(
    connection: Connection, job: str, attempt: int, beats: int | None = None, changes: Mapping[str, Any] | None = None
) -> RowMapping | None:
    """The fence: count a heartbeat if `attempt` still runs (and its counter is `beats`), and lock the row.

    Returns the row as it is now, or None when the caller no longer holds the job: then nothing was written.
    """
    mine = and_(jobs.c.id == job, jobs.c.attempt == attempt, jobs.c.state == JobState.RUNNING)
    if beats is not None:
        mine = and_(mine, jobs.c.hb_seq == beats)
    change = update(jobs).where(mine).values(hb_seq=jobs.c.hb_seq + 1, **(changes or {})).returning(jobs)
    return connection.execute(change).mappings().one_or_none()


def announce(connection: Connection, job: str, attempt: int, state: JobState, **details: Any) -> None:
    """Append a state event; details that are None are left out."""
    data = {"state": str(state), "attempt": attempt} | {k: v for k, v in details.items() if v is not None}
    row = {"job": job, "attempt": attempt, "kind": "state", "to_state": str(state), "data": data, "at": utc_now()}
    connection.execute(insert(events).values(row))


def ring(connection: Connection, job: str, due_at: datetime) -> None:
    """Put the job's doorbell into the outbox."""
    connection.execute(delete(outbox).where(outbox.c.job == job))
    connection.execute(insert(outbox).values(job=job, due_at=due_at, rings=0))


def due(now: datetime) -> ColumnElement[bool]:
    """Queued, and not waiting for a back-off to pass.

    A clock that is wrong hides no job: one that was never tried waits for nothing, and a moment farther ahead than any
    back-off was written by a clock that is no longer believed.
    """
    passed = or_(
        jobs.c.attempt == 0, jobs.c.not_before <= now, jobs.c.not_before > now + timedelta(seconds=LAST_BACKOFF)
    )
    return and_(jobs.c.state == JobState.QUEUED, passed)


def start(
    connection: Connection, row: RowMapping, worker: str, device: str, environment: Mapping[str, Any] | None = None
) -> RowMapping | None:
    """T2, queued -> running: takes the next attempt, or None when somebody else was faster."""
    now = utc_now()
    free = and_(
        jobs.c.id == row["id"],
        jobs.c.attempt == row["attempt"],
        due(now),
        jobs.c.cancel_requested.is_(False),
    )
    change = update(jobs).where(free).values(
        state=str(JobState.RUNNING), attempt=jobs.c.attempt + 1, owner=worker, hb_seq=jobs.c.hb_seq + 1,
        phase="claimed", message=None, started_at=row["started_at"] or now,
    )  # fmt: skip
    taken = connection.execute(change.returning(jobs)).mappings().one_or_none()
    if taken is not None:
        _open_attempt(connection, taken, worker, device, now, environment)
    return taken


def _open_attempt(
    connection: Connection,
    row: RowMapping,
    worker: str,
    device: str,
    now: datetime,
    environment: Mapping[str, Any] | None,
) -> None:
    """The attempt's row and event; its doorbell has done its work."""
    connection.execute(
        insert(attempts).values(
            job=row["id"],
            number=row["attempt"],
            worker=worker,
            device=device,
            started_at=now,
            start_step=row["checkpoint_step"],
            environment=None if environment is None else dict(environment),
        )
    )
    connection.execute(delete(outbox).where(outbox.c.job == row["id"]))
    details = {"worker": worker, "resumed_from": row["checkpoint_step"]}
    announce(connection, row["id"], row["attempt"], JobState.RUNNING, **details)


def finish(
    connection: Connection,
    row: RowMapping,
    state: JobState,
    reason: Reason,
    message: str | None = None,
    result: Mapping[str, Any] | None = None,
    ran: float | None = None,
) -> None:
    """T4, T5, T7, T8, T9: into a terminal state, from the locked `row`; `ran` as in `send_back`."""
    message = None if message is None else cleaned(message)
    now = utc_now()
    changes: dict[str, Any] = {
        "state": str(state), "reason": str(reason), "message": message, "owner": None, "finished_at": now,
        "eta_seconds": None, "phase": None, "result": None if result is None else dict(result),
        "ran_seconds": row["ran_seconds"] + _close_attempt(connection, row, state, message, ran),
    }  # fmt: skip
    if state is JobState.SUCCEEDED:
        changes |= {"progress": 1.0, "step_seconds": step_seconds(row["attempt"], row["step"], result)}
    connection.execute(update(jobs).where(jobs.c.id == row["id"]).values(changes))
    connection.execute(delete(outbox).where(outbox.c.job == row["id"]))
    announce(connection, row["id"], row["attempt"], state, reason=str(reason), message=message)


def _close_attempt(
    connection: Connection, row: RowMapping, outcome: JobState, message: str | None, ran: float | None
) -> float:
    """End the attempt that `row` is running, if any; returns the seconds it ran."""
    if row["state"] != JobState.RUNNING:
        return 0.0
    mine = and_(attempts.c.job == row["id"], attempts.c.number == row["attempt"])
    now = utc_now()
    connection.execute(update(attempts).where(mine).values(outcome=str(outcome), message=message, finished_at=now))
    return _ran(connection, row, ran, now)


def _ran(connection: Connection, row: RowMapping, measured: float | None, now: datetime) -> float:
    """Seconds from the start of the running attempt to `now`: by the clock on the wall, unless that has jumped."""
    mine = and_(attempts.c.job == row["id"], attempts.c.number == row["attempt"])
    started: datetime = connection.execute(select(attempts.c.started_at).where(mine)).scalar_one()
    wall = (now - started).total_seconds()
    return max(0.0, wall if measured is None or abs(wall - measured) < CLOCK_JUMP else measured)


def send_back(
    connection: Connection,
    row: RowMapping,
    cause: str,
    *,
    trainer_died: bool,
    delay: float | None = None,
    ran: float | None = None,
    last_reason: Reason | None = None,
) -> JobState:
    """T6, running -> queued; or T7 (given up) or T9 (a cancel was waiting). Returns the new state.

    `ran` says how many seconds the attempt ran, measured by a clock that does not jump; None: nobody measured it.
    `last_reason` stands in for `poison` where the cause is known to be another.
    """
    if row["cancel_requested"]:
        return _cancel(connection, row, cause, ran)
    no_progress, lost = _count(connection, row, trainer_died)
    tries = row["attempt"] - row["storage_waits"]
    given_up = verdict(tries, no_progress, lost, trainer_died) or _out_of_time(connection, row, ran)
    given_up = last_reason if last_reason and given_up is Reason.POISON else given_up
    if given_up is not None:
        return _give_up(connection, row, given_up, cause, ran)
    wait = backoff(no_progress + lost) if delay is None else delay
    _requeue(connection, row, cause, wait, ran, no_progress=no_progress, lost=lost)
    return JobState.QUEUED


def await_space(connection: Connection, row: RowMapping, cause: str, ran: float | None = None) -> JobState:
    """T6 because the disk is full, which is no fault of the job: only the waits count, up to STORAGE_LIMIT (T7)."""
    if row["cancel_requested"]:
        return _cancel(connection, row, cause, ran)
    waits = row["storage_waits"] + 1
    given_up = Reason.STORAGE_FULL if waits >= STORAGE_LIMIT else _out_of_time(connection, row, ran)
    if given_up is not None:
        return _give_up(connection, row, given_up, cause, ran)
    _requeue(connection, row, cause, min(backoff(waits), SPACE_BACKOFF), ran, storage_waits=waits)
    return JobState.QUEUED


def step_aside(connection: Connection, row: RowMapping, cause: str, ran: float | None = None) -> JobState:
    """T6 for a job whose place is taken by strangers: it waits, and nothing of it counts against the job."""
    if row["cancel_requested"] or _out_of_time(connection, row, ran):
        return send_back(connection, row, cause, trainer_died=False, ran=ran)
    _requeue(connection, row, cause, backoff(row["attempt"]), ran)
    return JobState.QUEUED


def _cancel(connection: Connection, row: RowMapping, cause: str, ran: float | None) -> JobState:
    finish(connection, row, JobState.CANCELLED, Reason.CANCELLED_BY_USER, cause, ran=ran)
    return JobState.CANCELLED


def _give_up(connection: Connection, row: RowMapping, reason: Reason, cause: str, ran: float | None) -> JobState:
    finish(connection, row, JobState.FAILED, reason, f"Gave up after attempt {row['attempt']}: {cause}", ran=ran)
    return JobState.FAILED


def _count(connection: Connection, row: RowMapping, trainer_died: bool) -> tuple[int, int]:
    """The (no_progress, lost) counters after this attempt; a checkpoint that advanced clears both."""
    mine = and_(attempts.c.job == row["id"], attempts.c.number == row["attempt"])
    begun = connection.execute(select(attempts.c.start_step).where(mine)).scalar_one()
    if row["checkpoint_step"] is not None and (begun is None or row["checkpoint_step"] > begun):
        return 0, 0
    return row["no_progress"] + trainer_died, row["lost"] + (not trainer_died)


def verdict(attempt: int, no_progress: int, lost: int, trainer_died: bool) -> Reason | None:
    """Why a job is given up, or None to try again."""
    if no_progress >= NO_PROGRESS_LIMIT:
        return Reason.POISON
    if lost >= LOST_LIMIT:
        return Reason.WORKER_LOST
    if attempt >= ATTEMPT_LIMIT:
        return Reason.POISON if trainer_died else Reason.WORKER_LOST
    return None


def _out_of_time(connection: Connection, row: RowMapping, ran: float | None) -> Reason | None:
    """Whether all attempts together have used up the job's running time."""
    if row["max_runtime"] is None:
        return None
    total = row["ran_seconds"] + _ran(connection, row, ran, utc_now())
    return Reason.MAX_RUNTIME_EXCEEDED if total >= row["max_runtime"] else None


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 10, 20, 40, … 360."""
    return float(min(FIRST_BACKOFF * 2 ** max(0, failures - 1), LAST_BACKOFF))


def _requeue(
    connection: Connection, row: RowMapping, cause: str, wait: float, ran: float | None, **counters: int
) -> None:
    """The job falls back to its checkpoint and waits `wait` seconds for its turn, with a new doorbell."""
    cause, due_at = cleaned(cause), utc_now() + timedelta(seconds=wait)
    step, total = row["checkpoint_step"] or 0, row["total_steps"]
    connection.execute(
        update(jobs)
        .where(jobs.c.id == row["id"])
        .values(
            state=str(JobState.QUEUED),
            owner=None,
            not_before=due_at,
            phase=None,
            eta_seconds=None,
            step=step,
            progress=step / total if total else 0.0,
            message=cause,
            ran_seconds=row["ran_seconds"] + _close_attempt(connection, row, JobState.QUEUED, cause, ran),
            **counters,
        )
    )
    announce(connection, row["id"], row["attempt"], JobState.QUEUED, message=cause)
    ring(connection, row["id"], due_at)
