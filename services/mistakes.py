"""Pydantic's findings in our words: one `Mistake` each, at the user's own path, with the remedy."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from services.agents.spec import AGENTS
from services.errors import Mistake, did_you_mean
from services.job_spec import ACTIVATIONS, LAYERS, LOSSES, OPTIMIZERS, PREPROCESSING, SCHEDULE_FAMILY

FAMILIES = {
    "layers": LAYERS,
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "learning_rate_schedule": SCHEDULE_FAMILY,
    "preprocessing": PREPROCESSING,
    "agent": AGENTS,
}
_SHAPES = {
    "model_type": "needs named parts (key: value)",
    "model_attributes_type": "needs named parts (key: value)",
    "dict_type": "needs named parts (key: value)",
    "list_type": "needs a list",
}
Location = Sequence[int | str]

MOST = 1000
"""Mistakes told at most: more than that is not a spec, and each costs a look for the nearest known name."""


def mistakes_of(error: ValidationError, model: type[BaseModel], prefix: Location = ()) -> list[Mistake]:
    """The findings of a failed validation of `model`, whose fields stand under `prefix` in the user's document."""
    found: dict[str, Mistake] = {}
    for mistake in (_mistake(finding, model, prefix) for finding in error.errors(include_url=False)[:MOST]):
        # A field that may be one of several types yields a finding per type.
        first = found.setdefault(mistake.path, mistake)
        if mistake.message not in first.message:
            found[mistake.path] = replace(first, message=f"{first.message}, or {mistake.message}")
    # Who gave named parts did not mean true or false.
    beside = {p for p, mistake in found.items() if mistake.code == "bool_type"}
    return [m for p, m in found.items() if p not in beside or not any(other.startswith(f"{p}.") for other in found)]


def path_of(location: Location) -> str:
    """`("network", "layers", 3, "units")` → `network.layers[3].units`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _mistake(finding: Any, model: type[BaseModel], prefix: Location) -> Mistake:
    location, family, owner = _walk(finding["loc"], model)
    kind, context = finding["type"], finding.get("ctx", {})
    path = path_of([*prefix, *location])
    if kind == "extra_forbidden":
        key = str(location[-1])
        known = [name for name in _keys(owner) if name != key]
        return Mistake(path, "unknown_key", f"unknown key {key!r}", did_you_mean(key, known))
    if kind == "union_tag_invalid" and family:
        name = str(context.get("tag"))
        return Mistake(
            f"{path}.type", "unknown_name", f"there is no {family.noun} {name!r}", did_you_mean(name, family.members)
        )
    if kind == "union_tag_not_found" and family:
        hint = f"Known: {', '.join(family.members)}."
        return Mistake(f"{path}.type", "missing", f"a {family.noun} needs a type", hint)
    if kind == "missing":
        return Mistake(path, "missing", "is missing", f"Give {location[-1]!r}.")
    return Mistake(path, kind, _message(finding), _given(finding.get("input")))


def _message(finding: Any) -> str:
    if finding["type"] in _SHAPES:
        return _SHAPES[finding["type"]]
    message: str = finding["msg"].removeprefix("Value error, ").removesuffix(f", not {_length(finding)}")
    message = message.replace(" after validation", "")
    return message[:1].lower() + message[1:]


def _length(finding: Any) -> Any:
    return finding.get("ctx", {}).get("actual_length")


def _given(value: Any) -> str | None:
    text = repr(value)
    return f"Given: {text}." if len(text) <= 60 else None


def _walk(location: Location, model: type[BaseModel]) -> tuple[list[int | str], Any, Any]:
    """The location without Pydantic's union tags, the family it ends in, and the model that owns the last key."""
    kept: list[int | str] = []
    family: Any = None
    owner: Any = model
    annotation: Any = model
    place = ""
    for step in location:
        if isinstance(step, int):
            kept.append(step)
        elif family is not None and step in family.members:
            annotation, family = _member(place, step), None
        elif step in _alternatives(annotation):
            continue
        elif (held := _owner(annotation)) is not None:
            owner, family, place = held, FAMILIES.get(step), step
            kept.append(step)
            field = _field(held, step)
            annotation = None if field is None else field.annotation
    return kept, family, owner


@cache
def _member(place: str, kind: str) -> type[BaseModel]:
    """Making a model takes milliseconds, and a spec may hold hundreds of mistakes."""
    return FAMILIES[place].model(FAMILIES[place].members[kind])


def _owner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return next((m for m in map(_owner, typing.get_args(annotation)) if m is not None), None)
    return None


def _alternatives(annotation: Any) -> set[str]:
    """What Pydantic calls the members of a choice between a plain value and a model, such as `baseline`."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    names = {member.__name__ for member in members if isinstance(member, type)} - {"NoneType"}
    return names if len(names) > 1 else set()


def _keys(owner: Any) -> list[str]:
    return [field.alias or name for name, field in owner.model_fields.items()]


def _field(owner: Any, key: str) -> Any:
    return next((f for name, f in owner.model_fields.items() if key in (name, f.alias)), None)
