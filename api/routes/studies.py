"""Studies: plan, submit, list, show, extend, cancel, delete, draw."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.bodies import body_sha, parsed, read_mapping
from api.deps import Canceller, Opened, Reader, Record, Submitter
from api.intake import SEEN_SECONDS, IdempotencyKey
from api.openapi import json_body, problems, study_body
from api.routes.jobs import Cursor, Data
from api.routes.pictures import PICTURE, SVG
from api.study_schemas import ExtendIn, StudyOut, StudyPage, StudyPlanOut, StudyRow, totals
from services.admission import fitting, refuse_what_fits_nowhere
from services.errors import Invalid, Mistake, NotFinished, NotFound
from services.fleet import Worker
from services.keys import Key
from services.spec import check_job, parse_job
from services.studies.chart import POLICY, draw
from services.studies.kind import Trial
from services.studies.spec import Planned, parse_study
from services.studies.values import FINISHED, Study
from services.uploads.library import Shelves

router = APIRouter(prefix="/v1/studies", tags=["studies"])

StudyId: TypeAlias = Annotated[
    str, Path(description="Id of a study.", examples=["019ab0c2-6a1e-7c43-9f0e-3d2b1a0c9e8f"])
]
MOST_SEEDS = 100


def own_study(id: StudyId, caller: Reader, record: Opened) -> Study:
    """The caller's study of that id, or NotFound."""
    return record.studies.get(caller.tenant, id)


OwnStudy: TypeAlias = Annotated[Study, Depends(own_study)]


@router.post("/validate", openapi_extra=study_body(), responses=problems(413, 415, 422))
def validate_study(data: Data, caller: Submitter, record: Opened) -> StudyPlanOut:
    """Say what a study would do, on the same path as submitting it; nothing is queued."""
    planned = _planned(record, caller, data)
    outlines = [dict(trial.outline) for trial in (*planned.trials, *planned.probes)]
    needed, steps = totals(outlines)
    steps = round(steps * planned.count / len(outlines))
    device = planned.base.job["resources"]["device"]
    workers = record.fleet.workers(within_seconds=SEEN_SECONDS)
    for outline in outlines:
        workers = fitting(workers, device, outline["memory"])
    expected = record.jobs.expected(caller.tenant, planned.base.job, outlines)
    guesses = [guess.seconds for guess in expected if guess is not None]
    total = sum(guesses) / len(guesses) * planned.count if guesses else None
    at_once = max(1, min(len(workers), planned.spec["parallel"]))
    return StudyPlanOut(
        trials=planned.count,
        varied=[dict(trial.varied) for trial in planned.trials],
        metric=planned.base.metric,
        parallel=planned.spec["parallel"],
        bytes=needed,
        steps=steps,
        compute_seconds=total,
        wall_seconds=None if total is None else round(total / at_once, 3),
        workers=[worker.id for worker in workers],
        spec=dict(planned.spec),
    )


@router.post("", status_code=202, openapi_extra=study_body(), responses=problems(413, 415, 422, 429, 507))
async def submit_study(
    request: Request,
    response: Response,
    data: Data,
    caller: Submitter,
    record: Opened,
    idempotency_key: IdempotencyKey = None,
) -> StudyOut:
    """Begin a study: its trials are jobs, a few of them queued at once, the next ones as they finish."""
    sha = body_sha(await request.body())
    study, created = await run_in_threadpool(_submit, record, caller, data, idempotency_key, sha)
    if created:
        record.bells.wake()
    response.headers["Location"] = f"/v1/studies/{study.id}"
    return await run_in_threadpool(_full, record, study)


def _submit(record: Record, caller: Key, data: dict[str, Any], key: str | None, sha: str) -> tuple[Study, bool]:
    planned = _planned(record, caller, data)
    return record.studies.submit(caller.tenant, planned, idempotency_key=key, body_sha=sha)


def _planned(record: Record, caller: Key, data: Any) -> Planned:
    library = Shelves(record.desk.store, caller.tenant)
    planned = parse_study(data, library)
    workers = record.fleet.workers(within_seconds=SEEN_SECONDS)
    for trial in (*planned.trials, *planned.probes):
        if not fitting(workers, trial.spec["resources"]["device"], trial.outline["memory"]):
            _refuse_if_too_large(trial, workers, library)
    return planned


