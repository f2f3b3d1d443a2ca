"""Archives of class folders: which file belongs to which class and part, what is broken, what is no such file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from services.datasets.base import Array, Raw
from services.datasets.uploaded.archive import members
from services.datasets.uploaded.kind import MAX_CLASSES, MAX_LISTED, MAX_SAMPLES, changed, cut, majority
from services.errors import DataError

PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
"""Folders above the class folders, and the parts that they are."""


class Unreadable(Exception):
    """A file that should be one of the data set's, and cannot be read."""


@final
@dataclass(frozen=True)
class Order:
    """How the names of files say class and part: the folders above all of them, and whether parts come first."""

    above: int
    parts: bool
    classes: tuple[str, ...]

    def place(self, name: str) -> tuple[str, int] | None:
        """The part and the number of the class; None for a file that lies elsewhere."""
        folders = name.split("/")[self.above : -1]
        part = PARTS.get(folders.pop(0).lower()) if self.parts and folders else "train"
        if part is None or not folders or folders[0] not in self.classes:
            return None
        return part, self.classes.index(folders[0])


@final
@dataclass
class Contents:
    """What an archive holds: good files with what was learnt of each, broken ones with a reason, others by name."""

    good: dict[str, Any] = field(default_factory=dict)
    corrupt: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    previews: dict[str, list[Any]] = field(default_factory=dict)


def contents(
    file: Path,
    expected: Callable[[str, bytes], bool],
    look: Callable[[bytes], tuple[Any, Callable[[], Any]]],
) -> Contents:
    """Look at every file. `look` gives what is to be known of a file and how to preview it, or raises Unreadable;
    files that are not `expected` are listed and left out."""
    found = Contents()
    seen: dict[bytes, str] = {}
    for name, data in members(file):
        if not expected(name, data):
            found.ignored.append(name)
            continue
        try:
            known, preview = look(data)
        except Unreadable as error:
            found.corrupt[name] = str(error)
            if len(found.corrupt) > MAX_LISTED:
                raise DataError(_broken_files(found), hint="Are these the files that you meant?") from error
            continue
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in seen:
            found.duplicates.append((name, seen[digest]))
        seen.setdefault(digest, name)
        found.good[name] = known
        _keep(found.previews, name, preview)
    if not found.good:
        raise DataError(
            _broken_files(found) if found.corrupt else "The archive holds no file of this kind.",
            hint="Pack one folder for each class, with the class's files in it.",
        )
    return found


def _broken_files(found: Contents) -> str:
    name, reason = next(iter(found.corrupt.items()))
    return f"The archive holds {len(found.corrupt):,} files that cannot be read; the first is {name!r}: {reason}."


def _keep(previews: dict[str, list[Any]], name: str, preview: Callable[[], Any]) -> None:
    folder = name.rpartition("/")[0]
    kept = previews.setdefault(folder, []) if len(previews) < MAX_SAMPLES or folder in previews else None
    if kept is not None and len(kept) < MAX_SAMPLES // 2:
        kept.append((name, preview()))


def order_of(names: Iterator[str] | list[str]) -> Order:
    """How these names are to be understood; DataError when they lie in no class folders."""
    paths = [name.split("/") for name in names]
    above = 0
    while all(len(path) > above + 2 for path in paths) and len({path[above] for path in paths}) == 1:
        above += 1
    tops = {path[above].lower() for path in paths}
    parts = tops <= set(PARTS) and "train" in {PARTS[top] for top in tops}
    level = above + parts
    if stray := next((path for path in paths if len(path) < level + 2), None):
        raise DataError(f"{'/'.join(stray)!r} lies in no class folder.", hint="Pack one folder for each class.")
    classes = sorted({path[level] for path in paths}, key=lambda name: (not name.isdecimal(), _value(name), name))
    if not 2 <= len(classes) <= MAX_CLASSES:
        message = f"The archive holds {len(classes):,} class folders; 2 to {MAX_CLASSES:,} are read."
        raise DataError(message, hint="Pack one folder for each class, with the class's files in it.")
    return Order(above, parts, tuple(classes))


def _value(name: str) -> int:
    return int(name) if name.isdecimal() and len(name) < 19 else 0


