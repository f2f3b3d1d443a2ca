"""Pictures of jobs: the network, drawn."""

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from api.deps import OwnJob
from api.openapi import problems
from services.drawing import POLICY, draw
from services.errors import NotFound

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])

SVG: Final = "image/svg+xml"
HEADERS: Final = {"Content-Security-Policy": POLICY, "Cache-Control": "private, no-cache"}
PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The picture, for light and dark pages.", "content": {SVG: {"schema": {"type": "string"}}}}
}


@router.get("/network.svg", response_class=Response, responses=PICTURE | problems(404))
def draw_network(job: OwnJob) -> Response:
    """The job's network as a picture: every layer with its shape and its parameters."""
    if not job.outline.get("layers"):
        raise NotFound("picture of job", job.id)
    return Response(draw(job.outline, job.name), media_type=SVG, headers=HEADERS)
