"""What a job tells while it runs: metrics, logs, and the live stream of both."""

from collections.abc import AsyncIterator
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.deps import Opened, OwnJob
from api.openapi import problems
from api.schemas import EventOut, LogLine, LogPage, MetricList, MetricOut

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])

LARGEST = 2**53
After: TypeAlias = Annotated[int, Query(ge=0, le=LARGEST, description="Only events numbered above this.")]
Names: TypeAlias = Annotated[
    list[Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")]] | None, Query(max_length=50)
]


@router.get("/metrics", responses=problems(404, 422))
def list_metrics(
    job: OwnJob,
    record: Opened,
    name: Names = None,
    since: Annotated[int | None, Query(ge=0, le=LARGEST, description="From this step on.")] = None,
    max_points: Annotated[int | None, Query(ge=2, le=100_000, description="Per name; minima and maxima stay.")] = None,
) -> MetricList:
    """Metric values by step."""
    points = record.jobs.metrics(job.tenant, job.id, name, since, max_points)
    return MetricList(items=[MetricOut.of(point) for point in points])


@router.get("/logs", responses=problems(404, 422))
def list_logs(
    job: OwnJob, record: Opened, after: After = 0, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> LogPage:
    """Log lines, oldest first."""
    events = record.jobs.logs(job.tenant, job.id, after, limit)
    return LogPage(
        items=[LogLine.of(e) for e in events], next_after=events[-1].number if len(events) == limit else None
    )


@router.get("/events", response_class=EventSourceResponse, responses=problems(404, 422))
async def stream_events(
    job: OwnJob,
    record: Opened,
    after: After = 0,
    last_event_id: Annotated[str | None, Header(max_length=20, pattern=r"^[0-9]{0,15}$")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events as they happen (`state`, `metric`, `log`, `diagnostic`), from the first or from `Last-Event-ID` on.

    The id of an event is its number. The stream ends after the event that says that the job has finished.
    """
    seen = max(after, int(last_event_id or 0))
    async for event in record.stream.watch(job.tenant, job.id, seen):
        data = EventOut.of(event).model_dump_json()
        yield ServerSentEvent(raw_data=data, event=event.kind, id=str(event.number))