def facts_of(found: Contents) -> dict[str, Any]:
    """Classes, counts by part and class, and what is left out, as plain JSON."""
    order = order_of(list(found.good))
    counts: dict[str, Counter[str]] = {}
    for name in found.good:
        part, number = order.place(name) or ("train", 0)
        counts.setdefault(part, Counter())[order.classes[number]] += 1
    if "validation" in counts and "test" not in counts:
        # A part that nothing is chosen by is of more use than another to choose by.
        counts["test"] = counts.pop("validation")
    return {
        "above": order.above,
        "parts": order.parts,
        "classes": list(order.classes),
        "counts": {part: {name: count[name] for name in order.classes} for part, count in counts.items()},
        "corrupt": [{"name": name, "reason": reason} for name, reason in found.corrupt.items()],
        "ignored": len(found.ignored),
    }


def report_of(found: Contents, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The findings for people."""
    order = _order(facts)
    across = sum(order.place(one) != order.place(two) for one, two in found.duplicates)
    classes = {name: sum(part[name] for part in facts["counts"].values()) for name in facts["classes"]}
    return {
        "rows": sum(classes.values()),
        "parts": {part: sum(counts.values()) for part, counts in facts["counts"].items()},
        "classes": classes,
        "majority": majority(classes),
        "missing": {},
        "corrupt": facts["corrupt"],
        "ignored": found.ignored[:MAX_LISTED],
        "duplicates": len(found.duplicates),
        "warnings": _warnings(found, facts, across),
    }


def _warnings(found: Contents, facts: Mapping[str, Any], across: int) -> list[str]:
    said = []
    if found.corrupt:
        said.append(f"{len(found.corrupt):,} files cannot be read and are left out.")
    if found.ignored:
        said.append(f"{len(found.ignored):,} files are of another kind and left out, such as {found.ignored[0]!r}.")
    if found.duplicates:
        said.append(f"{len(found.duplicates):,} files are equal to another one, byte by byte.")
    if across:
        said.append(f"{across:,} of these have another class, or stand in another part.")
    for part, counts in facts["counts"].items():
        if empty := [name for name, count in counts.items() if not count]:
            said.append(f"The {part} part holds no {', '.join(map(repr, empty[:10]))}.")
    if facts["parts"] and "validation" in _folders(found, facts) and "validation" not in facts["counts"]:
        said.append("There is a validation folder and no test folder: it is taken as the test part.")
    return said


def _folders(found: Contents, facts: Mapping[str, Any]) -> set[str]:
    return {PARTS.get(name.split("/")[facts["above"]].lower(), "") for name in found.good}


def samples_of(found: Contents, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A few files of each class, as previews, by turns."""
    order = _order(facts)
    turns: list[tuple[str, Any]] = []
    for turn in range(MAX_SAMPLES // 2):
        turns += [kept[turn] for kept in found.previews.values() if turn < len(kept)]
    return [{"x": x, "y": order.classes[place[1]]} for name, x in turns if (place := order.place(name)) is not None]


def _order(facts: Mapping[str, Any]) -> Order:
    return Order(facts["above"], facts["parts"], tuple(facts["classes"]))


def sizes_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the parts and where the parts come from, as a card says it."""
    totals = {part: sum(counts.values()) for part, counts in facts["counts"].items()}
    if "test" not in totals:
        train, test = cut(totals["train"])
        return {"train": train, "test": test, "parts": "cut_test"}
    if "validation" not in totals:
        return {"train": totals["train"], "test": totals["test"], "parts": "own_test"}
    return {**totals, "parts": "own_parts"}


def read_files(
    file: Path,
    name: str,
    facts: Mapping[str, Any],
    expected: Callable[[str, bytes], bool],
    row: Callable[[bytes], Array],
    shape: tuple[int, ...],
    dtype: Any,
) -> Raw:
    """All good files as rows, part by part; DataError when the archive is not the one that was surveyed."""
    order, corrupt = _order(facts), {entry["name"] for entry in facts["corrupt"]}
    totals = {part: sum(counts.values()) for part, counts in facts["counts"].items()}
    x: dict[str, Array] = {part: np.empty((rows, *shape), dtype) for part, rows in totals.items()}
    y: dict[str, Array] = {part: np.empty(rows, np.int32) for part, rows in totals.items()}
    filled: Counter[str] = Counter()
    for label, data in members(file):
        if label in corrupt or not expected(label, data):
            continue
        place = order.place(label)
        part = "" if place is None else place[0] if place[0] in totals else "test"
        if place is None or filled[part] >= totals.get(part, 0):
            raise changed(name)
        try:
            x[part][filled[part]] = row(data)
        except Unreadable as error:
            raise changed(name) from error
        y[part][filled[part]] = place[1]
        filled[part] += 1
    if filled != totals:
        raise changed(name)
    test, validation = "test", "validation"
    return Raw(x["train"], y["train"], x.get(test), y.get(test), x.get(validation), y.get(validation))
