"""Children of finished jobs: a retry goes on or begins anew, a replay proves; and the receipt both can be judged by."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api.bodies import body_sha, parsed, read_mapping
from api.deps import JobId, Opened, OwnJob, Record, Submitter
from api.descent_schemas import ReceiptOut, RetryIn
from api.intake import IdempotencyKey, checked, full
from api.openapi import json_body, problems
from api.schemas import JobOut
from services.errors import NotFinished
from services.jobs import Job
from services.keys import Key
from services.receipt import receipt
from services.retry import begins_from, merged

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

EXAMPLE = {"from": "checkpoint", "with": {"training": {"epochs": 40, "optimizer": {"learning_rate": 0.001}}}}


async def maybe_mapping(request: Request) -> Mapping[str, Any]:
    """The body as an object; no body is an empty one."""
    return await read_mapping(request) if await request.body() else {}


Maybe: TypeAlias = Annotated[dict[str, Any], Depends(maybe_mapping)]


@router.post(
    "/{id}/retry",
    status_code=202,
    openapi_extra=json_body("RetryIn", EXAMPLE, required=False),
    responses=problems(404, 409, 413, 415, 422, 429, 507),
)
async def retry_job(
    id: JobId,
    request: Request,
    response: Response,
    data: Maybe,
    caller: Submitter,
    record: Opened,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """A new job that goes on from this one's last checkpoint, or from the beginning where there is none."""
    sha = body_sha(f"retry {id} ".encode() + await request.body())
    return await _queued(response, record, caller, _retry, id, data, idempotency_key, sha)


@router.post("/{id}/replay", status_code=202, responses=problems(404, 409, 422, 429, 507))
async def replay_job(
    id: JobId, response: Response, caller: Submitter, record: Opened, idempotency_key: IdempotencyKey = None
) -> JobOut:
    """A new job that does the same again from the beginning; its result says whether it came out the same."""
    return await _queued(
        response, record, caller, _replay, id, None, idempotency_key, body_sha(f"replay {id}".encode())
    )


@router.get("/{id}/receipt", responses=problems(404, 409))
def show_receipt(job: OwnJob, record: Opened) -> ReceiptOut:
    """Everything that decided a finished job's numbers, as hashes and versions."""
    _finished(job)
    jobs, tenant = record.jobs, job.tenant
    files, digest = jobs.artifacts(tenant, job.id), jobs.metrics_digest(tenant, job.id)
    return ReceiptOut.model_validate(receipt(job, jobs.attempts(tenant, job.id), files, digest))


async def _queued(response: Response, record: Record, caller: Key, make: Any, *about: Any) -> JobOut:
    job, created = await run_in_threadpool(make, record, caller, *about)
    if created:
        record.bells.wake()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await run_in_threadpool(full, record, job.tenant, job.id)


def _retry(
    record: Record, caller: Key, id: str, data: Mapping[str, Any], key: str | None, sha: str
) -> tuple[Job, bool]:
    parent = _finished(record.jobs.get(caller.tenant, id))
    wish = parsed(RetryIn, data)
    wanted, plan = checked(record, caller, merged(parent.spec, wish.changes))
    spec = wanted.model_dump(mode="json")
    there_is_one = record.jobs.checkpoint(caller.tenant, id) is not None
    resume = begins_from(wish.begin, there_is_one, parent.spec, spec)
    return record.jobs.submit(
        caller.tenant, spec, plan.outline, idempotency_key=key, body_sha=sha, parent_id=id, origin="retry",
        resume=resume,
    )  # fmt: skip


def _replay(record: Record, caller: Key, id: str, _: None, key: str | None, sha: str) -> tuple[Job, bool]:
    parent = _finished(record.jobs.get(caller.tenant, id))
    plan = checked(record, caller, parent.spec)[1]
    return record.jobs.submit(
        caller.tenant, parent.spec, plan.outline, idempotency_key=key, body_sha=sha, parent_id=id, origin="replay"
    )


def _finished(job: Job) -> Job:
    """The job, or NotFinished."""
    if not job.terminal:
        raise NotFinished(f"The job is still {job.state}.", hint="Wait until it has finished, or cancel it first.")
    return job
