"""Jobs: check, submit, list, show, cancel, stop, delete."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.bodies import body_sha, read_mapping
from api.deps import Canceller, JobId, Opened, Reader, Record, Submitter
from api.intake import SEEN_SECONDS, IdempotencyKey, checked, full
from api.openapi import problems, spec_body
from api.schemas import EstimateOut, JobOut, JobPage, JobRow, PlanOut, QueueOut
from services.admission import fitting
from services.jobs import JobState
from services.keys import Key

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Data: TypeAlias = Annotated[dict[str, Any], Depends(read_mapping)]
Label: TypeAlias = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
Cursor: TypeAlias = Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]*$")]


@router.post("/validate", openapi_extra=spec_body(), responses=problems(413, 415, 422))
def validate_job(caller: Submitter, data: Data, record: Opened) -> PlanOut:
    """Say what a spec would do, on the same path as submitting it; nothing is queued."""
    wanted, plan = checked(record, caller, data)
    spec, workers = wanted.model_dump(mode="json"), record.fleet.workers(within_seconds=SEEN_SECONDS)
    place, guess = record.jobs.prospect(caller.tenant, spec, plan.outline)
    return PlanOut(
        outline=plan.outline,
        spec=spec,
        estimate=None if guess is None else EstimateOut.model_validate(guess),
        workers=[worker.id for worker in fitting(workers, wanted.resources.device, plan.memory)],
        queue=QueueOut.model_validate(place),
    )


@router.post("", status_code=202, openapi_extra=spec_body(), responses=problems(413, 415, 422, 429, 507))
async def submit_job(
    request: Request,
    response: Response,
    caller: Submitter,
    data: Data,
    record: Opened,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Queue a job. It trains when a worker is free: a full cluster queues, it does not refuse."""
    sha = body_sha(await request.body())
    job = await run_in_threadpool(_submit, record, caller, data, idempotency_key, sha)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _submit(record: Record, caller: Key, data: dict[str, Any], key: str | None, sha: str) -> JobOut:
    wanted, plan = checked(record, caller, data)
    job, created = record.jobs.submit(
        caller.tenant, wanted.model_dump(mode="json"), plan.outline, idempotency_key=key, body_sha=sha
    )
    if created:
        record.bells.wake()
    return full(record, job.tenant, job.id)


@router.get("", responses=problems(422))
def list_jobs(
    response: Response,
    request: Request,
    caller: Reader,
    record: Opened,
    state: JobState | None = None,
    label: Label = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobPage:
    """Your jobs, newest first."""
    page = record.jobs.heads(caller.tenant, state=state, label=label, cursor=cursor, limit=limit)
    if page.next_cursor:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=page.next_cursor)}>; rel="next"'
    places = record.jobs.places(page.items)
    return JobPage(
        items=[JobRow.listed(head, places.get(head.id)) for head in page.items], next_cursor=page.next_cursor
    )


@router.get("/{id}", responses=problems(404))
async def show_job(id: JobId, caller: Reader, record: Opened) -> JobOut:
    """One job with its spec, plan, progress, place in the queue, attempts and result."""
    return await run_in_threadpool(full, record, caller.tenant, id)


@router.post("/{id}/cancel", status_code=202, responses=problems(404, 409, 507))
def cancel_job(id: JobId, caller: Canceller, record: Opened) -> JobOut:
    """Discard a job: a queued one at once, a running one as soon as its worker hears of it."""
    return full(record, caller.tenant, record.jobs.request_cancel(caller.tenant, id).id)


@router.post("/{id}/stop", status_code=202, responses=problems(404, 409, 507))
def stop_job(id: JobId, caller: Canceller, record: Opened) -> JobOut:
    """Let a running job finish now and keep its model."""
    return full(record, caller.tenant, record.jobs.request_stop(caller.tenant, id).id)


@router.delete("/{id}", status_code=204, responses=problems(404, 409, 507))
def delete_job(id: JobId, caller: Canceller, record: Opened) -> None:
    """Forget a finished job and free its disk space."""
    record.jobs.delete(caller.tenant, id)
    record.artifacts.remove(caller.tenant, id)
