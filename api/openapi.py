"""The OpenAPI document: every status declared with its shape, the job spec's own schema inside, stable names."""

import copy
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.descent_schemas import RetryIn
from api.errors import PROBLEM
from api.key_schemas import KeyIn
from api.schemas import PredictIn, Problem
from api.study_schemas import ExtendIn
from services.documents import YAML_BYTES

TITLE: Final = "Trainyard"
VERSION: Final = "1"
ABOUT: Final = (
    "Post a network as data, get a trained model back. Send `Authorization: Bearer ty_…`. "
    "Errors are problem+json (RFC 9457) and list every mistake at once. Unknown and foreign ids are both 404."
)
TAGS: Final = [
    {"name": "jobs", "description": "Submit, watch, stop and delete training jobs."},
    {"name": "studies", "description": "Vary one job, run many, get one answer: a table, a curve and a verdict."},
    {"name": "models", "description": "What a finished job leaves: ask it, or take it away."},
    {"name": "catalog", "description": "What a spec may contain."},
    {"name": "data sets", "description": "Those built in, and those you bring: send a file, read the report, train."},
    {"name": "fleet", "description": "Workers and the queue."},
    {"name": "keys", "description": "Who may come in, and what everybody did: for administrators."},
    {"name": "health", "description": "For orchestrators and monitoring."},
]
EXAMPLE: Final[dict[str, Any]] = {
    "schema": "trainyard/v1",
    "name": "digits-cnn",
    "task": "classification",
    "dataset": {"name": "digits", "preprocessing": [{"type": "rescaling", "scale": 0.0625}]},
    "network": {
        "layers": [
            {"type": "conv2d", "filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"},
            {"type": "max_pooling2d", "pool_size": 2},
            {"type": "flatten"},
            {"type": "dense", "units": 10, "activation": "softmax"},
        ]
    },
    "training": {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": {"type": "adam", "learning_rate": 0.001},
        "batch_size": 32,
        "epochs": 10,
        "metrics": ["accuracy"],
        "seed": 42,
    },
}

_COMPONENTS = "#/components/schemas/"
_ALWAYS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def problems(*codes: int, guarded: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: a problem for each of `codes`, and for those that any guarded route may give."""
    every = sorted({HTTPStatus(code) for code in codes} | (set(_ALWAYS) if guarded else set()))
    content = {PROBLEM: {"schema": {"$ref": f"{_COMPONENTS}Problem"}}}
    return {int(s): {"description": s.phrase, "content": copy.deepcopy(content)} for s in every}


def operation_id(route: APIRoute) -> str:
    """The function's name: short, stable, and unique because a test says so."""
    return route.name


def spec_body() -> dict[str, Any]:
    """`openapi_extra` of a route that takes a job spec as JSON or YAML."""
    schema = {"$ref": f"{_COMPONENTS}JobSpec"}
    yaml_text = {"type": "string", "maxLength": YAML_BYTES, "description": "The same document as YAML."}
    content = {"application/json": {"schema": schema, "example": EXAMPLE}, "application/yaml": {"schema": yaml_text}}
    return {"requestBody": {"required": True, "content": content}}


def study_body() -> dict[str, Any]:
    """`openapi_extra` of a route that takes a study as JSON or YAML."""
    schema = {"$ref": f"{_COMPONENTS}StudySpec"}
    example = {"schema": "trainyard-study/v1", "type": "seeds", "seeds": 5, "job": EXAMPLE}
    yaml_text = {"type": "string", "maxLength": YAML_BYTES, "description": "The same document as YAML."}
    content = {"application/json": {"schema": schema, "example": example}, "application/yaml": {"schema": yaml_text}}
    return {"requestBody": {"required": True, "content": content}}


def json_body(name: str, example: Any, *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that takes the component `name` as JSON."""
    content = {"application/json": {"schema": {"$ref": f"{_COMPONENTS}{name}"}, "example": example}}
    return {"requestBody": {"required": required, "content": content}}


def file_body(description: str) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a file as it is."""
    schema = {"type": "string", "format": "binary"}
    content = {"application/octet-stream": {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def document(app: FastAPI, job_schema: dict[str, Any], study_schema: dict[str, Any]) -> dict[str, Any]:
    """The whole document of `app`."""
    found = get_openapi(title=TITLE, version=VERSION, summary=ABOUT, routes=app.routes, tags=TAGS)
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for item in found["paths"].values():
        for operation in item.values():
            _tidy(operation)
    for model in (Problem, PredictIn, RetryIn, ExtendIn, KeyIn):
        schemas |= moved(model.__name__, model.model_json_schema())
    schemas |= moved("JobSpec", job_schema) | moved("StudySpec", study_schema)
    return found


def _tidy(operation: dict[str, Any]) -> None:
    """Take back what FastAPI adds by itself: its own shape of 422, and a lock on addresses that need no key."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if str(int(HTTPStatus.UNAUTHORIZED)) not in responses:
        operation["security"] = []


def moved(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema and its `$defs` as components: references point to where they lie now."""
    schema = copy.deepcopy(schema)
    inner = {f"{name}.{key}": value for key, value in schema.pop("$defs", {}).items()}
    schema.pop("$schema", None)
    return {key: _pointed(value, name) for key, value in ({name: schema} | inner).items()}


def _pointed(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return [_pointed(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _pointer(value, name) if isinstance(value, str) else _pointed(value, name) for key, value in node.items()
    }


def _pointer(text: str, name: str) -> str:
    return text.replace("#/$defs/", f"{_COMPONENTS}{name}.", 1) if text.startswith("#/$defs/") else text
