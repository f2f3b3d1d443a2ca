"""One step of a study inside an open transaction: take note of jobs that are over, queue the next ones.

Whoever takes a step has first won the study's row with `taken`: its version is compared and counted up in one write, so
of several processes that try at once one goes ahead, and the others find nothing changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from sqlalchemy import Connection, RowMapping, and_, func, select, update

from services.errors import NotFound
from services.sql import intake, transitions
from services.sql.engine import insert_many
from services.sql.schema import jobs, studies, trials
from services.sql.values import TERMINAL, JobState, Reason
from services.studies.kind import Trial
from services.studies.outcomes import outcome_of, without_job
from services.studies.spec import key_of
from services.studies.values import StudyState

LABEL: Final = "study-"


@final
@dataclass(frozen=True)
class Standing:
    """Trials of one study by what is to be done about them."""

    over: Sequence[RowMapping]
    live: Sequence[RowMapping]
    waiting: Sequence[int]
    room: int
    cancelled: bool

    @property
    def settled(self) -> bool:
        """Whether every trial has its outcome."""
        return not (self.over or self.live or self.waiting)

    @property
    def due(self) -> bool:
        """Whether a step would change anything."""
        queueable = bool(self.waiting) and (self.cancelled or self.room > 0)
        uncalled = self.cancelled and any(not row["cancel_requested"] for row in self.live)
        return bool(self.over) or queueable or uncalled or self.settled


def standing(connection: Connection, study: RowMapping) -> Standing:
    """Where the study stands."""
    columns = select(
        trials.c.number, trials.c.job, jobs.c.id, jobs.c.state, jobs.c.cancel_requested
    ).outerjoin_from(trials, jobs, jobs.c.id == trials.c.job)  # fmt: skip
    open_ = columns.where(trials.c.study == study["id"], trials.c.brief.is_(None)).order_by(trials.c.number)
    rows = connection.execute(open_).mappings().all()
    begun = [row for row in rows if row["job"] is not None]
    over = [row for row in begun if row["id"] is None or JobState(row["state"]) in TERMINAL]
    live = [row for row in begun if row not in over]
    waiting = [row["number"] for row in rows if row["job"] is None]
    return Standing(over, live, waiting, study["spec"]["parallel"] - len(live), bool(study["cancel_requested"]))


def trials_of(connection: Connection, study: str) -> list[Trial]:
    """The trials of a study with what came out of them, in their order."""
    found = connection.execute(select(trials).where(trials.c.study == study).order_by(trials.c.number)).mappings()
    return [_trial(row) for row in found]


def _trial(row: RowMapping) -> Trial:
    outcome = row["outcome"]
    state = "waiting" if outcome is None else outcome["state"]
    return Trial(row["number"], row["varied"], row["spec"], row["outline"], row["job"], state, outcome)


def add(connection: Connection, study: str, fresh: Sequence[Trial]) -> None:
    """Record trials; one that brings its outcome is over already."""
    rows = [
        {"study": study, "number": trial.number, "key": key_of(trial.varied), "varied": dict(trial.varied),
         "spec": dict(trial.spec), "outline": dict(trial.outline), "outcome": trial.outcome,
         "brief": None if trial.outcome is None else _brief(trial.outcome)}
        for trial in fresh
    ]  # fmt: skip
    insert_many(connection, trials, rows)


def taken(connection: Connection, id: str, version: int) -> RowMapping | None:
    """The study's row, locked and its version counted up; None when somebody else was faster or it is over."""
    mine = and_(studies.c.id == id, studies.c.version == version, studies.c.state == StudyState.RUNNING)
    change = update(studies).where(mine).values(version=studies.c.version + 1).returning(studies)
    return connection.execute(change).mappings().one_or_none()


def step(connection: Connection, study: RowMapping, max_queued: int) -> None:
    """Everything that can be done now about a study whose row is held."""
    found = standing(connection, study)
    for row in found.over:
        _settle(connection, study, row["number"], _outcome(connection, row["job"]))
    if found.cancelled:
        for number in found.waiting:
            _settle(connection, study, number, without_job("cancelled", "The study was cancelled before."))
        for row in found.live:
            _cancel(connection, row["job"])
        return
    for number in found.waiting[: max(0, min(found.room, _quota(connection, study["tenant"], max_queued)))]:
        _queue(connection, study, number)


def _outcome(connection: Connection, job: str) -> dict[str, Any]:
    row = connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one_or_none()
    return without_job("deleted", "The job was deleted.") if row is None else outcome_of(connection, row)


def _settle(connection: Connection, study: RowMapping, number: int, outcome: Mapping[str, Any]) -> None:
    """The trial is over: what lists show of it, and everything that the conclusion needs."""
    mine = and_(trials.c.study == study["id"], trials.c.number == number)
    score = (outcome.get("test") or {}).get(study["plan"]["metric"])
    connection.execute(update(trials).where(mine).values(brief=_brief(outcome, score), outcome=dict(outcome)))


def _brief(outcome: Mapping[str, Any], score: float | None = None) -> dict[str, Any]:
    return {name: outcome.get(name) for name in ("state", "reason", "message")} | {"score": score}


def _quota(connection: Connection, tenant: str, most: int) -> int:
    """How many more jobs the tenant may have queued."""
    mine = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, jobs.c.state == JobState.QUEUED)
    return max(0, most - connection.execute(mine).scalar_one()) if most else 2**31


def _queue(connection: Connection, study: RowMapping, number: int) -> None:
    """Make the trial's job: the trial names it from the same transaction on, so it is never made twice."""
    mine = and_(trials.c.study == study["id"], trials.c.number == number)
    trial = connection.execute(select(trials).where(mine)).mappings().one()
    spec = trial["spec"] | {"labels": [*trial["spec"].get("labels", []), f"{LABEL}{study['id']}"]}
    try:
        intake.require_upload(connection, study["tenant"], spec)
    except NotFound as error:
        message = f"{error.message} It was deleted after the study was posted."
        return _settle(connection, study, number, without_job("failed", message))
    job = intake.add(connection, study["tenant"], spec, trial["outline"], None)
    connection.execute(update(trials).where(mine).values(job=job))
    return None


def _cancel(connection: Connection, job: str) -> None:
    """A queued job at once, a running one through its flag."""
    row = connection.execute(select(jobs).where(jobs.c.id == job).with_for_update()).mappings().one_or_none()
    if row is None or JobState(row["state"]) in TERMINAL or row["cancel_requested"]:
        return
    if row["state"] == JobState.QUEUED:
        transitions.finish(connection, row, JobState.CANCELLED, Reason.CANCELLED_BY_USER)
        return
    connection.execute(update(jobs).where(jobs.c.id == job).values(cancel_requested=True))
    transitions.announce(connection, job, row["attempt"], JobState(row["state"]), cancel_requested=True)