def _refuse_if_too_large(trial: Trial, workers: Sequence[Worker], library: Shelves) -> None:
    """Invalid when there are workers of the right kind and the trial fits none of them, with its place in the study."""
    try:
        job = parse_job(trial.spec, library)
        refuse_what_fits_nowhere(job, check_job(job, library), workers, library)
    except Invalid as error:
        words = ", ".join(f"{name}: {value}" for name, value in trial.varied.items())
        told = [replace(one, path=f"job.{one.path}", message=f"{one.message} ({words})") for one in error.mistakes]
        raise Invalid(told) from None


@router.get("", responses=problems(422))
def list_studies(
    response: Response,
    request: Request,
    caller: Reader,
    record: Opened,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> StudyPage:
    """Your studies, newest first."""
    page = record.studies.find(caller.tenant, cursor=cursor, limit=limit)
    if page.next_cursor:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=page.next_cursor)}>; rel="next"'
    return StudyPage(items=[StudyRow.of(study) for study in page.items], next_cursor=page.next_cursor)


@router.get("/{id}", responses=problems(404))
def show_study(study: OwnStudy, record: Opened) -> StudyOut:
    """One study: its trials, and once they are over the table, the curves and the verdict."""
    return _full(record, study)


@router.get("/{id}/figure.svg", response_class=Response, responses=PICTURE | problems(404, 409))
def draw_study(study: OwnStudy) -> Response:
    """The curves of a finished study as a picture."""
    if study.result is None:
        raise NotFinished("The study has no result to draw.", hint="Wait until it has finished.")
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "private, no-cache"}
    return Response(draw(study.result, study.name), media_type=SVG, headers=headers)


@router.post(
    "/{id}/extend",
    status_code=202,
    openapi_extra=json_body("ExtendIn", {"seeds": 2}),
    responses=problems(404, 409, 413, 415, 422, 429, 507),
)
async def extend_study(id: StudyId, request: Request, caller: Submitter, record: Opened) -> StudyOut:
    """Add seeds to a study: what has been trained is kept, and the conclusion is drawn anew from everything."""
    study = await run_in_threadpool(record.studies.get, caller.tenant, id)
    wanted = parsed(ExtendIn, await read_mapping(request))
    found = await run_in_threadpool(_extend, record, caller, study, wanted.seeds)
    record.bells.wake()
    return await run_in_threadpool(_full, record, found)


def _extend(record: Record, caller: Key, study: Study, seeds: int) -> Study:
    if (total := study.spec["seeds"] + seeds) > MOST_SEEDS:
        message = f"the study has {study.spec['seeds']} seeds and would have {total}"
        raise Invalid([Mistake("seeds", "too_many", message, f"A study has at most {MOST_SEEDS}.")])
    planned = _planned(record, caller, study.spec | {"seeds": total})
    return record.studies.extend(caller.tenant, study.id, planned)


@router.post("/{id}/cancel", status_code=202, responses=problems(404, 409, 507))
def cancel_study(id: StudyId, caller: Canceller, record: Opened) -> StudyOut:
    """Cancel a study and its jobs."""
    return _full(record, record.studies.cancel(caller.tenant, id))


@router.delete("/{id}", status_code=204, responses=problems(404, 409, 507))
def delete_study(id: StudyId, caller: Canceller, record: Opened) -> None:
    """Forget a finished study and its jobs, and free their disk space."""
    study = record.studies.get(caller.tenant, id)
    if study.state not in FINISHED:
        raise NotFinished("The study has not finished yet.", hint="Cancel it first.")
    for trial in record.studies.trials(caller.tenant, id):
        if trial.job is not None and trial.state != "deleted":
            _forget(record, caller, trial.job)
    record.studies.delete(caller.tenant, id)


def _forget(record: Record, caller: Key, job: str) -> None:
    """A trial's job and its files; one that its owner has deleted already is gone."""
    with contextlib.suppress(NotFound):
        record.jobs.delete(caller.tenant, job)
        record.artifacts.remove(caller.tenant, job)


def _full(record: Record, study: Study) -> StudyOut:
    study = record.studies.get(study.tenant, study.id)
    return StudyOut.full(study, record.studies.trials(study.tenant, study.id))
