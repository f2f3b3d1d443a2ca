"""Moments of a series: how far apart they are, whether they are regular, and where some are missing."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from services.datasets.base import Array
from services.errors import DataError

Unit = Literal["seconds", "months", "steps"]
_DAY = 86_400
_UNITS = ((604_800, "w"), (_DAY, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SEASONS = {("seconds", 3_600): 24, ("seconds", 1_800): 48, ("seconds", 900): 96, ("seconds", 600): 144}
_SEASONS |= {("seconds", _DAY): 7, ("seconds", 7 * _DAY): 52, ("months", 1): 12, ("months", 3): 4}
_TOLERANCE = 1e-3


@final
@dataclass(frozen=True)
class Timeline:
    """A regular time axis of `steps` steps, `count` units apart; `places` says on which step each row lies."""

    unit: Unit
    count: float
    steps: int
    places: Array

    @property
    def season(self) -> int | None:
        """The number of steps after which such series usually repeat: a day, a week, a year."""
        return _SEASONS.get((self.unit, int(self.count)))

    @property
    def label(self) -> tuple[float, str]:
        """How long a step is: a number and its unit."""
        if self.unit == "months":
            return self.count, "months"
        if self.unit == "steps":
            return 1, "steps"
        size, name = next(((size, name) for size, name in _UNITS if self.count % size == 0), (1, "s"))
        return self.count / size, name


def timeline(moments: Array, lines: Array, dates: bool, column: str) -> Timeline:
    """The time axis of rows at `moments` (seconds of dates, or numbers); DataError names the line that breaks it."""
    if len(moments) < 3:
        raise DataError(
            f"The series has {len(moments)} rows.", hint="A series needs at least 3; useful ones have more."
        )
    differences = np.diff(moments)
    if (back := np.flatnonzero(differences <= 0)).size:
        line = int(lines[back[0] + 1])
        same = differences[back[0]] == 0
        said = "has the same time as the row before" if same else "lies before the row above it"
        hint = "Sort the rows by time and keep one for each; local time repeats an hour in autumn, UTC does not."
        raise DataError(f"Line {line:,} {said} ({column!r}).", hint=hint)
    if dates and (found := _monthly(moments)) is not None:
        numbers, unit = found, "months"
    else:
        numbers, unit = moments - moments[0], "seconds" if dates else "steps"
    return _regular(numbers, lines, "months" if unit == "months" else "seconds" if dates else "steps", column)


def _monthly(moments: Array) -> Array | None:
    """Whole months since the first moment, where all are the first day of a month at one time of day."""
    days = np.floor_divide(moments, _DAY).astype(np.int64).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    if (days != months.astype("datetime64[D]")).any() or np.ptp(moments % _DAY):
        return None
    numbers = months.astype(np.int64)
    since: Array = (numbers - numbers[0]).astype(np.float64)
    return since


def _regular(numbers: Array, lines: Array, unit: Unit, column: str) -> Timeline:
    values, counts = np.unique(np.round(np.diff(numbers), 6), return_counts=True)
    count = float(values[counts.argmax()])
    exact = numbers / count
    places = np.rint(exact).astype(np.int64)
    off = np.flatnonzero(np.abs(exact - places) > _TOLERANCE)
    if off.size:
        raise DataError(
            f"Line {int(lines[off[0]]):,} is out of step: {column!r} goes on by {count:g} {unit} in general, and there "
            f"by {numbers[off[0]] - numbers[off[0] - 1]:g}.",
            hint="Bring the series to regular steps; gaps of whole steps may stay.",
        )
    steps = int(places[-1]) + 1
    if steps > 2 * len(numbers):
        message = f"The series has {len(numbers):,} rows in {steps:,} steps of {count:g} {unit}: most are missing."
        raise DataError(message, hint="Bring the series to regular steps, or upload a denser part of it.")
    return Timeline(unit, count, steps, places)


@final
@dataclass(frozen=True)
class Gaps:
    """Missing values of one column: how many steps, the longest run of them, where it begins, and whether some stand
    at an end, where nothing lies on one of their sides. Lines are those of the row before."""

    missing: int
    longest: int
    line: int
    longest_line: int
    ends: bool


def gaps(values: Array, lines: Array) -> Gaps:
    """The gaps of `values` (NaN), where `lines` has the line of each step, or that of the last row before."""
    missing = np.isnan(values)
    edges = np.diff(np.concatenate([[0], missing.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(begins):
        return Gaps(0, 0, 0, 0, False)
    longest = int((ends - begins).argmax())
    return Gaps(
        int(missing.sum()),
        int((ends - begins)[longest]),
        int(lines[begins[0]]),
        int(lines[begins[longest]]),
        bool(missing[0] or missing[-1]),
    )


def filled(values: Array) -> Array:
    """The values with straight lines across their gaps."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    steps = np.arange(len(values))
    joined = values.copy()
    joined[missing] = np.interp(steps[missing], steps[~missing], values[~missing])
    return joined
