"""Tables: CSV files with a header, a column to predict, and columns of numbers, categories, truths and dates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
from annotated_types import Interval

from services.datasets.base import Array, Card, Raw
from services.datasets.columns import Column, TableEncoding
from services.datasets.dates import Moment
from services.datasets.options import Options
from services.datasets.uploaded import cells
from services.datasets.uploaded.kind import MAX_CONTENT_BYTES, Survey, Uploaded, changed, cut, majority, shown, unknown
from services.datasets.uploaded.sheet import Batch, Sheet
from services.datasets.uploaded.tally import FEW, Tally
from services.errors import DataError, Invalid, Mistake

_SHOWN_CELL = 200
_ALL_CLASSES_UP_TO = FEW


@final
@dataclass(frozen=True)
class TableOptions(Options):
    """`target`: the column to predict, by default the last one that can be. `task`: what it is, a class or a value;
    by default a class where the column holds categories, truths or few different whole numbers. `features`: the
    columns to predict it from; by default all but texts, constants and row numbers. `missing`: numbers and dates that
    are missing become the `median` or `mean` of the train part; or rows with gaps are dropped (`drop`); or a gap is an
    `error`. `categories`: the most frequent so many of a column's categories get an input each, all others one
    together."""

    target: str | None = None
    task: Literal["classification", "regression"] | None = None
    features: tuple[str, ...] | None = None
    missing: Literal["median", "mean", "drop", "error"] = "median"
    categories: Annotated[int, Interval(ge=2, le=1000)] = 32


@final
@dataclass(frozen=True)
class _Choice:
    """What options mean for this table."""

    target: Mapping[str, Any]
    task: Literal["classification", "regression"]
    features: tuple[Mapping[str, Any], ...]
    rows: int


@final
class Table(Uploaded):
    """An uploaded CSV table."""

    kind = "table"
    docs = "A CSV table with a header (UTF-8; commas, semicolons or tabs): classification or regression."
    options_type = TableOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """Types, gaps, categories and repeated rows."""
        sheet = Sheet.open(file)
        tally = Tally(sheet)
        facts = {"delimiter": sheet.delimiter, **tally.facts()}
        if not any(map(_can_be_target, facts["columns"])):
            message = "No column can be predicted: all are empty, texts, dates or always the same."
            raise DataError(message, hint="A table needs a column of numbers or categories to predict.")
        choice = cls("table", facts, file)._choice(TableOptions())
        return Survey(cls.kind, facts, _report(facts, choice, tally.duplicates), _samples(sheet, choice))

    def card_for(self, options: TableOptions) -> Card:
        """Columns, classes and counts follow from the facts."""
        choice = self._choice(options)
        encoding = self._encoding(choice, options)
        features = encoding.features
        held = choice.rows * len(features) * 4
        if held > MAX_CONTENT_BYTES:
            message = (
                f"{choice.rows:,} rows of {len(features):,} inputs need {held:,} bytes, more than {MAX_CONTENT_BYTES:,}"
            )
            raise Invalid([Mistake("dataset.features", "too_many", message, "Choose fewer features or categories.")])
        train, test = cut(choice.rows)
        return Card(
            name=self.name,
            title=self.name,
            kind="table",
            tasks=(choice.task,),
            input_shape=(len(features),),
            classes=tuple(_classes(choice.target)) if choice.task == "classification" else None,
            target_names=(choice.target["name"],),
            train=train,
            test=test,
            description=f"An uploaded table of {self.facts['rows']:,} rows; {choice.rows:,} of them are used.",
            source="upload",
            license="",
            features=features,
        )

    def read_file(self, file: Path, options: TableOptions) -> Raw:
        """The rows that are used, in the file's order, with their gaps."""
        choice = self._choice(options)
        encoding = self._encoding(choice, options)
        sheet = Sheet.open(file)
        if (sheet.delimiter, list(sheet.header)) != (self.facts["delimiter"], [c["name"] for c in self._columns]):
            raise changed(self.name)
        x = _records(choice.rows, encoding)
        y: Array = np.empty(choice.rows, np.int32 if choice.task == "classification" else np.float32)
        filled = 0
        for batch in sheet.batches():
            rows, targets = self._rows(batch, encoding, choice, options)
            if filled + len(rows) > choice.rows:
                raise changed(self.name)
            x[filled : filled + len(rows)], y[filled : filled + len(rows)] = rows, targets
            filled += len(rows)
        if filled != choice.rows:
            raise changed(self.name)
        return Raw(x, y if choice.task == "classification" else y.reshape(-1, 1), encoder=encoding)

    def _rows(
        self, batch: Batch, encoding: TableEncoding, choice: _Choice, options: TableOptions
    ) -> tuple[Array, Array]:
        places = {column["name"]: number for number, column in enumerate(self._columns)}
        texts = {
            name: cells.column(batch.columns[places[name]])
            for name in (choice.target["name"], *(column.name for column in encoding.columns))
        }
        target = texts[choice.target["name"]]
        kept: Array = ~target.is_null().to_numpy()
        if options.missing == "drop":
            for column in encoding.columns:
                kept &= ~texts[column.name].is_null().to_numpy()
        rows = _records(int(kept.sum()), encoding)
        for column in encoding.columns:
            fact = self._column(column.name)
            rows[column.name] = _values(texts[column.name], batch.lines, fact, column)[kept]
        if choice.task == "regression":
            values = cells.numbers(target, batch.lines, choice.target["name"], "comma" in choice.target)
            return rows, values[kept].astype(np.float32)
        return rows, self._classes(target, batch.lines, choice.target)[kept]

    def _classes(self, texts: Any, lines: Sequence[int], target: Mapping[str, Any]) -> Array:
        classes = list(_classes(target))
        if target["type"] != "number":
            return cells.codes(texts, classes)
        values = cells.numbers(texts, lines, target["name"], "comma" in target)
        known = np.array([float(name) for name in classes])
        order = np.argsort(known)
        places = np.minimum(np.searchsorted(known[order], np.nan_to_num(values)), len(known) - 1)
        return order[places].astype(np.int32)

    # --- what options mean --------------------------------------------------------------------------------------------

    @cached_property
    def _columns(self) -> list[Mapping[str, Any]]:
        return list(self.facts["columns"])

    def _column(self, name: str) -> Mapping[str, Any]:
        return next(column for column in self._columns if column["name"] == name)

    def _choice(self, options: TableOptions) -> _Choice:
        target = self._target(options)
        task = self._task(target, options)
        features = self._features(target, options)
        rows = self._rows_left(target, features, options)
        if rows < 2:
            message = f"leaves {rows} of {self.facts['rows']:,} rows"
            raise Invalid([Mistake("dataset.missing", "empty", message, "Choose another target, features or missing.")])
        return _Choice(target, task, features, rows)

    def _target(self, options: TableOptions) -> Mapping[str, Any]:
        able = [column for column in self._columns if _can_be_target(column)]
        if options.target is None:
            return [*able, *(column for column in able if not column["flags"])][-1]
        found = next((column for column in self._columns if column["name"] == options.target), None)
        if found is None:
            message, hint = unknown("column", options.target, [column["name"] for column in able])
            raise Invalid([Mistake("dataset.target", "unknown_column", message, hint)])
        if not _can_be_target(found):
            message = f"{options.target!r} cannot be predicted: it is {_described(found)}"
            raise Invalid([Mistake("dataset.target", "target_unfit", message, f"Known: {_names(able)}.")])
        return found

    @staticmethod
    def _task(target: Mapping[str, Any], options: TableOptions) -> Literal["classification", "regression"]:
        number, values = target["type"] == "number", target["values"]
        if options.task == "regression" and not number:
            message = f"{target['name']!r} holds no numbers"
            raise Invalid([Mistake("dataset.task", "task_unfit", message, "Use classification.")])
        if options.task == "classification" and values is None:
            message = f"{target['name']!r} holds more than whole numbers, or too many different ones to be classes"
            raise Invalid([Mistake("dataset.task", "task_unfit", message, "Use regression.")])
        if options.task is not None:
            return options.task
        classes = not number or (values is not None and len(values) <= _ALL_CLASSES_UP_TO)
        return "classification" if classes else "regression"

    def _features(self, target: Mapping[str, Any], options: TableOptions) -> tuple[Mapping[str, Any], ...]:
        others = [column for column in self._columns if column is not target and _can_be_feature(column)]
        sensible = [column for column in others if not column["flags"]]
        if options.features is None:
            if others:
                return tuple(sensible or others)
            message = "no column is left to predict from: all are empty or texts"
            raise Invalid([Mistake("dataset.features", "empty", message, "Upload a table with more columns.")])
        mistakes = self._unfit(options.features, target, [column["name"] for column in others])
        if mistakes:
            raise Invalid(mistakes)
        return tuple(self._column(name) for name in options.features)

    def _unfit(self, names: Sequence[str], target: Mapping[str, Any], able: list[str]) -> list[Mistake]:
        if not names:
            return [Mistake("dataset.features", "empty", "names no column", f"Known: {', '.join(able)}.")]
        found: list[Mistake] = []
        for place, name in enumerate(names):
            if name in able and name not in names[:place]:
                continue
            message, hint = unknown("column", name, able)
            if name == target["name"]:
                message = f"{name!r} is the target"
            elif name in names[:place]:
                message = f"{name!r} is named twice"
            elif column := next((c for c in self._columns if c["name"] == name), None):
                message = f"{name!r} cannot be an input: it is {_described(column)}"
            found.append(Mistake(f"dataset.features[{place}]", "feature_unfit", message, hint))
        return found

    def _rows_left(
        self, target: Mapping[str, Any], features: Sequence[Mapping[str, Any]], options: TableOptions
    ) -> int:
        rows = int(self.facts["rows"]) - int(target["missing"])
        gaps = [column for column in features if column["missing"]]
        if options.missing == "error" and gaps:
            message = "; ".join(f"{column['name']!r} lacks {column['missing']:,} values" for column in gaps)
            raise Invalid([Mistake("dataset.missing", "missing_values", message, "Use median, mean or drop.")])
        if options.missing != "drop" or not gaps:
            return rows
        if self.facts["patterns"] is None:
            message = "the gaps of this table are too many to be counted row by row"
            raise Invalid([Mistake("dataset.missing", "too_many", message, "Use median or mean.")])
        used = {column["name"] for column in (target, *features)}
        mask = np.array([column["name"] in used for column in self._columns])
        # Without one missing cell among those that are used.
        return sum(count for pattern, count in self.facts["patterns"] if not (_bits(pattern, len(mask)) & mask).any())

    def _encoding(self, choice: _Choice, options: TableOptions) -> TableEncoding:
        return TableEncoding(tuple(_encoder(column, options) for column in choice.features))


