"""Series: CSV tables with a column of regular times, cut into windows in order of time."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card
from services.datasets.options import Options
from services.datasets.series import Horizon, Stride, Window
from services.datasets.uploaded import cells
from services.datasets.uploaded.kind import Survey, Uploaded, changed, shown, spread, unknown
from services.datasets.uploaded.sheet import Sheet
from services.datasets.uploaded.timeline import Timeline, filled, gaps, timeline
from services.datasets.windows import Geometry, Windows, fits
from services.errors import DataError, Invalid, Mistake

MAX_COLUMNS = 256
"""Columns of numbers in a series."""
MAX_VALUES = 2**28
"""Numbers in a series, all columns and steps together."""
TIME_NAMES = ("time", "timestamp", "datetime", "date", "moment", "year", "month", "day", "hour", "ds", "t")
"""Names of columns that may count time in plain numbers."""
_LONGEST_WINDOW, _LONGEST_GAP, _SHOWN_STEPS = 96, 1_000, 50


@final
@dataclass(frozen=True)
class SeriesOptions(Options):
    """`window` steps of `target` (by default the last column that changes) and of the `covariates` are seen, and the
    next `horizon` steps of the target are forecast, from every `stride`th step of the train part. By default the window
    is 96 steps, or an eighth of a short series. `scaled`: in standard deviations of the train part; else in the units
    of the file. `season`: steps after which the series repeats, which makes a forecast to beat; by default a day, week
    or year where the steps are hours, days or months. `gaps`: missing steps are an `error`, or up to `longest_gap` of
    them in a row are filled by a straight line (`interpolate`)."""

    window: Window | None = None
    horizon: Horizon = 1
    stride: Stride = 1
    target: str | None = None
    covariates: tuple[str, ...] = ()
    scaled: bool = True
    season: Annotated[float, Interval(gt=1, le=100_000)] | None = None
    gaps: Literal["error", "interpolate"] = "error"
    longest_gap: Annotated[int, Interval(ge=1, le=_LONGEST_GAP)] = 3


@final
class Series(Uploaded):
    """An uploaded series. The last fifth is the test part."""

    kind = "series"
    docs = "A CSV table with a column of regular times and columns of numbers: forecasting."
    options_type = SeriesOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """The time axis, and every column of numbers with its gaps."""
        sheet = Sheet.open(file)
        table = _read(sheet)
        axis = timeline(table.moments, table.lines, table.dates, table.time)
        held = axis.steps * len(table.values)
        if held > MAX_VALUES:
            raise DataError(f"The series holds {held:,} numbers; at most {MAX_VALUES:,} are read.", hint="Shorten it.")
        lines = _lines_of_steps(axis, table.lines)
        columns = [
            {"name": name, **asdict(gaps(_spread(values, axis), lines)), "constant": bool(np.nanstd(values) == 0)}
            for name, values in table.values.items()
        ]
        count, unit = axis.label
        facts: dict[str, Any] = {
            "delimiter": sheet.delimiter,
            "header": list(sheet.header),
            "time": table.time,
            "dates": table.dates,
            "rows": len(table.moments),
            "steps": axis.steps,
            "step": {"count": count, "unit": unit},
            "season": axis.season,
            "columns": columns,
        }
        facts["suggested"] = _suggested(facts)
        return Survey(cls.kind, facts, _report(facts, table), shown(_samples(table)))

    def card_for(self, options: SeriesOptions) -> Card:
        """Counts of windows follow from the number of steps."""
        target, columns = self._columns(options)
        geometry = self._geometry(options)
        steps, test_from = self.facts["steps"], self._test_from
        count, unit = self.facts["step"]["count"], self.facts["step"]["unit"]
        card = Card(
            name=self.name,
            title=self.name,
            kind="series",
            tasks=("forecasting",),
            input_shape=(geometry.window, len(columns)),
            classes=None,
            target_names=tuple(f"{target} +{step * count:g} {unit}" for step in range(1, geometry.horizon + 1)),
            train=geometry.count(0, test_from),
            test=geometry.count(test_from, steps, 1),
            description=f"An uploaded series of {steps:,} steps of {count:g} {unit}. The last fifth is the test part.",
            source="upload",
            license="",
            parts="in_order",
            features=columns,
            gap=geometry.gap,
            season=options.season or self.facts["season"],
            target_feature=0,
        )
        return fits(geometry, card)

    @property
    def _test_from(self) -> int:
        return int(self.facts["steps"]) * 4 // 5

    def _geometry(self, options: SeriesOptions) -> Geometry:
        window = options.window or max(1, min(_LONGEST_WINDOW, self.facts["steps"] // 8))
        return Geometry(window, window, options.horizon, options.stride)

    def _columns(self, options: SeriesOptions) -> tuple[str, tuple[str, ...]]:
        known = {column["name"]: column for column in self.facts["columns"]}
        target = options.target or _default(self.facts["columns"])["name"]
        columns = (target, *options.covariates)
        mistakes: list[Mistake] = []
        for place, name in enumerate(columns):
            path = "dataset.target" if not place else f"dataset.covariates[{place - 1}]"
            if name not in known:
                message, hint = unknown("column of numbers", name, list(known))
                mistakes.append(Mistake(path, "unknown_column", message, hint))
            elif name in columns[:place]:
                mistakes.append(Mistake(path, "repeated", f"{name!r} is named twice", "Leave it out."))
            else:
                mistakes += _gap_mistakes(known[name], options)
        if mistakes:
            raise Invalid(mistakes)
        return target, columns

    def read_file(self, file: Path, options: SeriesOptions) -> Windows:
        """The columns asked for, at every step."""
        _, columns = self._columns(options)
        sheet = Sheet.open(file)
        if (sheet.delimiter, list(sheet.header)) != (self.facts["delimiter"], self.facts["header"]):
            raise changed(self.name)
        table = _read(sheet, columns)
        axis = timeline(table.moments, table.lines, table.dates, table.time)
        if (axis.steps, len(table.moments)) != (self.facts["steps"], self.facts["rows"]):
            raise changed(self.name)
        values = np.stack([filled(_spread(table.values[name], axis)) for name in columns], axis=1).astype(np.float32)
        if not np.isfinite(values).all():
            raise changed(self.name)
        ends = (self._test_from, self._test_from, axis.steps)
        return Windows(values, self._geometry(options), *ends, target=0, scaled=options.scaled)


@final
@dataclass(frozen=True)
class _Table:
    """The rows of a file: their moments, lines, and columns of numbers with NaN for gaps; texts are left out."""

    time: str
    dates: bool
    moments: Array
    lines: Array
    values: dict[str, Array]
    left_out: tuple[str, ...]


def _read(sheet: Sheet, wanted: tuple[str, ...] | None = None) -> _Table:
    time, dates = _time_column(sheet)
    names = [name for name in sheet.header if name != time and (wanted is None or name in wanted)]
    found: dict[str, list[Array]] = {name: [] for name in names}
    commas: dict[str, bool] = {}
    moments, lines = [], []
    for batch in sheet.batches():
        columns = dict(zip(sheet.header, batch.columns, strict=True))
        moments.append(_moments(columns[time], batch.lines, time, dates))
        lines.append(np.array(batch.lines))
        for name in list(found):
            texts = cells.column(columns[name])
            cells.refuse_infinite(texts, batch.lines, name)
            if not cells.are_numbers(texts):
                commas[name] = sheet.delimiter != "," and cells.are_numbers(texts, comma=True)
            if cells.are_numbers(texts, commas.get(name, False)):
                found[name].append(cells.numbers(texts, batch.lines, name, commas.get(name, False)))
            else:
                del found[name]
    if not moments:
        raise DataError("The series has a header and no rows.", hint="Upload the rows as well.")
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    values = {name: column for name, column in values.items() if not np.isnan(column).all()}
    if not values or len(values) > MAX_COLUMNS:
        message = f"The series has {len(values)} columns of numbers beside its time; 1 to {MAX_COLUMNS} are read."
        raise DataError(message, hint="A series needs a column of numbers to forecast.")
    left_out = tuple(name for name in names if name not in values)
    return _Table(time, dates, np.concatenate(moments), np.concatenate(lines), values, left_out)


def _time_column(sheet: Sheet) -> tuple[str, bool]:
    """The name of the first column of dates, or of numbers that count time; whether it is of dates."""
    batch = next(sheet.batches(), None)
    if batch is not None:
        texts = {name: cells.column(column) for name, column in zip(sheet.header, batch.columns, strict=True)}
        for name, column in texts.items():
            if column.null_count() < len(column) and cells.are_dates(column):
                return name, True
        for name, column in texts.items():
            if name.lower() in TIME_NAMES and not column.null_count() and cells.are_numbers(column):
                return name, False
    raise DataError(
        "The series has no column of times.",
        hint="Write times as 2024-02-29 or 2024-02-29T18:30:00, or call a column of numbers time.",
    )


def _moments(column: tuple[str, ...], lines: list[int], name: str, dates: bool) -> Array:
    texts = cells.column(column)
    if not dates:
        values = cells.numbers(texts, lines, name)
    else:
        values = cells.seconds(texts)
        offsets = cells.have_offset(texts)
        if offsets == "some":
            raise DataError(f"Some times in {name!r} have an offset and some have none.", hint="Use UTC for all.")
    if np.isnan(values).any():
        line = lines[int(np.isnan(values).argmax())]
        raise DataError(f"Line {line:,} has no good time in {name!r}.", hint="Every row of a series needs its time.")
    return values


def _spread(values: Array, axis: Timeline) -> Array:
    spread_out = np.full(axis.steps, np.nan)
    spread_out[axis.places] = values
    return spread_out


def _lines_of_steps(axis: Timeline, lines: Array) -> Array:
    """The line of each step, or that of the last row before it."""
    rows: Array = np.searchsorted(axis.places, np.arange(axis.steps), side="right") - 1
    found: Array = lines[rows]
    return found


def _gap_mistakes(found: Mapping[str, Any], options: SeriesOptions) -> list[Mistake]:
    name = found["name"]
    if not found["missing"]:
        return []
    if options.gaps == "error":
        message = f"{name!r} lacks {found['missing']:,} values, the first at or after line {found['line']:,}"
        hint = "Set gaps to interpolate, or fill them in the file."
        return [Mistake("dataset.gaps", "missing_values", message, hint)]
    if found["ends"]:
        message = f"{name!r} begins or ends with a gap, across which no line can be drawn"
        return [Mistake("dataset.gaps", "missing_values", message, "Remove these rows from the file.")]
    if found["longest"] > options.longest_gap:
        message = f"{name!r} lacks {found['longest']:,} values in a row at or after line {found['longest_line']:,}"
        hint = f"At most {options.longest_gap} are filled: raise longest_gap, or fill them in the file."
        return [Mistake("dataset.longest_gap", "too_long", message, hint)]
    return []


def _default(columns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last column that changes."""
    return next((column for column in reversed(columns) if not column["constant"]), columns[-1])


