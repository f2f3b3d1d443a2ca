"""The record of studies: what users do with them and read of them. Who moves them on is `services.studies.advance`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, final

from sqlalchemy import Connection, Engine, RowMapping, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.errors import AlreadyFinished, Conflict, Invalid, KeyReused, Mistake, NotFinished, NotFound, QuotaExceeded
from services.sql.engine import reading, writing
from services.sql.ids import is_id, new_id
from services.sql.intake import sha_of
from services.sql.schema import jobs, studies, trials
from services.sql.types import utc_now
from services.sql.values import JobState, Page
from services.studies.spec import Planned, key_of
from services.studies.steps import add, step, taken
from services.studies.values import FINISHED, Study, StudyState, TrialRow

_FIELDS: Final = ("id", "tenant", "name", "type", "message", "spec", "plan", "version", "created_at", "finished_at")


@final
class StudyStore:
    """Studies and their trials; every method is one short transaction, safe from any thread."""

    def __init__(self, engine: Engine, *, max_queued: int = 0) -> None:
        """Work on `engine`; `max_queued` jobs per tenant, trials that wait among them, 0 = no limit."""
        self.engine, self.max_queued = engine, max_queued

    def submit(
        self, tenant: str, planned: Planned, *, idempotency_key: str | None = None, body_sha: str | None = None
    ) -> tuple[Study, bool]:
        """Record a study with all its trials and queue the first ones; False when the key had made it before.

        Raises KeyReused and QuotaExceeded.
        """
        key, body = (None if text is None else sha_of(text) for text in (idempotency_key, body_sha or ""))
        try:
            id, created = self._submit(tenant, planned, key, body)
        except IntegrityError:
            # Another request with the same key was faster; now its row is there to be found.
            id, created = self._submit(tenant, planned, key, body)
        return self.get(tenant, id), created

    def _submit(self, tenant: str, planned: Planned, key: str | None, body: str | None) -> tuple[str, bool]:
        with writing(self.engine) as connection:
            if key is not None and (known := _known(connection, tenant, key, body)):
                return known, False
            self._check_quota(connection, tenant, planned.count)
            id, spec = new_id(), planned.spec
            row = {"id": id, "tenant": tenant, "name": spec["name"], "labels": spec["labels"], "type": spec["type"],
                   "spec": dict(spec), "plan": planned.plan, "key_sha": key, "body_sha": body,
                   "created_at": utc_now()}  # fmt: skip
            connection.execute(insert(studies).values(row))
            add(connection, id, planned.trials)
            self._step(connection, id, 0)
            return id, True

    def extend(self, tenant: str, id: str, planned: Planned) -> Study:
        """Add the trials of `planned` that the study does not have yet, and let it run again.

        Conflict for a cancelled study; QuotaExceeded.
        """
        with writing(self.engine) as connection:
            row = _study_row(connection, tenant, id, lock=True)
            if not planned.kind.extendable:
                hint = "Post a study `seeds` of the job that it found."
                raise Conflict(f"A study {row['type']} takes no further seeds.", hint=hint)
            if row["state"] == StudyState.CANCELLED or row["cancel_requested"]:
                raise Conflict("The study was cancelled.", hint="Post it anew.")
            known = select(trials.c.key, trials.c.number).where(trials.c.study == id)
            numbers = {found.key: found.number for found in connection.execute(known)}
            fresh = [trial for trial in planned.trials if key_of(trial.varied) not in numbers]
            self._check_quota(connection, tenant, len(fresh))
            first = max(numbers.values(), default=-1) + 1
            add(connection, id, [replace(trial, number=first + k) for k, trial in enumerate(fresh)])
            changes = {"spec": dict(planned.spec), "version": row["version"] + 1}
            changes |= {"state": str(StudyState.RUNNING), "finished_at": None} if fresh else {}
            connection.execute(update(studies).where(studies.c.id == id).values(changes))
            self._step(connection, id, row["version"] + 1)
        return self.get(tenant, id)

    def cancel(self, tenant: str, id: str) -> Study:
        """Cancel a study and its jobs: what waits or is queued at once, what runs as soon as its worker hears of it.

        AlreadyFinished afterwards."""
        with writing(self.engine) as connection:
            row = _study_row(connection, tenant, id, lock=True)
            if StudyState(row["state"]) in FINISHED:
                raise AlreadyFinished(f"The study has already finished: {row['state']}.")
            change = update(studies).where(studies.c.id == id).values(cancel_requested=True)
            connection.execute(change)
            self._step(connection, id, row["version"])
        return self.get(tenant, id)

    def delete(self, tenant: str, id: str) -> None:
        """Forget a finished study; its jobs stay. NotFinished while it runs."""
        with writing(self.engine) as connection:
            row = _study_row(connection, tenant, id, lock=True)
            if StudyState(row["state"]) not in FINISHED:
                raise NotFinished("The study has not finished yet.", hint="Cancel it first.")
            connection.execute(delete(studies).where(studies.c.id == id))

    def get(self, tenant: str, id: str) -> Study:
        """The study, or NotFound: also for other tenants' studies."""
        with reading(self.engine) as connection:
            row = _study_row(connection, tenant, id)
            return _study(row, _counts(connection, [id])[id])

    def find(self, tenant: str, *, cursor: str | None = None, limit: int = 50) -> Page[Study]:
        """Studies of a tenant, newest first."""
        if cursor is not None and not is_id(cursor):
            raise Invalid([Mistake("cursor", "bad_cursor", "this is no cursor of ours", "Take next_cursor of a page.")])
        listing = select(studies).where(studies.c.tenant == tenant).order_by(studies.c.id.desc())
        listing = listing if cursor is None else listing.where(studies.c.id < cursor)
        with reading(self.engine) as connection:
            rows = connection.execute(listing.limit(limit + 1)).mappings().all()
            counts = _counts(connection, [row["id"] for row in rows[:limit]])
        items = tuple(_study(row, counts[row["id"]]) for row in rows[:limit])
        return Page(items, items[-1].id if len(rows) > limit else None)

    def trials(self, tenant: str, id: str) -> list[TrialRow]:
        """Every trial with the state of its job, in the order of the study."""
        columns = select(
            trials.c.number, trials.c.varied, trials.c.job, trials.c.brief, jobs.c.state, jobs.c.reason,
            jobs.c.message, jobs.c.progress,
        ).outerjoin_from(trials, jobs, jobs.c.id == trials.c.job)  # fmt: skip
        with reading(self.engine) as connection:
            _study_row(connection, tenant, id)
            found = connection.execute(columns.where(trials.c.study == id).order_by(trials.c.number))
            return [_trial_row(row) for row in found.mappings()]

    def _step(self, connection: Connection, id: str, version: int) -> None:
        """The first step in the same transaction: whoever posts a study need not wait for anybody to look at it."""
        row = taken(connection, id, version)
        if row is not None:
            step(connection, row, self.max_queued)

    def _check_quota(self, connection: Connection, tenant: str, more: int) -> None:
        """A trial that waits counts like a job that is queued."""
        queued = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, jobs.c.state == JobState.QUEUED)
        mine = and_(studies.c.tenant == tenant, studies.c.state == StudyState.RUNNING)
        waiting = select(func.count()).select_from(trials).join(studies, studies.c.id == trials.c.study)
        waiting = waiting.where(mine, trials.c.job.is_(None), trials.c.brief.is_(None))
        there = connection.execute(queued).scalar_one() + connection.execute(waiting).scalar_one()
        if self.max_queued and there + more > self.max_queued:
            message = f"{there} jobs and trials are queued and {more} would be added; the limit is {self.max_queued}."
            raise QuotaExceeded(message, hint="Wait for some to finish, cancel some, or take fewer trials.")