def _encoder(column: Mapping[str, Any], options: TableOptions) -> Column | Moment:
    method: Literal["median", "mean"] = "mean" if options.missing == "mean" else "median"
    name = column["name"]
    match column["type"]:
        case "number":
            return Column(name, method=method)
        case "date":
            return Moment(name, column["clock"], method=method)
    values = sorted(column["values"], key=lambda value: (-column["values"][value], value))
    if len(values) > options.categories:
        return Column(name, tuple(values[: options.categories - 1]), other=True)
    return Column(name, tuple(sorted(values)))


def _classes(target: Mapping[str, Any]) -> dict[str, int]:
    """How many rows each class has, in the order of their numbers: by value, or by the alphabet."""
    values: dict[str, int] = target["values"]
    number = target["type"] == "number"
    return dict(sorted(values.items(), key=lambda item: (int(item[0]) if number else 0, item[0])))


def _records(rows: int, encoding: TableEncoding) -> Array:
    # Categories by their numbers: texts of fixed width would take far more room.
    numbered = [isinstance(column, Column) and column.categories is not None for column in encoding.columns]
    kinds = [(c.name, "<i4" if number else "<f8") for c, number in zip(encoding.columns, numbered, strict=True)]
    return np.empty(rows, kinds)


def _values(texts: Any, lines: Sequence[int], fact: Mapping[str, Any], column: Column | Moment) -> Array:
    if isinstance(column, Moment):
        return cells.seconds(texts)
    if column.categories is not None:
        return cells.codes(texts, column.categories, column.other)
    return cells.numbers(texts, lines, column.name, "comma" in fact)


