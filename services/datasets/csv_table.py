"""Tables in CSV files (RFC 4180, UTF-8), read strictly: the columns that were announced, a full row on every line."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from services.errors import DataError

MAX_BYTES = 256 * 2**20
MAX_CELL = 10_000
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)

Records = np.ndarray[Any, Any]


@final
@dataclass(frozen=True)
class Cells:
    """The cells of a table as texts, column by column; `lines` says where each row stands in the file."""

    name: str
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lines)

    def numbers(self, column: str, missing: bool = False) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A column of finite numbers; with `missing`, an empty cell is NaN. DataError names the line."""
        cells = self.columns[column]
        for line, cell in zip(self.lines, cells, strict=True):
            if not (_NUMBER.fullmatch(cell) or (missing and not cell)):
                raise _broken(self.name, f"line {line} has {cell[:40]!r} in {column!r}, which is no number")
        values = np.array([float(cell) if cell else np.nan for cell in cells])
        if np.isinf(values).any():
            raise _broken(self.name, f"a number in {column!r} is too large")
        return values

    def words(self, column: str, known: Sequence[str], missing: bool = False) -> np.ndarray[Any, Any]:
        """A column of known words; with `missing`, a cell may be empty. DataError names the line."""
        for line, cell in zip(self.lines, self.columns[column], strict=True):
            if cell not in known and not (missing and not cell):
                raise _broken(self.name, f"line {line} has {cell[:40]!r} in {column!r}; known: {', '.join(known)}")
        return np.array(self.columns[column], dtype=f"<U{max(map(len, known))}")


def parse_csv(data: bytes, name: str, columns: Sequence[str], header: bool = True) -> Cells:
    """The table in `data`, whose columns are exactly `columns`; DataError says what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise _broken(name, f"it has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(name, f"byte {error.start} is not UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if len(row) != len(columns):
                what = f"line {reader.line_num} has {len(row)} cells instead of {len(columns)}"
                raise _broken(name, what)
            if max(map(len, row)) > MAX_CELL:
                raise _broken(name, f"line {reader.line_num} has a cell of more than {MAX_CELL:,} characters")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise _broken(name, f"line {reader.line_num}: {error}") from error
    if header:
        if not rows or rows[0] != list(columns):
            raise _broken(name, f"its first line does not name the columns {', '.join(columns)}")
        del rows[0], lines[0]
    if not rows:
        raise _broken(name, "it has no rows")
    return Cells(name, {column: [row[k] for row in rows] for k, column in enumerate(columns)}, lines)


def records(columns: dict[str, np.ndarray[Any, Any]]) -> Records:
    """Columns of equal length as NumPy records, one field each."""
    rows = len(next(iter(columns.values())))
    table = np.empty(rows, [(column, values.dtype) for column, values in columns.items()])
    for column, values in columns.items():
        table[column] = values
    return table


def _broken(name: str, what: str) -> DataError:
    return DataError(f"{name} is not the table that it should be: {what}.", hint="Get the file again.")
