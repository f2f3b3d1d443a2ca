"""What there is to know about a data set before anyone trains on it: counts, the guess to beat, gaps, repetitions,
and whether anything of the test part is known to training beforehand.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np

from services import datasets
from services.datasets.base import Array, Card, Content, Dealt, Part, Progress
from services.datasets.options import Options
from services.datasets.splits import Split
from services.datasets.windows import naive_forecast

_HASH_BYTES = 16


@final
@dataclass(frozen=True)
class Duplicates:
    """Rows that are equal in every input. `train`: how many of these repeat an earlier one; `validation` and `test`:
    how many of theirs stand in the train part as well; `contradictions`: inputs that come with different targets."""

    train: int
    validation: int
    test: int
    test_in_validation: int
    contradictions: int


@final
@dataclass(frozen=True)
class Order:
    """The first and last moment of the parts' targets, and whether each part lies wholly after the one before."""

    in_order: bool
    spans: dict[str, tuple[int, int]]


@final
@dataclass(frozen=True)
class Report:
    """The findings. `guess` is what a forecast without learning scores on the test part; `missing` counts gaps by
    column; `duplicates` and `order` are None where the question makes no sense; `warnings` are sentences."""

    name: str
    kind: str
    sha256: str
    rows: dict[str, int]
    classes: dict[str, dict[str, int]] | None
    values: dict[str, dict[str, float]] | None
    guess: dict[str, dict[str, float | str]]
    missing: dict[str, int]
    duplicates: Duplicates | None
    order: Order | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return asdict(self)


def report(
    name: str,
    split: Split = Split(),  # noqa: B008 - frozen
    train_fraction: float = 1.0,
    datasets_dir: Path | None = None,
    progress: Progress | None = None,
    options: Options | Mapping[str, Any] | None = None,
) -> Report:
    """The report on a built-in data set as `load` would deal it out; the same errors as there."""
    card = datasets.card(name, options)
    datasets.sizes(card, split, train_fraction)
    return report_on(card, datasets.read(name, datasets_dir, progress, options), split, train_fraction)


def report_on(card: Card, content: Content, split: Split, train_fraction: float = 1.0) -> Report:
    """The report on any content and its card."""
    dealt = content.deal(card, split, datasets.sizes(card, split, train_fraction))
    parts = {"train": dealt.train, "validation": dealt.validation, "test": dealt.test}
    found = Report(
        name=card.name,
        kind=card.kind,
        sha256=content.sha256(),
        rows={part: len(rows) for part, rows in parts.items()},
        classes=_classes(card, parts),
        values=None if card.classes is not None else {part: _values(rows.y) for part, rows in parts.items()},
        guess=_guess(card, dealt),
        missing=_missing(parts),
        duplicates=_duplicates(card, parts),
        order=order_of(parts),
        warnings=(),
    )
    return replace(found, warnings=tuple(_warnings(found)))


def _classes(card: Card, parts: Mapping[str, Part]) -> dict[str, dict[str, int]] | None:
    if card.classes is None:
        return None
    return {part: _counts(card, rows.y) for part, rows in parts.items()}


def _counts(card: Card, y: Array) -> dict[str, int]:
    classes = card.classes or ()
    numbers = _numbers(card, y)
    return dict(zip(classes, np.bincount(numbers.ravel(), minlength=len(classes)).tolist(), strict=True))


def _numbers(card: Card, y: Array) -> Array:
    """Class numbers; characters are still code points in what a source gives."""
    if card.tasks != ("language_model",):
        return y
    points = np.array([ord(sign) for sign in card.classes or ()])
    order = np.argsort(points)
    return order[np.searchsorted(points[order], y)]


def _values(y: Array) -> dict[str, float]:
    if not y.size:
        return {}
    flat = y.astype(np.float64)
    return {"min": flat.min(), "max": flat.max(), "mean": flat.mean(), "deviation": flat.std()}


def _guess(card: Card, dealt: Dealt) -> dict[str, dict[str, float | str]]:
    train, test = dealt.train, dealt.test
    if not len(test) or card.tasks == ("autoencoder",):
        return {}
    if card.classes is not None:
        return _majority(card, train, test)
    if card.target_feature is not None:
        return _naive(card, dealt)
    mean = train.y.mean(axis=0, dtype=np.float64)
    return {"mean": _errors(np.broadcast_to(mean, test.y.shape), test.y)}