def _bits(pattern: str, columns: int) -> Array:
    bits: Array = np.unpackbits(np.frombuffer(bytes.fromhex(pattern), np.uint8))[:columns].astype(np.bool_)
    return bits


def _can_be_target(column: Mapping[str, Any]) -> bool:
    good = column["type"] in {"number", "category", "bool"} and not {"empty", "constant"} & set(column["flags"])
    return good and (column["type"] == "number" or not column["flags"])


def _can_be_feature(column: Mapping[str, Any]) -> bool:
    return column["type"] != "text" and "empty" not in column["flags"]


def _described(column: Mapping[str, Any]) -> str:
    said = {"empty": "empty", "constant": "always the same", "id_like": "a number or name of its own for each row"}
    kinds = {"text": "text with many different values", "date": "a date"}
    return said[column["flags"][0]] if column["flags"] else kinds.get(column["type"], column["type"])


def _names(columns: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(column["name"] for column in columns)


# --- for people -------------------------------------------------------------------------------------------------------


def _report(facts: Mapping[str, Any], choice: _Choice, duplicates: int) -> dict[str, Any]:
    columns = facts["columns"]
    classes = _classes(choice.target) if choice.task == "classification" else None
    return {
        "rows": facts["rows"],
        "columns": [_column_report(column) for column in columns],
        "target": choice.target["name"],
        "task": choice.task,
        "features": [column["name"] for column in choice.features],
        "classes": classes,
        "majority": majority(classes) if classes else None,
        "missing": {column["name"]: column["missing"] for column in columns if column["missing"]},
        "corrupt": [],
        "duplicates": duplicates,
        "warnings": _warnings(columns, choice, duplicates),
    }


def _column_report(column: Mapping[str, Any]) -> dict[str, Any]:
    values = column["values"]
    few = None if values is None or len(values) > FEW else values
    return {**column, "values": few, "distinct": None if values is None else len(values)}


def _warnings(columns: Sequence[Mapping[str, Any]], choice: _Choice, duplicates: int) -> list[str]:
    said = [
        f"{column['name']!r} is {_described(column)} and is no input unless named."
        for column in columns
        if column["flags"] and "empty" not in column["flags"]
    ]
    said += [f"{c['name']!r} is empty and left out." for c in columns if "empty" in c["flags"]]
    said += [
        f"{c['name']!r} is {_described(c)} and left out." for c in columns if c["type"] == "text" and not c["flags"]
    ]
    if choice.target["missing"]:
        said.append(f"{choice.target['missing']:,} rows have no {choice.target['name']!r} and are left out.")
    if duplicates:
        said.append(f"{duplicates:,} rows are equal to an earlier one in every column.")
    rare = [name for name, count in (choice.target["values"] or {}).items() if count < 5]
    if choice.task == "classification" and rare:
        said.append(f"Fewer than 5 rows have the class {', '.join(rare[:10])}.")
    return said


def _samples(sheet: Sheet, choice: _Choice) -> list[dict[str, Any]]:
    batch = next(sheet.batches())
    found = []
    for row in range(min(len(batch), 12)):
        cell = {name: batch.columns[k][row][:_SHOWN_CELL] or None for k, name in enumerate(sheet.header)}
        found.append({"x": {c["name"]: cell[c["name"]] for c in choice.features}, "y": cell[choice.target["name"]]})
    return shown(found)
