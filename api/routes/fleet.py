"""Who works, and how much waits."""

from fastapi import APIRouter

from api.deps import Opened, Reader
from api.openapi import problems
from api.schemas import QueueViewOut, WorkerList, WorkerOut
from services.errors import NotFound

router = APIRouter(prefix="/v1", tags=["fleet"])

SEEN_SECONDS = 60.0
FIRST = 20


@router.get("/workers", responses=problems())
def list_workers(caller: Reader, record: Opened) -> WorkerList:
    """Workers seen in the last minute. What others train stays hidden: you see only that a worker is busy."""
    workers = record.fleet.workers(within_seconds=SEEN_SECONDS)
    return WorkerList(items=[WorkerOut.of(w, owns(record, caller.tenant, w.current_job)) for w in workers])


@router.get("/queue", responses=problems())
def show_queue(caller: Reader, record: Opened) -> QueueViewOut:
    """The queue at a glance, and where the first of your own jobs stand in it."""
    first = record.jobs.first_queued(caller.tenant, FIRST)
    places = record.jobs.places(first)
    return QueueViewOut.of(record.fleet.queue(), [(job, places[job.id]) for job in first])


def owns(record: Opened, tenant: str, job: str | None) -> bool:
    """Whether `job` is one of the tenant's."""
    try:
        return job is not None and record.jobs.get(tenant, job).tenant == tenant
    except NotFound:
        return False
