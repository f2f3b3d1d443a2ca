"""What answers look like: only what users may see, in the contract's words."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictInt, StrictStr

from services.asking import MAX_LENGTH, Wishes
from services.fleet import QueueView, Worker
from services.jobs import Artifact, Attempt, Event, Job, JobHead, JobState, MetricPoint, QueuePlace, Reason
from services.writing import LENGTH, TEMPERATURE

Time: TypeAlias = Annotated[
    datetime,
    PlainSerializer(
        lambda at: at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"), return_type=str
    ),
    Field(examples=["2026-05-04T09:30:00.000Z"], json_schema_extra={"format": "date-time"}),
]
Document: TypeAlias = dict[str, Any]


class Shape(BaseModel):
    """The base of every answer: made from the record's values, frozen."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


@final
class ErrorItem(BaseModel):
    """One mistake in a request."""

    path: str = Field(examples=["network.layers[3].units"])
    code: str = Field(examples=["greater_than"])
    message: str
    hint: str | None = None


@final
class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it; `errors` lists every mistake at once."""

    type: str = Field(examples=["urn:trainyard:problem:not_found"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str
    code: str
    hint: str | None = None
    request_id: str
    errors: list[ErrorItem] = []


@final
class AttemptOut(Shape):
    """One try of a job on one worker; `outcome` is missing while it runs, `queued` when it was sent back."""

    number: int
    worker: str
    device: str
    outcome: str | None
    message: str | None
    started_at: Time
    finished_at: Time | None


@final
class ArtifactOut(Shape):
    """One file a job left behind; `size` in bytes."""

    name: str
    sha256: str
    size: int
    attempt: int


@final
class QueueOut(Shape):
    """Where a queued job stands among those that compete for the same devices, and what it waits for."""

    position: int | None = Field(description="Counted from 1.")
    waiting_for: str | None
    eta_seconds: float | None = Field(description="Until it starts; missing while the jobs before it tell nothing.")


class JobRow(Shape):
    """A job in a list."""

    id: str
    name: str
    labels: list[str]
    state: JobState
    reason: Reason | None
    message: str | None
    task: str | None = Field(None, examples=["classification"])
    dataset: str | None = Field(None, examples=["digits"])
    device: str
    attempt: int
    progress: float = Field(description="From 0 to 1.")
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
    origin: str | None = Field(None, description="Of a child of parent_id: retry or replay.")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    queue: QueueOut | None = Field(None, description="Only while it is queued.")

    @classmethod
    def of(cls, job: Job, **more: object) -> Self:
        """From the record's job."""
        dataset = job.spec.get("dataset") or job.spec.get("environment")
        name = dataset.get("name") or job.outline.get("dataset") if isinstance(dataset, dict) else None
        return cls.model_validate(
            {f: getattr(job, f) for f in cls.model_fields if hasattr(job, f)}
            | {"labels": list(job.labels), "task": job.spec.get("task"), "dataset": name}
            | more
        )

    @classmethod
    def listed(cls, head: JobHead, place: QueuePlace | None) -> Self:
        """From what the record tells of a job in a list."""
        return cls.model_validate(vars(head) | {"queue": place})


@final
class JobOut(JobRow):
    """A job with everything: the resolved spec, the plan's outline, its attempts and files."""

    spec: Document
    outline: Document
    data: Document | None
    checkpoint_step: int | None
    event_number: int = Field(
        description="Events above this number are not part of this answer; follow them with `after`."
    )
    attempts: list[AttemptOut]
    artifacts: list[ArtifactOut]
    links: dict[str, str]

    @classmethod
    def full(
        cls,
        job: Job,
        event_number: int,
        queue: QueuePlace,
        attempts: Sequence[Attempt],
        artifacts: Sequence[Artifact],
    ) -> "JobOut":
        """From the record's job and what belongs to it."""
        return cls.of(
            job,
            event_number=event_number,
            queue=None if queue.position is None else QueueOut.model_validate(queue),
            attempts=[AttemptOut.model_validate(a) for a in attempts],
            artifacts=[ArtifactOut.model_validate(a) for a in artifacts],
            links=links(job),
        )


def links(job: Job) -> dict[str, str]:
    """Where to go on from a job."""
    base = f"/v1/jobs/{job.id}"
    found = {"self": base} | {name: f"{base}/{name}" for name in ("events", "metrics", "logs", "diagnostics")}
    found |= {"receipt": f"{base}/receipt"} if job.terminal else {}
    return found | ({"model": f"/v1/models/{job.id}"} if job.state is JobState.SUCCEEDED else {})


@final
class JobPage(BaseModel):
    """One page of jobs, newest first; ask again with `cursor=next_cursor`."""

    items: list[JobRow]
    next_cursor: str | None


@final
class MetricOut(Shape):
    """One value of one metric; null where it was not a finite number."""

    step: int
    name: str
    value: float | None
    attempt: int
    at: Time

    @classmethod
    def of(cls, point: MetricPoint) -> "MetricOut":
        """From the record's point."""
        return cls.model_validate(point)


@final
class MetricList(BaseModel):
    """Metric values by step, then name."""

    items: list[MetricOut]


