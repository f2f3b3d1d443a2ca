"""What answers about data sets look like."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, final

from pydantic import BaseModel, Field

from api.schemas import Document, Shape, Time
from services import datasets
from services.datasets import Card
from services.datasets.base import Source
from services.uploads.values import Upload


class DatasetRow(Shape):
    """A data set in a list, under default options (of an upload: those that are suggested)."""

    name: str
    id: str | None = Field(None, description="Of an upload; built-in data sets are known by name.", examples=["ds_…"])
    names: list[str] = Field([], description="What means this upload now; none once other content took its name.")
    title: str
    kind: str
    tasks: list[str]
    input_shape: list[int]
    classes: list[str] | None
    target_names: list[str]
    train: int
    test: int
    description: str
    source: str
    license: str
    download_bytes: int
    parts: str
    features: list[str] | None
    input_dtype: str = Field(description="int32 where rows are symbols, such as words or characters.")
    vocabulary: int | None = Field(None, description="Symbols are whole numbers below it.")
    sha256: str | None = None
    size: int | None = Field(None, description="Bytes of an upload.")
    created_at: Time | None = None


@final
class DatasetOut(DatasetRow):
    """A data set with what a spec may say about it, and what was found in an upload when it came."""

    options: Document = Field(description="JSON Schema of the keys that a spec may have beside name or upload.")
    suggested: Document | None = Field(None, description="Options under which an upload can be used as it is.")
    survey: Document | None = Field(None, description="Counts, gaps, broken files and warnings of an upload.")
    links: dict[str, str]


@final
class DatasetPage(BaseModel):
    """One page of data sets: yours, newest first, then the built-in ones; ask again with `cursor=next_cursor`."""

    items: list[DatasetRow]
    next_cursor: str | None


@final
class ReportOut(BaseModel):
    """What to know before training: rows by part, classes, the guess to beat, gaps, repetitions, and what of the test
    part is known to training. `survey` is what was found in an upload as a whole when it came."""

    name: str
    id: str | None
    kind: str
    sha256: str
    options: Document = Field(description="What the report is for; without any, an upload's suggested ones.")
    rows: dict[str, int]
    classes: dict[str, dict[str, int]] | None
    values: dict[str, dict[str, float | None]] | None
    guess: dict[str, dict[str, Any]]
    missing: dict[str, int]
    duplicates: dict[str, int] | None
    order: Document | None
    warnings: list[str]
    survey: Document | None


@final
class SampleOut(BaseModel):
    """One row: pictures are data URLs (PNG), tables are objects by column, long series are thinned out."""

    x: Any
    y: Any = None


@final
class SampleList(BaseModel):
    """Up to a dozen rows, before any preprocessing."""

    items: list[SampleOut]


def row_of(source: Source, upload: Upload | None) -> DatasetRow:
    """A data set as a list shows it."""
    return DatasetRow.model_validate(fields_of(source, upload))


def full(source: Source, upload: Upload | None) -> DatasetOut:
    """A data set with everything."""
    ref = source.card.name if upload is None else upload.id
    base = f"/v1/datasets/{ref}"
    links = {"self": base, "report": f"{base}/report", "samples": f"{base}/samples"}
    more = {"options": datasets.schema_of(source), "links": links}
    if upload is not None:
        more |= {"survey": upload.report, "suggested": upload.facts.get("suggested") or {}}
    return DatasetOut.model_validate(fields_of(source, upload) | more)


def fields_of(source: Source, upload: Upload | None) -> dict[str, Any]:
    """Card and record together."""
    if upload is None:
        return card_fields(source.card)
    return (
        card_fields(source.card)
        | {field: getattr(upload, field) for field in ("id", "sha256", "size", "created_at", "kind")}
        | {"name": upload.title, "names": upload.names}
    )


def card_fields(card: Card) -> dict[str, Any]:
    """What a card says, as plain values."""
    known = {field.name for field in fields(Card)} & set(DatasetRow.model_fields)
    return {name: plain(getattr(card, name)) for name in sorted(known)}


def plain(value: Any) -> Any:
    """Tuples as lists."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
