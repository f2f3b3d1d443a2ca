"""Moves studies on: harvests trials that are over, queues the next, chooses further ones where the study is a search,
and draws the conclusion when all have come in.

Runs in every worker's main process beside the reaper. Any number of processes may call it at once, and any of them may
be killed at any moment: every change is one transaction that compares the study's version.
"""

import logging
from typing import Any

from sqlalchemy import Engine, RowMapping, and_, select, update
from sqlalchemy.exc import DBAPIError

from services.errors import TrainyardError, Unavailable
from services.sql.engine import reading, writing
from services.sql.schema import studies
from services.sql.types import utc_now
from services.studies.giving_up import give_up
from services.studies.kind import Conclusion, Trial
from services.studies.spec import base_of, kind_of, next_trials
from services.studies.steps import add, standing, step, taken, trials_of
from services.studies.values import StudyState
from services.uploads.library import Shelves
from services.uploads.store import UploadStore

log = logging.getLogger(__name__)


def advance(engine: Engine, *, max_queued: int = 0) -> int:
    """One round over all open studies; how many were moved on. `max_queued` per tenant, 0 = no limit."""
    with reading(engine) as connection:
        due = select(studies).where(studies.c.state == StudyState.RUNNING).order_by(studies.c.id)
        running = connection.execute(due).mappings().all()
        found = [row for row in running if standing(connection, row).due]
    moved = sum(_safely(engine, row, max_queued) for row in found)
    for row in running:
        give_up(engine, row)
    return moved


def _safely(engine: Engine, row: RowMapping, max_queued: int) -> bool:
    """One study's trouble is not another's; what is wrong with the database concerns all."""
    try:
        return _advance(engine, row, max_queued)
    except (TrainyardError, DBAPIError):
        raise
    except Exception:
        log.exception("study %s could not be moved on", row["id"])
        return False


def _advance(engine: Engine, seen: RowMapping, max_queued: int) -> bool:
    """A step, then the conclusion where that was the last one; False when another process was faster."""
    with writing(engine) as connection:
        row = taken(connection, seen["id"], seen["version"])
        if row is None:
            return False
        step(connection, row, max_queued)
        settled = standing(connection, row).settled
    return _go_on(engine, row, max_queued) if settled else True


def _go_on(engine: Engine, row: RowMapping, max_queued: int) -> bool:
    """The next round or the conclusion, worked out without holding the database, now that all trials are over."""
    if row["cancel_requested"]:
        return _end(engine, row, {"state": str(StudyState.CANCELLED), "message": None, "result": None})
    with reading(engine) as connection:
        found = trials_of(connection, row["id"])
    try:
        fresh = next_trials(row["spec"], row["plan"], found, Shelves(UploadStore(engine), row["tenant"]))
    except (DBAPIError, Unavailable):
        raise
    except Exception:
        log.exception("study %s could not choose its next trials", row["id"])
        message = "The next trials could not be chosen; the log of the worker says why."
        return _end(engine, row, {"state": str(StudyState.FAILED), "message": message, "result": None})
    return _grow(engine, row, fresh, max_queued) if fresh else _end(engine, row, _verdict(row, found))


def _grow(engine: Engine, seen: RowMapping, fresh: list[Trial], max_queued: int) -> bool:
    """Record the next round and queue it, unless the study has changed meanwhile."""
    with writing(engine) as connection:
        row = taken(connection, seen["id"], seen["version"])
        if row is not None:
            add(connection, row["id"], fresh)
            step(connection, row, max_queued)
        return row is not None


def _end(engine: Engine, row: RowMapping, changes: dict[str, Any]) -> bool:
    """Write how it ended, unless the study has changed meanwhile."""
    mine = and_(
        studies.c.id == row["id"], studies.c.version == row["version"], studies.c.state == StudyState.RUNNING
    )  # fmt: skip
    with writing(engine) as connection:
        done = update(studies).where(mine).values(version=row["version"] + 1, finished_at=utc_now(), **changes)
        return bool(connection.execute(done).rowcount)


def _verdict(row: RowMapping, found: list[Trial]) -> dict[str, Any]:
    """What the outcomes say. A study fails when no trial had anything to say, or when nothing can be made of them."""
    if not any(trial.done or trial.diverged for trial in found):
        told = next((t.outcome["message"] for t in found if t.outcome and t.outcome.get("message")), None)
        message = "No trial succeeded." + (f" The first one: {told}" if told else "")
        return {"state": str(StudyState.FAILED), "message": message, "result": None}
    try:
        concluded: Conclusion = kind_of(row["spec"]).conclude(base_of(row["spec"], row["plan"]), found)
    except Exception:
        log.exception("study %s could not be concluded", row["id"])
        message = "No conclusion could be drawn from these trials; the log of the worker says why."
        return {"state": str(StudyState.FAILED), "message": message, "result": None}
    return {"state": str(StudyState.SUCCEEDED), "message": None, "result": concluded.to_json()}
