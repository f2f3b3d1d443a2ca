"""Arrays: x and y in .npy and .npz files, by names that leave no doubt about what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from services.datasets.base import Array, Card, Raw
from services.datasets.options import Options
from services.datasets.uploaded import archive, npy
from services.datasets.uploaded.kind import MAX_CLASSES, Survey, Uploaded, changed, cut, majority, shown, spread
from services.datasets.uploaded.limits import Limits
from services.errors import DataError, Invalid, Mistake

MAX_ARRAY_BYTES = 2 * 2**30
"""Bytes of all arrays of a file, unpacked."""
MAX_TARGETS = 4_096
"""Values that are predicted for a row."""
_LIMITS = Limits(members=16, member_bytes=MAX_ARRAY_BYTES, unpacked_bytes=MAX_ARRAY_BYTES)
_PARTS = {"": "train", "_train": "train", "_test": "test", "_validation": "validation", "_val": "validation"}
_PARTS |= {"_valid": "validation"}
NAMES = {f"{letter}{suffix}": (letter, part) for letter in "xy" for suffix, part in _PARTS.items()}
"""The names of arrays and what they are; capital letters are the same."""
_SHOWN_VALUES = 64
_AXES = (1, 4)


@final
@dataclass(frozen=True)
class ArrayOptions(Options):
    """`task`: what `y` is, classes or values; by default classes where it holds whole numbers, truths or texts."""

    task: Literal["classification", "regression"] | None = None


@final
class Arrays(Uploaded):
    """Uploaded arrays; without `y`, they are for auto-encoders."""

    kind = "arrays"
    docs = "A .npz with x and y (and x_test, y_test, x_validation, y_validation), or a .npy with x alone."
    options_type = ArrayOptions

    @classmethod
    def survey(cls, file: Path) -> Survey:
        """Every array, its shape and type, and the classes or values of y."""
        arrays = _arrays(file)
        train = arrays["x", "train"]
        y = {part: arrays["y", part] for letter, part in arrays if letter == "y"}
        facts = {
            "shape": list(_rows(train).shape[1:]),
            "rows": {part: len(x) for (letter, part), x in arrays.items() if letter == "x"},
            "y": _about(y) if y else None,
        }
        found = {f"{letter} {part}": _described(array) for (letter, part), array in arrays.items()}
        return Survey(cls.kind, facts, _report(facts, found), _samples(train, y.get("train")))

    def card_for(self, options: ArrayOptions) -> Card:
        """Shape, classes and counts follow from the facts."""
        shape, y = tuple(self.facts["shape"]), self.facts["y"]
        task = self._task(options)
        rows = self.facts["rows"]
        train, test = cut(rows["train"]) if "test" not in rows else (rows["train"], rows["test"])
        kinds: dict[int, Literal["image", "series", "table"]] = {3: "image", 2: "series"}
        columns = 1 if y is None else y["columns"]
        return Card(
            name=self.name,
            title=self.name,
            kind=kinds.get(len(shape), "table"),
            tasks=(task,),
            input_shape=shape,
            classes=tuple(y["classes"]) if task == "classification" else None,
            target_names=("y",) if columns == 1 else tuple(f"y {column}" for column in range(1, columns + 1)),
            train=train,
            test=test,
            validation=rows.get("validation", 0),
            description=f"Uploaded arrays of {sum(rows.values()):,} rows.",
            source="upload",
            license="",
            parts="own_parts" if "validation" in rows else "own_test" if "test" in rows else "cut_test",
        )

    def _task(self, options: ArrayOptions) -> str:
        y = self.facts["y"]
        if y is None:
            if options.task is not None:
                raise Invalid([Mistake("dataset.task", "task_unfit", "there is no y", "Leave task out.")])
            return "autoencoder"
        if options.task == "regression" and not y["numbers"]:
            raise Invalid([Mistake("dataset.task", "task_unfit", "y holds texts", "Use classification.")])
        if options.task == "classification" and y["classes"] is None:
            message = "y holds more than whole numbers, or too many different ones to be classes"
            raise Invalid([Mistake("dataset.task", "task_unfit", message, "Use regression.")])
        return options.task or ("regression" if y["classes"] is None else "classification")

    def read_file(self, file: Path, options: ArrayOptions) -> Raw:
        """All rows and targets."""
        arrays = _arrays(file)
        rows = {part: len(x) for (letter, part), x in arrays.items() if letter == "x"}
        if rows != self.facts["rows"] or list(_rows(arrays["x", "train"]).shape[1:]) != self.facts["shape"]:
            raise changed(self.name)
        x = {part: _rows(array) for (letter, part), array in arrays.items() if letter == "x"}
        y = {part: self._targets(arrays.get(("y", part)), len(rows), options) for part, rows in x.items()}
        test, validation = "test", "validation"
        return Raw(x["train"], y["train"], x.get(test), y.get(test), x.get(validation), y.get(validation))

    def _targets(self, y: Array | None, rows: int, options: ArrayOptions) -> Array:
        if y is None:
            return np.zeros((rows, 1), np.float32)
        if self._task(options) == "regression":
            return y.reshape(rows, -1).astype(np.float32)
        classes: dict[str, int] = {name: number for number, name in enumerate(self.facts["y"]["classes"])}
        values, places = np.unique(y.reshape(-1), return_inverse=True)
        if not {_spelled(value) for value in values} <= set(classes):
            raise changed(self.name)
        return np.array([classes[_spelled(value)] for value in values], np.int32)[places.reshape(-1)]


def _arrays(file: Path) -> dict[tuple[str, str], Array]:
    """The arrays by letter and part; DataError when they do not fit each other."""
    found: dict[tuple[str, str], Array] = {}
    for name, array in _named(file).items():
        key = NAMES.get(name.lower())
        if key is None:
            hint = f"Known: {', '.join(NAMES)}. Save them with numpy.savez(file, x=…, y=…)."
            raise DataError(f"The file holds an array named {name!r}.", hint=hint)
        if key in found:
            raise DataError(f"The file holds {key[0]} of the {key[1]} part twice.", hint="Keep one of them.")
        found[key] = array
    if ("x", "train") not in found:
        raise DataError("The file holds no array named x or x_train.", hint="Save it with numpy.savez(file, x=…, y=…).")
    if ("x", "validation") in found and ("x", "test") not in found:
        for letter in ("x", "y"):
            if (letter, "validation") in found:
                found[letter, "test"] = found.pop((letter, "validation"))
    _fit(found)
    return found


def _named(file: Path) -> Mapping[str, Array]:
    if not archive.is_archive(file):
        size = file.stat().st_size
        if size > MAX_ARRAY_BYTES:
            raise DataError(f"The array has {size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read.", hint="Split it.")
        return {"x": npy.parse_npy(file.read_bytes(), "x")}
    found: dict[str, Array] = {}
    for name, data in archive.members(file, _LIMITS):
        if not name.endswith(".npy"):
            raise DataError(f"The file holds {name!r}, which is no array.", hint="Write it with numpy.savez.")
        found[name.removesuffix(".npy")] = npy.parse_npy(data, name)
    return found


def _fit(arrays: Mapping[tuple[str, str], Array]) -> None:
    shape = _rows(arrays["x", "train"]).shape[1:] if arrays["x", "train"].ndim else ()
    parts = {part for _, part in arrays}
    letters = {letter for letter, _ in arrays}
    for (letter, part), array in arrays.items():
        other = arrays.get(("x", part))
        if other is None:
            raise DataError(f"There is a y and no x of the {part} part.", hint="Save both.")
        if not array.ndim or not len(array) or len(array) != len(other):
            message = f"{letter} of the {part} part has the shape {array.shape}, and x {other.shape}"
            raise DataError(f"{message}.", hint="Both need the same number of rows, at least one.")
        if letter == "x" and _rows(array).shape[1:] != shape:
            message = f"A row of x of the {part} part has the shape {array.shape[1:]}, and one of train {shape}"
            raise DataError(f"{message}.", hint="All parts need rows of one shape.")
        _finite(letter, part, array)
    if "y" in letters and any(("y", part) not in arrays for part in parts):
        raise DataError("Some parts have a y and some have none.", hint="Save x and y of every part.")
    if len(arrays["x", "train"]) < 2:
        raise DataError("x has one row.", hint="At least two are needed.")


def _finite(letter: str, part: str, array: Array) -> None:
    axes = _AXES if letter == "x" else (1, 2)
    if not axes[0] <= array.ndim <= axes[1] or (array.dtype.kind == "U" and (letter == "x" or array.ndim > 1)):
        message = f"{letter} of the {part} part has the shape {array.shape} and the type {array.dtype}"
        raise DataError(
            f"{message}.", hint="x is numbers (rows, …) with at most 4 axes; y is (rows,) or (rows, values)."
        )
    if not array.size or (letter == "y" and array.size > len(array) * MAX_TARGETS):
        raise DataError(f"{letter} of the {part} part has the shape {array.shape}.", hint="Rows need some values.")
    if array.dtype.kind != "f":
        return
    # Row by row in blocks: an array as large as the data is not needed to find what is not finite.
    for start in range(0, len(array), block := max(1, 2**22 // (array.size // len(array)))):
        piece = array[start : start + block].astype(np.float64)
        bad = ~(np.abs(piece) <= np.finfo(np.float32).max)
        if bad.any():
            place = np.argwhere(bad)[0]
            index = ", ".join(str(k) for k in (start + int(place[0]), *place[1:].tolist()))
            raise DataError(
                f"{letter}[{index}] of the {part} part is {piece[tuple(place)]}.", hint="All values are finite float32."
            )


def _rows(x: Array) -> Array:
    """Rows as networks take them: numbers alone are a column, bytes (h, w) grey pictures."""
    if x.ndim == 1:
        return x[:, np.newaxis]
    return x[..., np.newaxis] if x.ndim == 3 and x.dtype == np.uint8 else x


def _about(parts: Mapping[str, Array]) -> dict[str, Any]:
    numbers = all(y.dtype.kind != "U" for y in parts.values())
    columns = {y.size // len(y) for y in parts.values()}
    if len(columns) != 1:
        raise DataError("y has more columns in one part than in another.", hint="Save the same targets for all parts.")
    return {"numbers": numbers, "columns": columns.pop(), **_classes(parts)}


def _classes(parts: Mapping[str, Array]) -> dict[str, Any]:
    none: dict[str, Any] = {"classes": None, "counts": None}
    if any(y.dtype.kind == "f" or y.size != len(y) for y in parts.values()):
        return none
    counted = {part: np.unique(y.reshape(-1), return_counts=True) for part, y in parts.items()}
    values = sorted({value.item() for found, _ in counted.values() for value in found}, key=lambda v: (str(type(v)), v))
    if not 2 <= len(values) <= MAX_CLASSES:
        if any(y.dtype.kind == "U" for y in parts.values()):
            raise DataError(f"y holds {len(values):,} different texts; 2 to {MAX_CLASSES:,} can be classes.")
        return none
    names = [str(value) for value in values]
    if len(set(names)) != len(names):
        raise DataError("y holds numbers in one part and other things in another.", hint="Use one type for all parts.")
    counts = {
        part: dict.fromkeys(names, 0) | {_spelled(value): int(n) for value, n in zip(found, numbers, strict=True)}
        for part, (found, numbers) in counted.items()
    }
    return {"classes": names, "counts": counts}


def _spelled(value: Any) -> str:
    return str(value.item())


def _described(array: Array) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": list(array.shape), "type": str(array.dtype)}
    if array.dtype.kind != "U":
        found |= {"min": float(array.min()), "max": float(array.max()), "mean": float(array.mean(dtype=np.float64))}
    return found


def _report(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = (facts["y"] or {}).get("counts") or {}
    classes = {name: sum(part[name] for part in counts.values()) for name in counts.get("train", ())}
    said = [f"The {part} part holds no {name!r}." for part in counts for name, n in counts[part].items() if not n]
    return {
        "rows": sum(facts["rows"].values()),
        "parts": facts["rows"],
        "arrays": arrays,
        "classes": classes or None,
        "majority": majority(classes),
        "missing": {},
        "corrupt": [],
        "duplicates": None,
        "warnings": said[:20],
    }


def _samples(x: Array, y: Array | None) -> list[dict[str, Any]]:
    return shown([
        {"x": _rows(x)[k].reshape(-1)[:_SHOWN_VALUES].tolist(), "y": None if y is None else y[k].tolist()}
        for k in spread(len(x))
    ])  # fmt: skip
