"""What there is to know about a table's columns after one pass over its rows, in memory that does not grow."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from services.datasets.base import Array
from services.datasets.uploaded import cells
from services.datasets.uploaded.kind import MAX_CLASSES
from services.datasets.uploaded.sheet import Batch, Sheet
from services.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MAX_CATEGORIES = MAX_CLASSES
"""Different values of a column of categories."""
MAX_WHOLE_NUMBERS = 256
"""Different whole numbers of a column that may be classes."""
MAX_CATEGORY = 200
"""Characters of a category."""
MAX_COMPARED = 1_000_000
"""Rows that are compared with each other to find repeated ones."""
MAX_VALUES = 50_000
"""Different values of all columns of categories together."""
MAX_PATTERNS = 10_000
"""Different sets of missing cells in a row that are counted one by one."""
MAX_PATTERN_CELLS = 4_000_000
"""Cells of these sets: as many bits are kept of a table."""
FEW = 20
"""So many different values are categories whether or not they repeat."""
_ID_ROWS = 10


@final
class Column:
    """One column: which types still fit all of its cells, its values while they are few, its moments."""

    def __init__(self, name: str, comma: bool) -> None:
        """Before any cell is seen."""
        self.name, self.comma_allowed = name, comma
        self.rows = self.missing = 0
        self.number = self.comma = self.date = True
        self.clock = False
        self.offsets: set[str] = set()
        self.values: Counter[str] | None = Counter()
        self.longest = 0
        self.low, self.high, self.mean, self.squares = np.inf, -np.inf, 0.0, 0.0
        self.whole = self.consecutive = True
        self.last: float | None = None

    def take(self, texts: "pl.Series", lines: Sequence[int]) -> None:
        """Look at the next cells; DataError for cells that no table should hold."""
        present = texts.drop_nulls()
        self.rows += len(texts)
        self.missing += texts.null_count()
        if not len(present):
            return
        self.number = self.number and cells.are_numbers(present)
        if not self.number:
            cells.refuse_infinite(texts, lines, self.name)
        self.comma = self.comma and self.comma_allowed and cells.are_numbers(present, comma=True)
        self.date = self.date and not (self.number or self.comma) and self._dates(present)
        if self.number or self.comma:
            self._measure(cells.numbers(texts, lines, self.name, comma=not self.number, checked=True))
        else:
            cells.refuse_control(texts, lines, self.name)
            self.longest = max(self.longest, int(np.max(present.str.len_chars().to_numpy())))
        self._count(present)

    def _dates(self, present: "pl.Series") -> bool:
        if not cells.are_dates(present):
            return False
        self.clock = self.clock or cells.have_clock(present)
        self.offsets.add(cells.have_offset(present))
        return True

    def _measure(self, values: Array) -> None:
        known = values[~np.isnan(values)]
        before = self.rows - self.missing - len(known)
        total, mean = before + len(known), float(known.mean())
        self.squares += float(np.square(known - mean).sum()) + (mean - self.mean) ** 2 * before * len(known) / total
        self.mean += (mean - self.mean) * len(known) / total
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        self.whole = self.whole and bool((known == np.floor(known)).all())
        steps = np.diff(known if self.last is None else np.concatenate([[self.last], known]))
        self.consecutive = self.consecutive and bool((steps == 1).all())
        self.last = float(known[-1])

    def _count(self, present: "pl.Series") -> None:
        if self.values is None:
            return
        found = present.value_counts(sort=False)
        self.values.update(dict(zip(found.to_series(0).to_list(), found.to_series(1).to_list(), strict=True)))
        if len(self.values) > MAX_CATEGORIES:
            self.values = None

    def facts(self) -> dict[str, Any]:
        """What was found, as plain JSON."""
        kind = self._type()
        found: dict[str, Any] = {"name": self.name, "type": kind, "missing": self.missing}
        values = self._values(kind)
        if kind == "number":
            spread = (self.squares / max(1, self.rows - self.missing)) ** 0.5
            found |= {"min": self.low, "max": self.high, "mean": self.mean, "deviation": spread, "whole": self.whole}
            found |= {"comma": True} if not self.number else {}
        if kind == "date":
            found["clock"] = self.clock
        flags = self._flags(kind)
        return found | {"values": None if "id_like" in flags and kind == "number" else values, "flags": flags}

    def _type(self) -> cells.Type:
        present = self.rows - self.missing
        if not present:
            return "text"
        if self.number or self.comma:
            return "number"
        if self.date and self.offsets in ({"all"}, {"none"}):
            return "date"
        if self.values is None or self.longest > MAX_CATEGORY:
            return "text"
        if tuple(sorted(value.lower() for value in self.values)) in cells.TRUTHS:
            return "bool"
        return "category" if len(self.values) <= FEW or 2 * len(self.values) <= present else "text"

    def _values(self, kind: cells.Type) -> dict[str, int] | None:
        if self.values is None or kind in {"text", "date"} or (kind == "number" and not self.whole):
            return None
        if kind != "number":
            return dict(sorted(self.values.items(), key=lambda item: (-item[1], item[0])))
        merged: Counter[int] = Counter()
        for text, count in self.values.items():
            merged[int(float(text.replace(",", ".") if self.comma else text))] += count
        return {str(value): n for value, n in sorted(merged.items())} if len(merged) <= MAX_WHOLE_NUMBERS else None

    def _flags(self, kind: cells.Type) -> list[str]:
        present = self.rows - self.missing
        if not present:
            return ["empty"]
        if self.values is not None and len(self.values) == 1:
            return ["constant"]
        different = self.values is not None and len(self.values) == present
        words = kind in {"text", "category"} and different
        if present >= _ID_ROWS and (words or (kind == "number" and self.whole and self.consecutive)):
            return ["id_like"]
        return []


@final
class Tally:
    """All columns, which cells are missing together, and rows that repeat an earlier one."""

    def __init__(self, sheet: Sheet) -> None:
        """Read the whole sheet; DataError says what is wrong with it."""
        self.columns = [Column(name, sheet.delimiter != ",") for name in sheet.header]
        self.rows = self.duplicates = 0
        self.patterns: Counter[bytes] | None = Counter()
        self._seen: set[int] = set()
        for batch in sheet.batches():
            self._take(batch)
        if not self.rows:
            raise DataError("The table has a header and no rows.", hint="Upload the rows as well.")

    def _take(self, batch: Batch) -> None:
        missing = np.empty((len(batch), len(self.columns)), np.bool_)
        hashes: Array = np.zeros(len(batch), np.uint64)
        for number, column in enumerate(self.columns):
            texts = cells.column(batch.columns[number])
            column.take(texts, batch.lines)
            missing[:, number] = texts.is_null().to_numpy()
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + texts.hash(seed=number).to_numpy()
        self.rows += len(batch)
        self._count_patterns(missing)
        if self.rows <= MAX_COMPARED:
            before = len(self._seen)
            self._seen.update(hashes.tolist())
            self.duplicates += len(batch) - (len(self._seen) - before)

    def _count_patterns(self, missing: Array) -> None:
        if self.patterns is None:
            return
        packed = np.packbits(missing, axis=1)
        rows, counts = np.unique(packed, axis=0, return_counts=True)
        self.patterns.update({row.tobytes(): int(count) for row, count in zip(rows, counts, strict=True)})
        if len(self.patterns) > MAX_PATTERNS:
            self.patterns = None

    def facts(self) -> dict[str, Any]:
        """Rows, columns and the patterns of gaps (hexadecimal, a bit for each column from the left), as plain JSON."""
        patterns = None if self.patterns is None else [[key.hex(), n] for key, n in self.patterns.most_common()]
        if patterns is not None and len(patterns) * len(self.columns) > MAX_PATTERN_CELLS:
            patterns = None
        columns = [column.facts() for column in self.columns]
        if (values := sum(len(column["values"] or ()) for column in columns)) > MAX_VALUES:
            message = f"The columns of categories hold {values:,} different values; at most {MAX_VALUES:,} are read."
            raise DataError(message, hint="Leave out columns that say nothing about the target.")
        return {"rows": self.rows, "columns": columns, "patterns": patterns}
