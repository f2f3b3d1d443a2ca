"""Encoders: from rows as people have them (sentences, tables with words in them, sound) to arrays of numbers.

An encoder is the first step of a pipeline. Whatever it learns, it learns from the train part, and keeps as plain JSON.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from services.errors import Invalid, Mistake

Array = NDArray[Any]


@dataclass(frozen=True)
class Encoder(abc.ABC):
    """Turns rows into arrays; concrete ones are frozen dataclasses whose fields are settings and what was learnt."""

    type: ClassVar[str]

    def fit(self, rows: Array) -> Self:
        """The encoder with everything known that it learns from the rows of the train part."""
        return self

    @abc.abstractmethod
    def encode(self, rows: Array) -> Array:
        """A fresh float32 or int32 array (n, …) of rows as a source gives them."""

    def targets(self, y: Array) -> Array:
        """Targets as numbers; most are already."""
        return y

    @abc.abstractmethod
    def rows(self, inputs: Sequence[Any]) -> Array:
        """Rows as a request gives them (JSON), in the form that `encode` takes; Invalid names what does not fit."""

    @abc.abstractmethod
    def row_schema(self) -> dict[str, Any]:
        """The JSON Schema of one row of a request."""

    def to_json(self) -> dict[str, Any]:
        """The encoder as plain JSON: its type and its fields."""
        return {"type": self.type, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The encoder that `to_json` wrote, from its fields without the type."""
        return cls(**fields)


def collect(inputs: Sequence[Any], read: Any) -> list[Any]:
    """`read(number, row)` for each row; Invalid with the mistakes of all rows."""
    found: list[Any] = []
    mistakes: list[Mistake] = []
    for number, row in enumerate(inputs):
        try:
            found.append(read(number, row))
        except Invalid as error:
            mistakes += error.mistakes
    if mistakes:
        raise Invalid(mistakes)
    return found


def texts(values: Sequence[str]) -> Array:
    """Texts as an array that can be indexed by rows, however long they are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
