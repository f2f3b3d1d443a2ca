"""Pydantic models of registry members: the fields of their frozen dataclasses, strict, told apart by `type`.

A new layer, loss, optimizer or schedule therefore appears in the spec, in its JSON Schema and in its error
messages without a line here.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, TypeAdapter, create_model

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a dataclass's fields, read with the names of its module (in its own scope `type` is a string)."""
    written = types.SimpleNamespace(__annotations__={field.name: field.type for field in dataclasses.fields(cls)})
    return typing.get_type_hints(written, globalns=vars(sys.modules[cls.__module__]), include_extras=True)


@final
@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of member (layer, loss, …): its classes by type, every accepted name, and extra fields in the spec."""

    noun: str
    members: Mapping[str, type[Any]]
    names: Mapping[str, str]
    extra: Callable[[type[Any]], dict[str, Any]] = lambda _cls: {}

    def normalise(self, value: Any) -> Any:
        """`relu` → {type: relu}; an alias (`Conv2D`) → its type. Anything else is left for the model to refuse."""
        if isinstance(value, str):
            value = {"type": value}
        if isinstance(value, Mapping) and isinstance(value.get("type"), str):
            return {**value, "type": self.names.get(value["type"], value["type"])}
        return value

    def annotation(self) -> Any:
        """The annotated union of all members' models, for use as a field's type."""
        models = [self.model(cls) for cls in self.members.values()]
        union = reduce(or_, models) if len(models) > 1 else models[0]
        told_apart = Annotated[union, Discriminator("type")] if len(models) > 1 else union
        written = told_apart | Literal[tuple(self.names)]
        return Annotated[told_apart, BeforeValidator(self.normalise, json_schema_input_type=written)]

    def model(self, cls: type[Any]) -> type[BaseModel]:
        """The model of one member."""
        hints = _hints(cls)
        fields: dict[str, Any] = {"type": (Literal[cls.type], Field(default=cls.type))}
        for field in dataclasses.fields(cls):
            default = ... if field.default is dataclasses.MISSING else field.default
            fields[field.name] = (hints[field.name], default)
        fields |= self.extra(cls)
        doc = inspect.cleandoc(cls.__doc__ or "")
        made: type[BaseModel] = create_model(
            f"{cls.__name__}{self.noun.title().replace(' ', '')}", __config__=STRICT, __doc__=doc, **fields
        )
        return made

    def validated(self, value: Any) -> Any:
        """The validated model of a value as users write it; pydantic's ValidationError where it is none."""
        return TypeAdapter(self.annotation()).validate_python(value)

    def build(self, spec: BaseModel) -> Any:
        """The member that a validated model describes."""
        cls = self.members[spec.type]  # type: ignore[attr-defined]
        return cls(**{f.name: getattr(spec, f.name) for f in dataclasses.fields(cls)})

    def describe(self) -> list[dict[str, Any]]:
        """Every member for the catalog: type, aliases, documentation and the JSON Schema of its fields."""
        return [
            {
                "type": name,
                "aliases": list(getattr(cls, "aliases", ())),
                "doc": inspect.cleandoc(cls.__doc__ or ""),
                "schema": self.model(cls).model_json_schema(),
            }
            for name, cls in self.members.items()
        ]