def _majority(card: Card, train: Part, test: Part) -> dict[str, dict[str, float | str]]:
    classes = card.classes or ()
    seen = np.bincount(_numbers(card, train.y).ravel(), minlength=len(classes))
    judged = _numbers(card, test.y).ravel()
    best = int(seen.argmax())
    found: dict[str, dict[str, float | str]] = {
        "majority class": {"guess": classes[best], "accuracy": float(np.mean(judged == best))}
    }
    if card.tasks == ("language_model",):
        # One count more for each, so that what training never saw is improbable and not impossible.
        chances = (seen + 1) / (seen.sum() + len(classes))
        found["frequency of each character"] = {"nats": float(-np.log(chances[judged]).mean())}
    return found


def _naive(card: Card, dealt: Dealt) -> dict[str, dict[str, float | str]]:
    test, horizon = dealt.test, len(card.target_names)
    past = test.x[:, :, card.target_feature or 0].astype(np.float64)
    guesses = {"persistence": naive_forecast(past, horizon)}
    if card.season is not None and card.season <= past.shape[1]:
        guesses[f"value {card.season:g} steps before"] = naive_forecast(past, horizon, card.season)
    return {name: _errors(_scaled(dealt, guess), _scaled(dealt, test.y)) for name, guess in guesses.items()}


def _scaled(dealt: Dealt, y: Array) -> Array:
    return y if dealt.targets is None else dealt.targets.apply(y)


def _errors(guess: Array, y: Array) -> dict[str, float | str]:
    difference = guess.astype(np.float64) - y
    squared = float(np.mean(np.square(difference)))
    return {
        "mean_squared_error": squared,
        "root_mean_squared_error": squared**0.5,
        "mean_absolute_error": float(np.mean(np.abs(difference))),
    }


def _missing(parts: Mapping[str, Part]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for rows in {id(part): part for part in parts.values()}.values():
        for column in rows.x.dtype.names or ():
            counts[column] += _gaps(rows.x[column])
        if rows.x.dtype.kind == "f":
            counts["inputs"] += _gaps(rows.x)
    return {column: count for column, count in counts.items() if count}


def _gaps(cells: Array) -> int:
    if cells.dtype.kind == "i":
        # Categories by their number.
        return int(np.count_nonzero(cells < 0))
    return int(np.count_nonzero(np.isnan(cells) if cells.dtype.kind == "f" else cells == ""))


def _duplicates(card: Card, parts: Mapping[str, Part]) -> Duplicates | None:
    if card.parts == "same_rows" or parts["train"].when is not None:
        return None
    keys = {part: _keys(rows.x) for part, rows in parts.items()}
    train, validation = set(keys["train"]), set(keys["validation"])
    targets: dict[Hashable, bytes] = {}
    contradictory: set[Hashable] = set()
    for part, rows in parts.items():
        for key, y in zip(keys[part], rows.y, strict=True):
            if targets.setdefault(key, target := y.tobytes()) != target:
                contradictory.add(key)
    return Duplicates(
        train=len(keys["train"]) - len(train),
        validation=sum(key in train for key in keys["validation"]),
        test=sum(key in train for key in keys["test"]),
        test_in_validation=sum(key in validation for key in keys["test"]),
        contradictions=len(contradictory),
    )


def _keys(x: Array) -> list[Hashable]:
    if x.dtype.hasobject:
        return list(x)
    return [row if len(row) <= _HASH_BYTES else _digest(row) for row in (row.tobytes() for row in x)]


def _digest(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=_HASH_BYTES).digest()


def order_of(parts: Mapping[str, Part]) -> Order | None:
    """Where the parts lie in time; None for rows without an order."""
    spans = {
        name: (int(part.when[:, 0].min()), int(part.when[:, 1].max()))
        for name, part in parts.items()
        if part.when is not None and len(part)
    }
    if not spans:
        return None
    return Order(all(one[1] < two[0] for one, two in pairwise(spans.values())), spans)


def _warnings(found: Report) -> list[str]:
    said = []
    if found.duplicates is not None:
        for part, count in (("test", found.duplicates.test), ("validation", found.duplicates.validation)):
            if count:
                said.append(f"{count:,} of {found.rows[part]:,} {part} rows stand in the train part as well.")
        if found.duplicates.contradictions:
            said.append(f"{found.duplicates.contradictions:,} inputs come with more than one target.")
    if found.order is not None and not found.order.in_order:
        said.append("The parts overlap in time: what is to be forecast is partly known from training.")
    said += [f"{count:,} values of {column} are missing." for column, count in found.missing.items()]
    for name, count in (found.classes or {}).get("train", {}).items():
        if not count:
            said.append(f"The train part holds no {name!r}.")
    return said
