"""What users do with jobs, and everything they read. What a holder writes is in `services.lease`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from sqlalchemy import Connection, Engine, RowMapping, and_, delete, literal, select, update
from sqlalchemy.exc import IntegrityError

from services.errors import AlreadyFinished, Conflict, NotFinished, NotFound
from services.estimate import Estimate
from services.sql import intake, line, places, quota, series, transitions
from services.sql.crowd import Crowds
from services.sql.engine import reading, writing
from services.sql.heads import JobHead, cut, heads
from services.sql.ids import is_id
from services.sql.listing import page_of
from services.sql.news import gone_of, news_of
from services.sql.rows import checkpoint_of, columns_of, event_of, foreseen, job_of
from services.sql.schema import artifacts, checkpoints, events, jobs
from services.sql.types import utc_now
from services.sql.values import (
    TERMINAL,
    Artifact,
    Attempt,
    Checkpoint,
    Document,
    Event,
    Flags,
    Job,
    JobState,
    JobView,
    MetricPoint,
    Page,
    Progress,
    Pulse,
    QueuePlace,
    Reason,
)
from services.sql.views import artifacts_of, attempts_of, last_number, require, view_of

__all__ = [
    "TERMINAL",
    "Artifact",
    "Attempt",
    "Checkpoint",
    "Document",
    "Event",
    "Flags",
    "Job",
    "JobHead",
    "JobState",
    "JobStore",
    "JobView",
    "MetricPoint",
    "Page",
    "Progress",
    "Pulse",
    "QueuePlace",
    "Reason",
]


@final
class JobStore:
    """The record of jobs; every method is one short transaction, safe from any thread."""

    def __init__(self, engine: Engine, *, max_queued: int = 0, max_running: int = 0, max_stored_bytes: int = 0) -> None:
        """Work on `engine` (see `services.sql.engine`); the limits are per tenant, 0 = none."""
        self.engine = engine
        self.max_queued, self.max_running, self.max_stored_bytes = max_queued, max_running, max_stored_bytes
        self._crowds = Crowds()

    def submit(
        self,
        tenant: str,
        spec: Mapping[str, Any],
        outline: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        body_sha: str | None = None,
        parent_id: str | None = None,
        origin: str | None = None,
        resume: bool = False,
    ) -> tuple[Job, bool]:
        """Queue a job: row, event and doorbell in one transaction; False when the key had made it before.

        `resume` starts from the parent's last checkpoint, with the parent's metrics up to it; `origin` is the kind of
        child (retry, replay).
        Raises KeyReused, QuotaExceeded, NotFound (parent), Conflict (nothing to resume from).
        """
        body = body_sha or intake.body_sha_of(spec, parent_id, origin, resume)
        key = None if idempotency_key is None else intake.sha_of(idempotency_key)
        try:
            id, created = self._submit(tenant, spec, outline, key, body, parent_id, origin, resume)
        except IntegrityError:
            # Another request with the same key was faster; now its row is there to be found.
            id, created = self._submit(tenant, spec, outline, key, body, parent_id, origin, resume)
        return self.get(tenant, id), created

    def _submit(
        self,
        tenant: str,
        spec: Mapping[str, Any],
        outline: Mapping[str, Any],
        key: str | None,
        body: str,
        parent_id: str | None,
        origin: str | None,
        resume: bool,
    ) -> tuple[str, bool]:
        with writing(self.engine) as connection:
            if key is not None and (known := intake.known_request(connection, tenant, key, body)):
                return known, False
            quota.check_queued(connection, tenant, self.max_queued)
            quota.check_stored(connection, tenant, self.max_stored_bytes)
            source = None if parent_id is None else intake.parent(connection, tenant, parent_id)
            intake.require_upload(connection, tenant, spec)
            id = intake.add(connection, tenant, spec, outline, parent_id, origin)
            if resume and source is not None:
                intake.inherit(connection, id, source)
            if key is not None:
                intake.remember_request(connection, tenant, key, body, id)
            return id, True

    def get(self, tenant: str, id: str) -> Job:
        """The job, or NotFound: also for other tenants' jobs."""
        with reading(self.engine) as connection:
            return job_of(_row(connection, tenant, id))

    def view(self, tenant: str, id: str) -> JobView:
        """The job with everything that belongs to it, or NotFound."""
        with reading(self.engine) as connection:
            number = last_number(connection)
            job = job_of(_row(connection, tenant, id))
            return view_of(connection, job, number, self._place(connection, job))

    def find(
        self,
        tenant: str,
        *,
        state: JobState | None = None,
        label: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Jobs of a tenant, newest first."""
        wanted = page_of(tenant, state, label, cursor, limit)
        if wanted is None:
            return Page((), None)
        with reading(self.engine) as connection:
            return cut([job_of(row) for row in connection.execute(wanted).mappings()], limit)

    def heads(
        self,
        tenant: str,
        *,
        state: JobState | None = None,
        label: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[JobHead]:
        """Like `find`, as a list shows them."""
        wanted = page_of(tenant, state, label, cursor, limit)
        if wanted is None:
            return Page((), None)
        with reading(self.engine) as connection:
            return cut(heads(connection, wanted), limit)

    def request_cancel(self, tenant: str, id: str) -> Job:
        """Cancel: a queued job at once, a running one through a flag; AlreadyFinished afterwards."""
        with writing(self.engine) as connection:
            row = _live_row(connection, tenant, id)
            if row["state"] == JobState.QUEUED:
                transitions.finish(connection, row, JobState.CANCELLED, Reason.CANCELLED_BY_USER)
            elif not row["cancel_requested"]:
                _flag(connection, row, "cancel_requested")
        return self.get(tenant, id)

    def request_stop(self, tenant: str, id: str) -> Job:
        """Ask a started job to finish now and keep its model; Conflict when it never started."""
        with writing(self.engine) as connection:
            row = _live_row(connection, tenant, id)
            if row["state"] == JobState.QUEUED and row["checkpoint_step"] is None:
                raise Conflict("The job has not started: there is no model to keep.", hint="Cancel it instead.")
            if not row["stop_requested"]:
                _flag(connection, row, "stop_requested")
        return self.get(tenant, id)

    def delete(self, tenant: str, id: str) -> list[str]:
        """Forget a finished job; returns the artifact paths nobody refers to any more. NotFinished while live."""
        with writing(self.engine) as connection:
            row = _row(connection, tenant, id, lock=True)
            if JobState(row["state"]) not in TERMINAL:
                raise NotFinished(hint="Cancel the job first.")
            paths = _paths(connection, id)
            _refuse_if_needed(connection, id, paths)
            connection.execute(delete(checkpoints).where(checkpoints.c.path.in_(paths)))
            connection.execute(delete(jobs).where(jobs.c.id == id))
        return paths

    def events(self, tenant: str, id: str, after: int = 0, limit: int = 500) -> list[Event]:
        """Events numbered above `after`, oldest first."""
        return self._events(tenant, id, after, limit, None)

    def _events(self, tenant: str, id: str, after: int, limit: int, kind: str | None) -> list[Event]:
        which = and_(events.c.job == id, events.c.number > after)
        which = which if kind is None else and_(which, events.c.kind == literal(kind, literal_execute=True))
        with reading(self.engine) as connection:
            require(connection, tenant, id)
            found = connection.execute(select(events).where(which).order_by(events.c.number).limit(limit))
            return [event_of(row) for row in found.mappings()]

    def news(self, marks: Mapping[str, int], since: int | None, limit: int = 500) -> dict[str, list[Event]]:
        """Events of several jobs above each one's mark; with `since`, only of jobs with an event above that."""
        with reading(self.engine) as connection:
            return news_of(connection, marks, since, limit)

    def gone(self, ids: Sequence[str]) -> set[str]:
        """Those of these jobs that do not exist any more."""
        with reading(self.engine) as connection:
            return gone_of(connection, list(ids))

    def last_event_number(self) -> int:
        """The highest event number of all jobs: a cheap hint that something happened somewhere."""
        with reading(self.engine) as connection:
            return last_number(connection)

    def metrics(
        self,
        tenant: str,
        id: str,
        names: Sequence[str] | None = None,
        since: int | None = None,
        max_points: int | None = None,
    ) -> list[MetricPoint]:
        """Metric points by step, then name, from step `since` on; at most `max_points` per name, extremes kept."""
        with reading(self.engine) as connection:
            points = series.read(connection, _row(connection, tenant, id), names, since)
        return points if max_points is None else series.thin(points, max_points)

    def logs(self, tenant: str, id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """Log events numbered above `after`, oldest first; `data` holds level and text."""
        return self._events(tenant, id, after, limit, "log")

    def diagnostics(self, tenant: str, id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """Diagnostic events numbered above `after`, oldest first."""
        return self._events(tenant, id, after, limit, "diagnostic")

    def attempts(self, tenant: str, id: str) -> list[Attempt]:
        """Every attempt, first to last."""
        with reading(self.engine) as connection:
            require(connection, tenant, id)
            return attempts_of(connection, id)

    def artifacts(self, tenant: str, id: str) -> list[Artifact]:
        """The files a finished job published, by name."""
        with reading(self.engine) as connection:
            require(connection, tenant, id)
            return artifacts_of(connection, id)

    def checkpoint(self, tenant: str, id: str) -> Checkpoint | None:
        """Where a retry of the job can go on: its last checkpoint, if there still is one."""
        with reading(self.engine) as connection:
            return checkpoint_of(connection, _row(connection, tenant, id))

    def metrics_digest(self, tenant: str, id: str) -> tuple[int, str]:
        """How many metric values a job committed, and the SHA-256 over all of them (see `services.sql.series`)."""
        with reading(self.engine) as connection:
            return series.digest(connection, str(_row(connection, tenant, id)["id"]))

    def queue_of(self, job: Job) -> QueuePlace:
        """Where a queued job stands, what it waits for and for how long."""
        with reading(self.engine) as connection:
            return self._place(connection, job)

    def places(self, among: Iterable[Job | JobHead]) -> dict[str, QueuePlace]:
        """The same for all queued ones of several jobs, by id."""
        with reading(self.engine) as connection:
            return places.places_of(connection, among, self._crowds, self.max_running)

    def _place(self, connection: Connection, job: Job) -> QueuePlace:
        found = places.places_of(connection, [job], self._crowds, self.max_running)
        return found.get(job.id, QueuePlace(None, None))

    def first_queued(self, tenant: str, limit: int = 20) -> list[Job]:
        """The tenant's queued jobs that it will have started first."""
        mine = select(jobs).where(jobs.c.tenant == tenant, jobs.c.state == JobState.QUEUED)
        with reading(self.engine) as connection:
            rows = connection.execute(mine.order_by(jobs.c.priority.desc(), jobs.c.id).limit(limit)).mappings()
            return [job_of(row) for row in rows]

    def prospect(
        self, tenant: str, spec: Mapping[str, Any], outline: Mapping[str, Any]
    ) -> tuple[QueuePlace, Estimate | None]:
        """Where a job would stand if it were submitted now, and how long it would train."""
        columns = columns_of(spec) | foreseen(outline)
        would_be = places.Candidate(
            tenant, columns["device"], columns["priority"], utc_now(),
            {"cpu": columns["memory_cpu"], "gpu": columns["memory_gpu"]},
        )  # fmt: skip
        with reading(self.engine) as connection:
            place = places.Line(connection, self._crowds, self.max_running).place(would_be)
            return place, intake.expected(connection, tenant, columns["task"], outline)

    def expected(
        self, tenant: str, spec: Mapping[str, Any], outlines: Iterable[Mapping[str, Any]]
    ) -> list[Estimate | None]:
        """How long jobs like `spec` with these plans would train, from the tenant's finished ones."""
        with reading(self.engine) as connection:
            return [intake.expected(connection, tenant, spec.get("task"), outline) for outline in outlines]

    def bells(self, limit: int = 100) -> list[str]:
        """Ids of queued jobs whose doorbell is due, most urgent first."""
        with reading(self.engine) as connection:
            return line.due_bells(connection, limit)

    def rung(self, ids: Sequence[str]) -> None:
        """Note that these bells were sent; each is due again after 10 s, 20 s, … 5 min while its job is queued."""
        if ids:
            with writing(self.engine) as connection:
                line.postpone_bells(connection, ids)

    def pulses(self) -> list[Pulse]:
        """What every running job's heartbeat counter says now, for reapers."""
        running = select(jobs.c.id, jobs.c.attempt, jobs.c.hb_seq, jobs.c.owner).where(jobs.c.state == JobState.RUNNING)
        with reading(self.engine) as connection:
            return [Pulse(*row) for row in connection.execute(running.order_by(jobs.c.id)).all()]

    def reap(self, job_id: str, attempt: int, beats: int, *, delay: float | None = None) -> JobState | None:
        """Take a job from a silent holder: its new state, or None when the holder was heard after all.

        `delay` seconds until the next try; None: the rule's back-off.
        """
        with writing(self.engine) as connection:
            row = transitions.hold(connection, job_id, attempt, beats)
            if row is None:
                return None
            cause = f"worker {row['owner']} fell silent"
            return transitions.send_back(connection, row, cause, trainer_died=False, delay=delay)


def _row(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> RowMapping:
    """The row of a tenant's job, or NotFound."""
    mine = select(jobs).where(jobs.c.id == id, jobs.c.tenant == tenant)
    mine = mine.with_for_update() if lock else mine
    row = connection.execute(mine).mappings().one_or_none() if is_id(id) else None
    if row is None:
        raise NotFound("job", id)
    return row


def _live_row(connection: Connection, tenant: str, id: str) -> RowMapping:
    """The locked row of a job that can still be changed."""
    row = _row(connection, tenant, id, lock=True)
    if JobState(row["state"]) in TERMINAL:
        raise AlreadyFinished(f"The job has already finished: {row['state']}.")
    return row


def _flag(connection: Connection, row: RowMapping, flag: str) -> None:
    """Set a wish of the user and tell the readers; the holder sees it at its next heartbeat."""
    connection.execute(update(jobs).where(jobs.c.id == row["id"]).values({flag: True}))
    transitions.announce(connection, row["id"], row["attempt"], JobState(row["state"]), **{flag: True})


def _paths(connection: Connection, id: str) -> list[str]:
    """Every file a job refers to in its own folder or in its parent's."""
    found = (select(table.c.path).where(table.c.job == id) for table in (artifacts, checkpoints))
    return sorted({path for paths in found for path in connection.execute(paths).scalars()})


def _refuse_if_needed(connection: Connection, id: str, paths: list[str]) -> None:
    """A live retry that starts from one of these files keeps them alive, a live replay what it is compared with."""
    replays = select(jobs.c.id).where(jobs.c.parent_id == id, jobs.c.origin == "replay")
    if user := connection.execute(replays.where(jobs.c.state.in_(["queued", "running"])).limit(1)).scalar():
        raise Conflict(f"Job {user} replays this job.", hint="Wait until it has finished.")
    others = select(jobs.c.id).join(checkpoints, checkpoints.c.job == jobs.c.id)
    needed = others.where(jobs.c.id != id, checkpoints.c.path.in_(paths), jobs.c.state.in_(["queued", "running"]))
    if user := connection.execute(needed.limit(1)).scalar():
        raise Conflict(f"Job {user} goes on from this job's checkpoint.", hint="Wait until it has finished.")