def _known(connection: Connection, tenant: str, key: str, body: str | None) -> str | None:
    """The study that this key made before, or None; KeyReused when the body was another one."""
    mine = select(studies.c.id, studies.c.body_sha).where(studies.c.tenant == tenant, studies.c.key_sha == key)
    row = connection.execute(mine).one_or_none()
    if row is not None and row.body_sha != body:
        raise KeyReused
    return None if row is None else str(row.id)


def _study_row(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> RowMapping:
    mine = select(studies).where(studies.c.id == id, studies.c.tenant == tenant)
    mine = mine.with_for_update() if lock else mine
    row = connection.execute(mine).mappings().one_or_none() if is_id(id) else None
    if row is None:
        raise NotFound("study", id)
    return row


def _study(row: RowMapping, counts: dict[str, int]) -> Study:
    values = {name: row[name] for name in _FIELDS} | {"result": row["result"], "counts": _all(row, counts)}
    flags = {"cancel_requested": bool(row["cancel_requested"]), "labels": tuple(row["labels"])}
    return Study(**values | flags | {"state": StudyState(row["state"])})


def _all(row: RowMapping, counts: dict[str, int]) -> dict[str, int]:
    """With the trials of a running study that nobody knows yet, because they follow from earlier ones."""
    unknown = row["plan"].get("trials", 0) - sum(counts.values())
    if unknown <= 0 or row["state"] != StudyState.RUNNING or row["cancel_requested"]:
        return counts
    return dict(sorted((counts | {"waiting": counts.get("waiting", 0) + unknown}).items()))


def _counts(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Trials by state, of each study."""
    columns = select(trials.c.study, trials.c.job, trials.c.brief, jobs.c.state)
    rows = connection.execute(
        columns.outerjoin_from(trials, jobs, jobs.c.id == trials.c.job).where(trials.c.study.in_(ids))
    )
    found = {id: Counter[str]() for id in ids}
    for row in rows.mappings():
        found[row["study"]][_state(row)] += 1
    return {id: dict(sorted(counts.items())) for id, counts in found.items()}


def _state(row: RowMapping) -> str:
    if row["brief"] is not None:
        return str(row["brief"]["state"])
    return "waiting" if row["job"] is None else str(row["state"] or "deleted")


def _trial_row(row: RowMapping) -> TrialRow:
    brief = row["brief"] or {}
    return TrialRow(
        number=row["number"], varied=row["varied"], job=row["job"], state=_state(row),
        reason=brief.get("reason") or row["reason"], message=brief.get("message") or row["message"],
        progress=1.0 if brief else row["progress"] or 0.0, score=brief.get("score"),
    )  # fmt: skip
