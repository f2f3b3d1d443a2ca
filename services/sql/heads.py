"""Jobs as a list shows them: read without their specs and plans, which are most of a row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, TypeVar, final

from sqlalchemy import Connection, RowMapping, Select, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.sql.elements import ColumnElement

from services.sql.schema import jobs
from services.sql.values import Document, Job, JobState, Page, Reason


@final
@dataclass(frozen=True)
class JobHead:
    """A job as a list shows it; the fields mean what they mean in Job. `task` and `dataset` come from its spec."""

    id: str
    tenant: str
    name: str
    labels: tuple[str, ...]
    state: JobState
    reason: Reason | None
    message: str | None
    task: str | None
    dataset: str | None
    device: str
    priority: int
    not_before: datetime
    memory_cpu: int
    memory_gpu: int
    attempt: int
    progress: float
    phase: str | None
    step: int
    total_steps: int | None
    epoch: int | None
    eta_seconds: float | None
    cancel_requested: bool
    stop_requested: bool
    best: Document | None
    result: Document | None
    parent_id: str | None
    origin: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


Listed = TypeVar("Listed", Job, JobHead)
_PLACES: Final[dict[str, tuple[ColumnElement[Any], tuple[str, ...]]]] = {
    "task": (jobs.c.spec, ("task",)),
    "named": (jobs.c.spec, ("dataset", "name")),
    "played": (jobs.c.spec, ("environment", "name")),
    "planned": (jobs.c.outline, ("dataset",)),
}
_COLUMNS: Final = tuple(jobs.c[field.name] for field in fields(JobHead) if field.name not in {"task", "dataset"})


def heads(connection: Connection, listing: Select[Any]) -> list[JobHead]:
    """The jobs that `listing` selects, whatever columns it names."""
    dialect = connection.dialect.name
    inner = [_text_at(dialect, *place).label(name) for name, place in _PLACES.items()]
    rows = connection.execute(listing.with_only_columns(*_COLUMNS, *inner)).mappings()
    return [_head(row) for row in rows]


def cut(found: Sequence[Listed], limit: int) -> Page[Listed]:
    """A page of `limit` without the row that says that there is another one."""
    return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def _text_at(dialect: str, column: ColumnElement[Any], path: tuple[str, ...]) -> ColumnElement[Any]:
    """A text inside a document; the database takes it out, so that the document itself does not travel."""
    if dialect == "sqlite":
        return func.json_extract(cast(column, Text), literal_column("'$." + ".".join(path) + "'"), type_=Text)
    found: Any = cast(cast(column, Text), JSON)
    return func.json_extract_path_text(found, *path, type_=Text)


def _head(row: RowMapping) -> JobHead:
    values = {name: value for name, value in row.items() if name not in _PLACES}
    values |= {"labels": tuple(row["labels"]), "state": JobState(row["state"])}
    values["reason"] = None if row["reason"] is None else Reason(row["reason"])
    dataset = row["named"] or row["played"] or row["planned"]
    return JobHead(**values, task=row["task"], dataset=dataset)
