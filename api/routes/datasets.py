"""Data sets: those built in, and those that users bring."""

from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.arrivals import in_turn, pour, refuse_wrapped
from api.dataset_schemas import DatasetOut, DatasetPage, ReportOut, SampleList, full, row_of
from api.deps import Canceller, Opened, Reader, Record, Submitter
from api.openapi import file_body, problems
from api.queries import options_from
from services import datasets
from services.datasets import Split
from services.errors import Conflict, Invalid, Mistake
from services.uploads.values import Kind, check_name

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])

Name: TypeAlias = Annotated[
    str, Path(max_length=100, pattern=r"^[^\x00]*$", description="Its name, or an upload's id.", examples=["digits"])
]
NewName: TypeAlias = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="What to call it.", examples=["my-penguins"])
]
AskedKind: TypeAlias = Annotated[Kind | None, Query(description="Of data; otherwise recognised by the content.")]
Cursor: TypeAlias = Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]*$")]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=200)]
FILE: Final = file_body(
    "The file itself, not a form: CSV (tables, series), zip or tar of pictures or WAV files in class folders, "
    "text, npy or npz."
)
AGAIN: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": DatasetOut, "description": "You have sent this content under this name before."}
}
BUILT_IN: Final = "builtin."
SPLIT: Final = frozenset({"train", "validation", "test", "stratify", "seed", "train_fraction"})


@router.get("", responses=problems(422))
def list_datasets(
    response: Response, request: Request, caller: Reader, record: Opened, cursor: Cursor = None, limit: Limit = 50
) -> DatasetPage:
    """Your uploads, newest first, then the built-in data sets."""
    uploads, following = [], cursor
    if cursor is None or not cursor.startswith(BUILT_IN):
        page = record.desk.store.find(caller.tenant, cursor=cursor, limit=limit)
        uploads, following = list(page.items), page.next_cursor or f"{BUILT_IN}0"
    items = [row_of(*record.desk.source(caller.tenant, upload.id)) for upload in uploads]
    names, first = list(datasets.cards()), position(following)
    last = len(names) if first is None else min(len(names), first + limit - len(items))
    if first is not None:
        items += [row_of(datasets.find(name), None) for name in names[first:last]]
        following = f"{BUILT_IN}{last}" if last < len(names) else None
    if following:
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=following)}>; rel="next"'
    return DatasetPage(items=items, next_cursor=following)


def position(cursor: str | None) -> int | None:
    """Where among the built-in data sets a cursor stands; None while there are uploads before them."""
    if cursor is None or not cursor.startswith(BUILT_IN):
        return None
    number = cursor.removeprefix(BUILT_IN)
    if not number.isdecimal() or len(number) > 6:
        raise Invalid([Mistake("cursor", "bad_cursor", "this is no cursor of ours", "Take next_cursor of a page.")])
    return int(number)


@router.get("/{name}", responses=problems(404, 422))
def show_dataset(name: Name, caller: Reader, record: Opened) -> DatasetOut:
    """One data set; `-` and `_` are equal in the name of a built-in one."""
    return full(*record.desk.source(caller.tenant, name))


@router.put(
    "/{name}",
    status_code=201,
    openapi_extra=FILE,
    responses={**AGAIN, **problems(404, 408, 409, 413, 415, 422, 429, 507)},
)
async def put_dataset(
    request: Request, response: Response, name: NewName, caller: Submitter, record: Opened, kind: AskedKind = None
) -> DatasetOut:
    """Bring a data set: the file is the body. It is read strictly, by a process that can do nothing else, and kept by
    its content; other content under the same name is a new version."""
    refuse_wrapped(request)
    await run_in_threadpool(check_name, name)
    arrival = await pour(request, record, caller.tenant)
    upload, created = await in_turn(record, record.desk.take_in, caller.tenant, name, arrival, kind)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/datasets/{upload.id}"
    return await run_in_threadpool(lambda: full(*record.desk.source(caller.tenant, upload.id)))


@router.delete("/{name}", status_code=204, responses=problems(404, 409, 422, 507))
def delete_dataset(name: Name, caller: Canceller, record: Opened) -> None:
    """Forget an upload and free its disk space. Models that were trained on it go on working."""
    source, upload = record.desk.source(caller.tenant, name)
    if upload is None:
        raise Conflict(f"{source.card.name} is built in.", hint="Only uploads can be deleted.")
    record.desk.remove(caller.tenant, upload.id)


@router.get("/{name}/report", responses=problems(404, 409, 422))
async def report_dataset(
    request: Request,
    name: Name,
    caller: Reader,
    record: Opened,
    train: Annotated[float, Query(gt=0, le=1)] = Split.train,
    validation: Annotated[float, Query(ge=0, lt=1)] = Split.validation,
    test: Annotated[float | None, Query(gt=0, lt=1)] = None,
    stratify: bool = Split.stratify,
    seed: Annotated[int, Query(ge=0, lt=2**32)] = Split.seed,
    train_fraction: Annotated[float, Query(gt=0, le=1)] = 1.0,
) -> ReportOut:
    """What to know before training, for the split and the options that a job would have: further parameters are the
    data set's own options, such as `target` or `window`."""
    split = Split(train, validation, test, stratify, seed)
    query = [(key, text) for key, text in request.query_params.multi_items() if key not in SPLIT]
    return await in_turn(record, _report, record, caller.tenant, name, query, split, train_fraction)


def _report(
    record: Record, tenant: str, name: str, query: list[tuple[str, str]], split: Split, train_fraction: float
) -> ReportOut:
    source, upload = record.desk.source(tenant, name)
    options = options_from(datasets.schema_of(source), query)
    found = record.desk.report(tenant, name, options, split, train_fraction)
    return ReportOut.model_validate(found | {"id": upload and upload.id, "survey": upload and upload.report})


@router.get("/{name}/samples", responses=problems(404, 409, 422))
async def sample_dataset(name: Name, caller: Reader, record: Opened) -> SampleList:
    """Up to a dozen rows to look at."""
    items: list[dict[str, Any]] = await in_turn(record, record.desk.samples, caller.tenant, name)
    return SampleList.model_validate({"items": items})