def _suggested(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Options under which there is a card: a target without gaps, else with those that can be filled."""
    columns: list[dict[str, Any]] = facts["columns"]
    if not _default(columns)["missing"]:
        return {}
    if whole := [column for column in columns if not column["missing"]]:
        return {"target": _default(whole)["name"]}
    able = [column for column in columns if not column["ends"] and column["longest"] <= _LONGEST_GAP]
    if not able:
        message = "All columns of numbers begin or end with gaps, or have very long ones."
        raise DataError(message, hint="Remove these rows from the file.")
    best = min(reversed(able), key=lambda column: column["longest"])
    longest = max(SeriesOptions.longest_gap, best["longest"])
    return {"target": best["name"], "gaps": "interpolate", "longest_gap": longest}


def _report(facts: Mapping[str, Any], table: _Table) -> dict[str, Any]:
    columns = facts["columns"]
    missing = {column["name"]: column["missing"] for column in columns if column["missing"]}
    said = [f"{name!r} holds no numbers and is left out." for name in table.left_out]
    if (steps := facts["steps"] - facts["rows"]) > 0:
        said.append(f"{steps:,} steps have no row.")
    said += [
        f"{c['name']!r} lacks {c['missing']:,} values, at most {c['longest']:,} in a row, the first at or after line "
        f"{c['line']:,}."
        for c in columns
        if c["missing"]
    ]
    return {
        "rows": facts["rows"],
        "steps": facts["steps"],
        "step": facts["step"],
        "time": facts["time"],
        "first": _shown_moment(table, 0),
        "last": _shown_moment(table, -1),
        "season": facts["season"],
        "columns": [{"name": name, **_moments_of(values)} for name, values in table.values.items()],
        "classes": None,
        "majority": None,
        "missing": missing,
        "corrupt": [],
        "duplicates": 0,
        "warnings": said,
    }


def _moments_of(values: Array) -> dict[str, float]:
    return {
        "min": float(np.nanmin(values)),
        "max": float(np.nanmax(values)),
        "mean": float(np.nanmean(values)),
        "deviation": float(np.nanstd(values)),
    }


def _shown_moment(table: _Table, row: int) -> str | float:
    moment = float(table.moments[row])
    return str(np.datetime64(round(moment * 1000), "ms").astype("datetime64[s]")) if table.dates else moment


def _samples(table: _Table) -> list[dict[str, Any]]:
    name = next(reversed(table.values))
    values = table.values[name]
    found = []
    for start in spread(max(1, len(values) - _SHOWN_STEPS), 6):
        steps = [None if np.isnan(value) else float(value) for value in values[start : start + _SHOWN_STEPS + 1]]
        found.append({"x": steps[:-1], "y": steps[-1]})
    return found
