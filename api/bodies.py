"""Request bodies as plain data: JSON and YAML are one model, with limits that no parser gives by itself."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.errors import mistakes_of
from services.documents import from_json, from_yaml, refuse
from services.errors import Invalid

T = TypeVar("T", bound=BaseModel)

JSON_TYPES: Final = frozenset({"application/json", "text/json"})
YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})


def body_sha(body: bytes) -> str:
    """What an Idempotency-Key is tied to."""
    return hashlib.sha256(body).hexdigest()


async def read(request: Request) -> Any:
    """The body of `request` by its Content-Type: 415 for another type, Invalid for text that cannot be parsed."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    body = await request.body()
    if kind in YAML_TYPES:
        return await run_in_threadpool(from_yaml, body)
    if kind in JSON_TYPES or kind.endswith("+json"):
        return await run_in_threadpool(from_json, body)
    raise HTTPException(
        415, "Send application/json or application/yaml.", {"Accept": "application/json, application/yaml"}
    )


async def read_mapping(request: Request) -> Mapping[str, Any]:
    """Like `read`, for bodies that must be an object."""
    data = await read(request)
    if not isinstance(data, Mapping):
        refuse("not_an_object", f"The body must be an object with keys, not {type(data).__name__}.")
    return data


def parsed(model: type[T], data: Mapping[str, Any]) -> T:
    """`data` as `model`, or Invalid with every mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Invalid(mistakes_of(error.errors())) from None
