"""Asks jobs to finish whose trials are beyond hope, so that their workers are free for better ones.

What a study concludes does not depend on it: a trial counts as given up because of its curve, stopped or not.
"""

import contextlib
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, RowMapping, select

from services.errors import AlreadyFinished, NotFound
from services.jobs import JobStore
from services.sql import series
from services.sql.engine import reading
from services.sql.schema import jobs, trials
from services.sql.values import JobState
from services.studies.kind import Trial
from services.studies.outcomes import by_name
from services.studies.spec import base_of, kind_of, kinds
from services.studies.steps import trials_of


def give_up(engine: Engine, study: RowMapping) -> int:
    """Stop what is hopeless among the running trials of a study; how many were asked."""
    if not kinds[study["spec"]["type"]].gives_up or study["cancel_requested"]:
        return 0
    kind, base = kind_of(study["spec"]), base_of(study["spec"], study["plan"])
    name = f"val_{base.metric}"
    with reading(engine) as connection:
        mine = select(jobs, trials.c.number.label("trial")).join(trials, trials.c.job == jobs.c.id)
        running = mine.where(
            trials.c.study == study["id"], jobs.c.state == JobState.RUNNING, jobs.c.stop_requested.is_(False)
        )
        rows = connection.execute(running).mappings().all()
        told = {row["trial"]: by_name(series.read(connection, row, [name], None)) for row in rows}
        known = trials_of(connection, study["id"]) if rows else []
    over = [trial for trial in known if trial.outcome is not None]
    lost = [t for t in known if t.number in told and kind.hopeless(base, over, _live(t, told[t.number]))]
    for trial in lost:
        with contextlib.suppress(AlreadyFinished, NotFound):
            JobStore(engine).request_stop(study["tenant"], str(trial.job))
    return len(lost)


def _live(trial: Trial, told: dict[str, Any]) -> Trial:
    """The trial with what it has shown so far."""
    return replace(trial, state="running", outcome={"state": "running", "series": told})