@final
class EventOut(Shape):
    """One event; `number` only grows, and is the id in the stream."""

    number: int
    job: str
    attempt: int
    kind: str = Field(examples=["state", "metric", "log", "diagnostic"])
    data: Document
    at: Time

    @classmethod
    def of(cls, event: Event) -> "EventOut":
        """From the record's event."""
        return cls.model_validate(event)


@final
class LogLine(BaseModel):
    """One line of a job's log."""

    number: int
    attempt: int
    at: Time
    level: str
    text: str

    @classmethod
    def of(cls, event: Event) -> "LogLine":
        """From a log event."""
        level, text = str(event.data.get("level", "info")), str(event.data.get("text", ""))
        return cls(number=event.number, attempt=event.attempt, at=event.at, level=level, text=text)


@final
class LogPage(BaseModel):
    """Log lines, oldest first; ask again with `after=next_after`."""

    items: list[LogLine]
    next_after: int | None


@final
class EstimateOut(Shape):
    """How long a job will train, worked out from the most alike of your finished jobs."""

    seconds: float
    based_on: str = Field(description="Id of that job.")


@final
class PlanOut(BaseModel):
    """What a spec would do, without doing it; the outline has shapes, parameters, FLOPs and bytes."""

    outline: Document
    spec: Document = Field(description="The spec with every default filled in.")
    estimate: EstimateOut | None = Field(description="Missing until a similar job of yours has finished.")
    workers: list[str] = Field(description="Ids of the workers that this job fits.")
    queue: QueueOut


@final
class DeviceOut(Shape):
    """What a worker computes on; memory in bytes."""

    kind: str
    name: str
    memory_total: int | None
    memory_free: int | None


@final
class WorkerOut(Shape):
    """A worker; `busy` with `current_job` shown only when that job is yours."""

    id: str
    host: str
    device: DeviceOut
    busy: bool
    draining: bool = Field(description="It is going down and takes no more jobs.")
    current_job: str | None
    seen_at: Time | None

    @classmethod
    def of(cls, worker: Worker, mine: bool) -> "WorkerOut":
        """From the record's worker."""
        return cls(
            id=worker.id,
            host=worker.host,
            device=DeviceOut.model_validate(worker.device),
            busy=worker.current_job is not None,
            draining=worker.draining,
            current_job=worker.current_job if mine else None,
            seen_at=worker.seen_at,
        )


@final
class WorkerList(BaseModel):
    """Workers seen lately."""

    items: list[WorkerOut]


@final
class WaitingOut(Shape):
    """One of your queued jobs: where it stands, what it waits for, and seconds until it starts."""

    id: str
    name: str
    position: int | None
    waiting_for: str | None
    eta_seconds: float | None


@final
class QueueViewOut(Shape):
    """Jobs per state, queued jobs per device, the longest wait in seconds, and your own jobs that wait."""

    depth: dict[str, int]
    by_device: dict[str, int]
    oldest_wait_seconds: float
    yours: list[WaitingOut] = Field([], description="The twenty of yours that stand furthest ahead.")

    @classmethod
    def of(cls, view: QueueView, yours: Iterable[tuple[Job, QueuePlace]]) -> "QueueViewOut":
        """From the record's view and the caller's queued jobs."""
        waiting = [WaitingOut(id=job.id, name=job.name, **vars(place)) for job, place in yours]
        return cls(**vars(view), yours=sorted(waiting, key=lambda one: (one.position or 0, one.id)))


@final
class ModelOut(BaseModel):
    """A trained model: what it is, what it takes, its file and its score."""

    id: str
    job: str
    name: str
    card: Document
    request_schema: Document = Field(description="JSON Schema of a prediction request.")
    artifact: ArtifactOut
    files: list[ArtifactOut] = Field(description="Everything that the job left, the model included.")
    result: Document | None
    links: dict[str, str]


@final
class PredictIn(BaseModel):
    """Samples to predict, in the units of the data set: preprocessing travels with the model."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[Any] = Field(min_length=1, max_length=1024)
    layer: StrictStr | StrictInt | None = Field(
        None, description="Give the output of this layer: its name, or its number from 0.", examples=["latent"]
    )
    state: Literal["new"] | list[Any] | None = Field(
        None,
        max_length=1024,
        description='Rows are pieces of sequences: "new" to begin, then the `state` of the last answer to go on.',
    )
    length: int = Field(LENGTH, ge=1, le=MAX_LENGTH, description="Language models: symbols to write.")
    temperature: float = Field(
        TEMPERATURE, ge=0, le=100, allow_inf_nan=False, description="Language models: 0 takes the likeliest symbol."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Language models: another seed, another text.")

    @property
    def wishes(self) -> Wishes:
        """What is asked for beside the rows."""
        return Wishes(self.layer, self.state, self.length, self.temperature, self.seed)


@final
class SignIn(BaseModel):
    """A key to keep as a cookie of this browser."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=200, examples=["ty_…"])


@final
class Health(BaseModel):
    """Whether the service can work; `checks` says what each part answered."""

    status: str = Field(examples=["ok", "unavailable"])
    checks: dict[str, str] = {}
