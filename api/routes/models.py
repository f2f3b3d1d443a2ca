"""Models: what a finished job leaves. A model's id is its job's id."""

import base64
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any, BinaryIO, TypeAlias, final

from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.responses import Response, StreamingResponse

from api.bodies import parsed, read_mapping
from api.deps import Opened, OwnJob, Record
from api.openapi import json_body, problems
from api.schemas import ArtifactOut, ModelOut, PredictIn
from services.jobs import Artifact

router = APIRouter(prefix="/v1/models/{id}", tags=["models"])

CHUNK = 1 << 16
BYTES = "application/octet-stream"
CONTENT_TYPES = {".wav": "audio/wav", ".gif": "image/gif", ".png": "image/png", ".json": "application/json"}
"""What a browser may show or play; everything else is bytes."""

PREDICT = json_body("PredictIn", {"inputs": [[5.1, 3.5, 1.4, 0.2]]})
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "You have this file already."},
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILES: dict[int | str, dict[str, Any]] = DOWNLOAD | {
    200: {"description": "The file.", "content": {kind: BINARY for kind in (BYTES, *CONTENT_TYPES.values())}}
}
FileName: TypeAlias = Annotated[str, Path(max_length=128, description="A name of `files`.", examples=["clean.wav"])]

Data: TypeAlias = Annotated[dict[str, Any], Depends(read_mapping)]
IfNoneMatch: TypeAlias = Annotated[str | None, Header(max_length=1000)]


@final
class Format(StrEnum):
    """Formats a model can be taken away in."""

    SAFETENSORS = "safetensors"


@router.get("", responses=problems(404, 409))
def show_model(job: OwnJob, record: Opened) -> ModelOut:
    """What the model is, what it takes, and its score."""
    artifact, model = record.shelf.artifact(job), record.shelf.model(job)
    base, files = f"/v1/models/{job.id}", record.shelf.files(job)
    links = {"self": base, "predict": f"{base}/predict", "export": f"{base}/export?format=safetensors"}
    return ModelOut(
        id=job.id,
        job=job.id,
        name=job.name,
        card=model.card(),
        request_schema=model.schema(),
        artifact=ArtifactOut.model_validate(artifact),
        files=[ArtifactOut.model_validate(file) for file in files],
        result=job.result,
        links=links | {file.name: f"{base}/files/{file.name}" for file in files},
    )


@router.post("/predict", openapi_extra=PREDICT, responses=problems(404, 409, 413, 415, 422))
def predict_samples(job: OwnJob, data: Data, record: Opened) -> dict[str, Any]:
    """The model's answers for a list of samples in the units of the data set; `request_schema` says their shape.

    With `layer`, what an inner layer gives; with `state`, a recurrent network reads sequences piece by piece."""
    asked = parsed(PredictIn, data)
    return record.shelf.model(job).predict(asked.inputs, asked.wishes)


@router.get("/export", response_class=Response, responses=DOWNLOAD | problems(404, 409, 422))
def export_model(
    job: OwnJob,
    record: Opened,
    format: Annotated[Format, Query(description="The file's format.")] = Format.SAFETENSORS,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The model as a file, with its SHA-256 as `ETag` and `Repr-Digest`."""
    return download(record.shelf.sound(job), record, f"{job.id}.{format.value}", if_none_match)


@router.get("/files/{name}", response_class=Response, responses=FILES | problems(404, 409, 422))
def download_file(job: OwnJob, record: Opened, name: FileName, if_none_match: IfNoneMatch = None) -> Response:
    """One file that the job left, by its name in the model's `files`: latent vectors, recordings, pictures."""
    return download(record.shelf.sound(job, name), record, name, if_none_match)


def download(artifact: Artifact, record: Record, name: str, if_none_match: str | None) -> Response:
    """A file of a job, to be saved as `name`, or 304 where the client has it."""
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-cache",
    }
    if f'"{artifact.sha256}"' in (if_none_match or "") or if_none_match == "*":
        return Response(status_code=304, headers=headers)
    headers |= {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(artifact.size)}
    kind = CONTENT_TYPES.get(PurePath(name).suffix, BYTES)
    return StreamingResponse(chunks(record.artifacts.open(artifact)), headers=headers, media_type=kind)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file piece by piece, closed at the end."""
    with file:
        while piece := file.read(CHUNK):
            yield piece
