"""What every route that takes or shows a job does: check the spec, refuse what fits nowhere, tell all of the job."""

from typing import Annotated, Any, TypeAlias

from fastapi import Header

from api.deps import Record
from api.schemas import JobOut
from services.admission import refuse_what_fits_nowhere
from services.agents.review import AgentPreflight
from services.agents.spec import AnyJobSpec
from services.keys import Key
from services.preflight import Preflight
from services.spec import check_job, parse_job
from services.uploads.library import Shelves

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$", description="The same key and body give the same job."
    ),
]
SEEN_SECONDS = 60.0
"""A worker counts that was seen so lately."""


def checked(record: Record, caller: Key, data: dict[str, Any]) -> tuple[AnyJobSpec, Preflight | AgentPreflight]:
    """The spec and its plan; Invalid with every mistake, also where no worker could ever run it."""
    library = Shelves(record.desk.store, caller.tenant)
    wanted = parse_job(data, library)
    plan = check_job(wanted, library)
    refuse_what_fits_nowhere(wanted, plan, record.fleet.workers(within_seconds=SEEN_SECONDS), library)
    return wanted, plan


def full(record: Record, tenant: str, id: str) -> JobOut:
    """A job as its own page shows it; NotFound."""
    view = record.jobs.view(tenant, id)
    return JobOut.full(view.job, view.event_number, view.place, view.attempts, view.artifacts)
