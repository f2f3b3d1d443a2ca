"""What requests and answers about retries, replays and receipts look like."""

from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field

Document = dict[str, Any]


@final
class RetryIn(BaseModel):
    """How to try a finished job again."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    begin: Literal["checkpoint", "start"] | None = Field(
        default=None, alias="from", description="Where to begin; otherwise at the checkpoint where there is one."
    )
    changes: Document = Field(
        default={}, alias="with", description="JSON merge patch (RFC 7396) of the job's spec; null removes a key."
    )


class Frozen(BaseModel):
    """The base of these answers."""

    model_config = ConfigDict(frozen=True)


@final
class ParentOut(Frozen):
    """The job that a retry or replay is of."""

    id: str
    origin: str | None


@final
class DataOut(Frozen):
    """Which data: `sha256` of the arrays that were trained on, `file_sha256` of an upload's file."""

    name: str | None
    sha256: str | None
    file_sha256: str | None


@final
class SeedsOut(Frozen):
    """Seeds of training and of the split."""

    training: int | None
    split: int | None


@final
class DigestOut(Frozen):
    """How many metric values were committed, and the SHA-256 over them."""

    count: int
    sha256: str


@final
class FileOut(Frozen):
    """A file that the job left; `size` in bytes."""

    name: str
    sha256: str
    size: int


@final
class TryOut(Frozen):
    """One attempt; its environment as a hash."""

    number: int
    outcome: str | None
    started_at: str
    finished_at: str | None
    environment_sha256: str | None


@final
class ReceiptOut(Frozen):
    """Everything that decided a finished job's numbers; `sha256` is over all that stands before it."""

    schema_: str = Field(alias="schema", examples=["trainyard-receipt/v1"])
    job: str
    parent: ParentOut | None
    state: str
    reason: str | None
    spec_sha256: str
    data: DataOut
    seeds: SeedsOut
    environment: Document | None = Field(description="What the last attempt ran on: versions, device, threads.")
    weights_sha256: str | None = Field(description="Over names, shapes and bits of the parameters, not of a file.")
    metrics: DigestOut
    artifacts: list[FileOut]
    attempts: list[TryOut]
    sha256: str

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, protected_namespaces=())
