"""Dates and times of day in a table: seconds since 1970 in a file's own time, and the numbers made of them."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from services.datasets.encoding import Array
from services.errors import Invalid, Mistake

_EPOCH = datetime(1970, 1, 1)
_DAY = 86_400
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@final
@dataclass(frozen=True)
class Moment:
    """A column of dates: its year, month, day and weekday (Monday = 0), and with `clock` the seconds since midnight.
    A missing date becomes `fill`, the median or mean date of the train part.

    Cells are seconds since 1970-01-01 and NaN."""

    name: str
    clock: bool
    fill: float | None = None
    method: Literal["median", "mean"] = "median"

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the numbers that it becomes."""
        parts = ("year", "month", "day", "weekday", "seconds")
        return tuple(f"{self.name}: {part}" for part in parts[: 5 if self.clock else 4])

    @property
    def dtype(self) -> str:
        """How the cells of a request are held."""
        return "<f8"

    def fit(self, cells: Array) -> "Moment":
        """The column with the date that stands for missing ones."""
        return self if self.fill is not None else replace(self, fill=gaps_filled(cells, self.method))

    def encode(self, cells: Array) -> npt.NDArray[np.float64]:
        """Numbers (n, features)."""
        if self.fill is None:
            raise ValueError("fit the columns before using them")
        seconds = np.where(np.isnan(cells), self.fill, cells)
        days = np.floor_divide(seconds, _DAY).astype(np.int64)
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        numbers = [
            dates.astype("datetime64[Y]").astype(np.int64) + 1970,
            months.astype(np.int64) % 12 + 1,
            (dates - months).astype(np.int64) + 1,
            (days + 3) % 7,
            seconds - days * float(_DAY),
        ]
        return np.stack(numbers[: len(self.features)], axis=1).astype(np.float64)

    def cell(self, value: Any, path: str) -> float:
        """A cell of a request: an ISO 8601 date or time, or null where nothing is known."""
        if value is None:
            return float("nan")
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                return seconds_since_1970(datetime.fromisoformat(value))
            except (ValueError, OverflowError):
                pass
        message = "a date such as 2024-02-29 is needed, or 2024-02-29T18:30:00, or null"
        raise Invalid([Mistake(path, "not_a_date", message)])

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a cell."""
        return {
            "type": ["string", "null"],
            "description": "An ISO 8601 date or time.",
            "pattern": f"^({_DATE.pattern})$",
        }


def seconds_since_1970(moment: datetime) -> float:
    """A moment as seconds: with an offset in universal time, else as the clock says."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) / timedelta(seconds=1)


def gaps_filled(cells: Array, method: Literal["median", "mean"]) -> float:
    """What a gap in a column becomes: the median or the mean of the numbers that are there, 0 where none is."""
    known = cells[np.isfinite(cells)]
    if not len(known):
        return 0.0
    return float(np.median(known) if method == "median" else known.mean())
