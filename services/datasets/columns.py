"""Tables with gaps, words and dates in them as plain numbers: medians or means for gaps, a column of 0 and 1 for each
category, the parts of a date.

Categories are declared, so the width of a row is known before anything is loaded; medians and means are learnt from
the train part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

import numpy as np
import numpy.typing as npt

from services.datasets.dates import Moment, gaps_filled
from services.datasets.encoding import Array, Encoder, collect
from services.errors import Invalid, Mistake, did_you_mean

_LARGEST = float(np.finfo(np.float32).max)


@final
@dataclass(frozen=True)
class Column:
    """A column of numbers, or of one of `categories`. A missing number becomes `fill`, the train part's median or mean
    (`method`), and with `flag` a further column says 1 there; a missing category is 0 for every category. With
    `other`, a further column says 1 for whatever is none of the categories.

    Cells are numbers and NaN, texts and "", or (made by a parser) categories by their number and -1."""

    name: str
    categories: tuple[str, ...] | None = None
    flag: bool = False
    fill: float | None = None
    method: Literal["median", "mean"] = "median"
    other: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the numbers that it becomes."""
        if self.categories is not None:
            return tuple(f"{self.name}: {category}" for category in (*self.categories, *["other"] * self.other))
        return (self.name, f"{self.name} missing") if self.flag else (self.name,)

    @property
    def dtype(self) -> str:
        """How the cells of a request are held."""
        return "<f8" if self.categories is None else "<U256"

    def fit(self, cells: Array) -> "Column":
        """The column with the median or mean of the cells that are there (0 where none is)."""
        if self.categories is not None or self.fill is not None:
            return self
        return replace(self, fill=gaps_filled(cells, self.method))

    def encode(self, cells: Array) -> npt.NDArray[np.float64]:
        """Numbers (n, features)."""
        if self.categories is not None:
            numbers = cells if cells.dtype.kind == "i" else self._numbers(cells)
            ones: npt.NDArray[np.float64] = (numbers[:, np.newaxis] == np.arange(len(self.features))).astype(np.float64)
            return ones
        if self.fill is None:
            raise ValueError("fit the columns before using them")
        missing = np.isnan(cells)
        filled = np.where(missing, self.fill, cells)
        return np.stack([filled, missing], axis=1) if self.flag else filled[:, np.newaxis]

    def _numbers(self, cells: Array) -> Array:
        numbers = np.full(len(cells), len(self.categories or ()) if self.other else -1, np.int32)
        numbers[cells == ""] = -1
        for number, category in enumerate(self.categories or ()):
            numbers[cells == category] = number
        return numbers

    def cell(self, value: Any, path: str) -> float | str:
        """A cell of a request: a finite number, a known category, or null where nothing is known."""
        if self.categories is None:
            return _number(value, path)
        if isinstance(value, bool):
            value = next((c for c in self.categories if c.lower() == str(value).lower()), value)
        if value is None or value in self.categories or (self.other and isinstance(value, str)):
            return value or ""
        hint = did_you_mean(str(value), self.categories)
        raise Invalid([Mistake(path, "unknown_category", f"{self.name} is never {value!r}", hint)])

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a cell."""
        if self.categories is None:
            return {"type": ["number", "null"]}
        return {"type": ["string", "null"]} if self.other else {"enum": [*self.categories, None]}


@final
@dataclass(frozen=True)
class TableEncoding(Encoder):
    """The columns of a table, in order, as one row of numbers. Rows are NumPy records with a field for each column."""

    type: ClassVar[str] = "table"
    columns: tuple[Column | Moment, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of a row's numbers."""
        return tuple(name for column in self.columns for name in column.features)

    def fit(self, rows: Array) -> Self:
        """Learn what gaps are filled with."""
        return type(self)(tuple(column.fit(rows[column.name]) for column in self.columns))

    def encode(self, rows: Array) -> Array:
        """float32 (n, features)."""
        parts = [column.encode(rows[column.name]) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def rows(self, inputs: Sequence[Any]) -> Array:
        """Rows as lists in the columns' order, or as objects by name, in which a missing key is a missing cell."""
        cells = collect(inputs, self._row)
        return np.array(cells, [(c.name, c.dtype) for c in self.columns])

    def _row(self, number: int, row: Any) -> tuple[float | str, ...]:
        path = f"inputs[{number}]"
        named = self._named(row, path)
        return tuple(collect(self.columns, lambda _, c: c.cell(named.get(c.name), f"{path}.{c.name}")))

    def _named(self, row: Any, path: str) -> Mapping[str, Any]:
        names = [column.name for column in self.columns]
        if isinstance(row, Mapping):
            if strange := [key for key in row if key not in names]:
                raise Invalid([
                    Mistake(f"{path}.{key}", "unknown_key", f"there is no column {key!r}", did_you_mean(key, names))
                    for key in strange
                ])  # fmt: skip
            return row
        if not isinstance(row, list | tuple) or len(row) != len(names):
            message = f"a row is an object, or a list of {len(names)} cells: {', '.join(names)}"
            raise Invalid([Mistake(path, "shape", message)])
        return dict(zip(names, row, strict=True))

    def row_schema(self) -> dict[str, Any]:
        """An object with a cell for each column; null, or no key, where nothing is known."""
        cells = {column.name: column.schema() for column in self.columns}
        return {"type": "object", "properties": cells, "additionalProperties": False}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "TableEncoding":
        """Columns are objects there."""
        return cls(tuple(_column(column) for column in fields["columns"]))


def _column(fields: Mapping[str, Any]) -> Column | Moment:
    if "clock" in fields:
        return Moment(**fields)
    categories = fields.get("categories")
    return Column(**{**fields, "categories": None if categories is None else tuple(categories)})


def _number(value: Any, path: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise Invalid([Mistake(path, "not_a_number", "a finite number is needed, or null")])
    return float(value)
