"""The record's plain values: what a store hands out and takes in. `services.jobs` re-exports the public ones."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, final

T = TypeVar("T")
Document: TypeAlias = dict[str, Any]
EventKind: TypeAlias = Literal["state", "metric", "log", "diagnostic"]
EVENT_KINDS: Final[tuple[EventKind, ...]] = ("state", "metric", "log", "diagnostic")


@final
class JobState(StrEnum):
    """Where a job stands; the last three never change again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@final
class Reason(StrEnum):
    """Why a job ended as it did."""

    COMPLETED = "completed"
    EARLY_STOPPED = "early_stopped"
    STOPPED_BY_USER = "stopped_by_user"
    CANCELLED_BY_USER = "cancelled_by_user"
    MAX_RUNTIME_EXCEEDED = "max_runtime_exceeded"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    DATA_ERROR = "data_error"
    SPEC_ERROR = "spec_error"
    WORKER_LOST = "worker_lost"
    POISON = "poison"
    STORAGE_FULL = "storage_full"
    INTERNAL_ERROR = "internal_error"


@final
@dataclass(frozen=True)
class Job:
    """One job as the record knows it; times are aware UTC datetimes, durations seconds.

    `origin` says what kind of child of `parent_id` it is: `retry` or `replay`. `memory_cpu` and `memory_gpu` are the
    bytes it needs on a worker of that kind (0: not known), `expected_seconds` how long it will train, guessed from the
    tenant's finished jobs when it was submitted.
    """

    id: str
    tenant: str
    name: str
    labels: tuple[str, ...]
    state: JobState
    reason: Reason | None
    message: str | None
    spec: Document
    outline: Document
    device: str
    priority: int
    attempt: int
    owner: str | None
    cancel_requested: bool
    stop_requested: bool
    progress: float
    step: int
    total_steps: int | None
    epoch: int | None
    phase: str | None
    eta_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime
    max_runtime: float | None
    ran_seconds: float
    parent_id: str | None
    result: Document | None
    best: Document | None
    checkpoint_step: int | None
    data: Document | None
    origin: str | None = None
    memory_cpu: int = 0
    memory_gpu: int = 0
    expected_seconds: float | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job has finished."""
        return self.state in TERMINAL


@final
@dataclass(frozen=True)
class Event:
    """One numbered row of a job's history; `number` is the SSE id and only ever grows within a job."""

    number: int
    job: str
    attempt: int
    kind: EventKind
    data: Document
    at: datetime


@final
@dataclass(frozen=True)
class Attempt:
    """One try of a job on one worker; `outcome` is None while it runs, else a state (`queued`: sent back).

    `environment` says what it ran on: versions, device, threads (see `services.receipt`).
    """

    number: int
    worker: str
    device: str
    outcome: str | None
    message: str | None
    started_at: datetime
    finished_at: datetime | None
    environment: Document | None = None


@final
@dataclass(frozen=True)
class MetricPoint:
    """One value of one metric; `value` may be NaN or infinite."""

    step: int
    name: str
    value: float
    attempt: int
    at: datetime


@final
@dataclass(frozen=True)
class Artifact:
    """One published file: `path` is relative to the artifact folder, `size` in bytes."""

    name: str
    path: str
    sha256: str
    size: int
    attempt: int = 0


@final
@dataclass(frozen=True)
class Checkpoint:
    """Where training can go on: `step` is the number of steps done, `path` relative to the artifact folder."""

    step: int
    path: str
    sha256: str
    size: int


@final
@dataclass(frozen=True)
class Progress:
    """How far an attempt has come; fields left None keep their last value."""

    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    eta_seconds: float | None = None
    phase: str | None = None


@final
@dataclass(frozen=True)
class Flags:
    """What users want of a running job; `dropped` are checkpoint paths that may now be deleted from disk."""

    cancel: bool
    stop: bool
    dropped: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Pulse:
    """What a reaper observes of one running job: silent when `beats` has not moved for long enough."""

    job: str
    attempt: int
    beats: int
    worker: str


@final
@dataclass(frozen=True)
class QueuePlace:
    """Where a queued job stands among those that compete for the same devices: `position` counts from 1.

    `waiting_for` says in a user's words what stands between it and its start, `eta_seconds` when that will be (None:
    nobody knows). All are None once it has left the queue.
    """

    position: int | None
    waiting_for: str | None
    eta_seconds: float | None = None


@final
@dataclass(frozen=True)
class JobView:
    """A job with what belongs to it, read at one moment; what happens later has events above `event_number`."""

    job: Job
    event_number: int
    place: QueuePlace
    attempts: tuple[Attempt, ...]
    artifacts: tuple[Artifact, ...]


@final
@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing, newest first; `next_cursor` is None on the last one."""

    items: tuple[T, ...]
    next_cursor: str | None
