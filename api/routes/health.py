"""For orchestrators and monitoring: alive, ready, and numbers."""

import os
from typing import Any

from fastapi import APIRouter, Response

from api.deps import Opened, Reader, Record
from api.measures import MEDIA_TYPE
from api.openapi import problems
from api.schemas import Health

router = APIRouter(tags=["health"])

NUMBERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get("/livez")
def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Health}})
def ready(record: Opened, response: Response) -> Health:
    """The database answers and artifacts can be written; workers are counted, but may be away."""
    checks = {"database": database(record), "artifacts": artifacts(record)}
    failed = any(check != "ok" for check in checks.values())
    response.status_code = 503 if failed else 200
    return Health(status="unavailable" if failed else "ok", checks=checks)


@router.get("/metrics", response_class=Response, responses={**NUMBERS, **problems()})
def numbers(caller: Reader, record: Opened) -> Response:
    """Jobs, workers, requests and watchers as Prometheus reads them."""
    return Response(record.measures.text(record.fleet, record.stream.watchers), media_type=MEDIA_TYPE)


def database(record: Record) -> str:
    """The word ok, or what is wrong; never an address or a password."""
    try:
        record.jobs.last_event_number()
    except Exception as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"


def artifacts(record: Record) -> str:
    """The word ok when the folder is there and ours to write."""
    return "ok" if os.access(record.artifacts.folder, os.W_OK | os.X_OK) else "the folder cannot be written"
