"""Choices: rows of small whole numbers, each one of so many, spread out as a network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from services.datasets.encoding import Encoder, collect
from services.errors import Invalid, Mistake

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Choices(Encoder):
    """Column k holds a number from 0 to sizes[k] − 1 and becomes sizes[k] numbers, all 0 but one."""

    type: ClassVar[str] = "choices"
    names: Sequence[str]
    sizes: Sequence[int]

    def encode(self, rows: Array) -> Array:
        """(n, columns) int32 → (n, Σ sizes) float32."""
        found = np.zeros((len(rows), sum(self.sizes)), np.float32)
        starts = np.cumsum((0, *self.sizes[:-1]))
        found[np.arange(len(rows))[:, None], rows + starts] = 1
        return found

    def rows(self, inputs: Sequence[Any]) -> Array:
        """Each row a list of whole numbers, or a bare number where there is one column."""
        return np.array(collect(inputs, self._row), np.int32).reshape(-1, len(self.sizes))

    def _row(self, number: int, row: Any) -> list[int]:
        values = row if isinstance(row, list) else [row]
        whole = len(values) == len(self.sizes) and all(type(value) is int for value in values)
        if not whole or not all(0 <= value < size for value, size in zip(values, self.sizes, strict=True)):
            ranges = ", ".join(f"{name} 0 to {size - 1}" for name, size in zip(self.names, self.sizes, strict=True))
            message = "this is no such choice"
            raise Invalid([Mistake(f"inputs[{number}]", "not_a_choice", message, f"Expected whole numbers: {ranges}.")])
        return values

    def row_schema(self) -> dict[str, Any]:
        """A list of whole numbers; a bare one where there is one column."""
        columns = [
            {"type": "integer", "minimum": 0, "maximum": size - 1, "description": name}
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        count = len(columns)
        row = {"type": "array", "prefixItems": columns, "minItems": count, "maxItems": count}
        return {"anyOf": [columns[0], row]} if count == 1 else row
