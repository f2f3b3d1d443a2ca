"""What a doctor must know of the data before the first step: the constant guess to beat, classes, scales, repetitions.

Everything follows from the loaded parts alone; large inputs are looked at through evenly spaced rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from services.datasets import Dataset
from services.datasets.base import Part

Array = npt.NDArray[Any]
SAMPLE: Final = 2048
WORDS: Final = 128
_CHUNK: Final = 8192


@final
@dataclass(frozen=True)
class DataFacts:
    """`chance`: the loss of the best constant guess on the train part (None where there is no closed form);
    `majority`: the share of the commonest class; `counts`: rows of the train part by class; `rows`: of each part;
    `magnitude`: the largest root mean square of an input column; `neighbours`: how much more often than by chance two
    rows in a row have the same class (0 … 1), for values their correlation; `copied`: test rows that stand in the
    train part with the same target, None where that means nothing; `told`: the input column that alone tells the
    target, with the strength of the relation, squared."""

    chance: float | None
    majority: float | None
    counts: Mapping[str, int]
    rows: Mapping[str, int]
    magnitude: float | None
    neighbours: float
    copied: int | None
    told: tuple[str, float] | None


def facts_of(dataset: Dataset, task: str, loss: str, targets: Array) -> DataFacts:
    """The facts of a loaded data set; `targets` are those of the train part as the loss takes them."""
    train, card = dataset.train, dataset.card
    labels = train.y if card.classes is not None and task == "classification" and train.y.ndim == 1 else None
    counted = np.zeros(0, np.int64) if labels is None else np.bincount(labels, minlength=len(card.classes or ()))
    plain = task in ("classification", "regression")
    return DataFacts(
        chance=chance(loss, targets),
        majority=None if labels is None or not len(labels) else float(counted.max() / counted.sum()),
        counts=dict(zip(card.classes or (), counted.tolist(), strict=False)),
        rows={"train": len(train), "validation": len(dataset.validation), "test": len(dataset.test)},
        magnitude=_magnitude(train.x, card.kind == "table"),
        neighbours=_neighbours(train.y) if plain else 0.0,
        copied=_copied(train, dataset.test) if plain and card.parts != "same_rows" else None,
        told=_told(dataset) if plain and card.kind == "table" else None,
    )


def chance(loss: str, targets: Array) -> float | None:
    """The mean loss of the best guess that does not look at the input.

    Cross-entropies: the entropy of the classes' frequencies, −Σ p ln p, which is ln C for C classes of equal size.
    mean_squared_error: the variance of the targets. mean_absolute_error: the mean distance from the median. huber (at
    delta 1): its mean around the mean or the median, whichever is less.
    """
    if not targets.size:
        return None
    match loss:
        case "sparse_categorical_crossentropy":
            return _entropy(np.bincount(targets.ravel()) / targets.size)
        case "categorical_crossentropy":
            return _entropy(targets.reshape(-1, targets.shape[-1]).mean(axis=0, dtype=np.float64))
        case "binary_crossentropy":
            shares = targets.reshape(-1, targets.shape[-1]).mean(axis=0, dtype=np.float64)
            return float(np.mean([_entropy(np.array([p, 1 - p])) for p in shares]))
    columns = targets.reshape(-1, targets.shape[-1]).astype(np.float64)
    centres = {"mean_squared_error": ["mean"], "mean_absolute_error": ["median"], "huber": ["mean", "median"]}
    found = [_around(loss, columns - getattr(np, centre)(columns, axis=0)) for centre in centres.get(loss, ())]
    return min(found, default=None)


def _around(loss: str, distance: Array) -> float:
    size = np.abs(distance)
    if loss == "mean_absolute_error":
        return float(size.mean())
    squares = np.square(distance)
    return float((squares if loss == "mean_squared_error" else np.where(size <= 1, squares / 2, size - 0.5)).mean())


def _entropy(shares: Array) -> float:
    present = shares[(shares > 0) & (shares < 1)].astype(np.float64)
    return float(-(present * np.log(present)).sum())


def sample(rows: int, most: int = SAMPLE) -> npt.NDArray[np.int32]:
    """At most `most` row numbers, evenly spaced and in order."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int32)) if rows else np.zeros(0, np.int32)


def _magnitude(x: Array, by_column: bool) -> float | None:
    if x.dtype.kind != "f" or not x.size:
        return None
    rows = x[sample(len(x))].astype(np.float64)
    axes = tuple(range(rows.ndim - 1)) if by_column else None
    return float(np.sqrt(np.max(np.mean(np.square(rows), axis=axes))))


def _neighbours(y: Array) -> float:
    if len(y) < 3:
        return 0.0
    if y.dtype.kind in "iu" and y.ndim == 1:
        shares = np.bincount(y) / len(y)
        expected = float(np.square(shares).sum())
        return 0.0 if expected > 0.999 else max(0.0, (float(np.mean(y[1:] == y[:-1])) - expected) / (1 - expected))
    values = y.reshape(len(y), -1)[:, 0].astype(np.float64)
    values -= values.mean()
    power = float(values @ values)
    return max(0.0, float(values[1:] @ values[:-1]) / power) if power else 0.0


def _copied(train: Part, test: Part) -> int | None:
    """Test rows whose input and target stand in the train part; None where equal inputs come with different targets so
    often that repetitions are the nature of the data."""
    if not len(train) or not len(test) or train.when is not None or train.x.dtype.kind not in "fi":
        return None
    ours, others = _keys(train.x), _keys(test.x)
    _, first, back = np.unique(ours, return_index=True, return_inverse=True)
    repeated = np.setdiff1d(np.arange(len(ours)), first)
    same = np.array([np.array_equal(train.y[i], train.y[first[back[i]]]) for i in repeated[:_CHUNK]], bool)
    if len(same) and same.mean() < 0.9:
        return None
    order = np.argsort(ours, kind="stable")
    place = np.minimum(np.searchsorted(ours[order], others), len(ours) - 1)
    hits = np.flatnonzero(ours[order][place] == others)
    return sum(_same_row(train, int(order[place[i]]), test, int(i)) for i in hits)


def _same_row(one: Part, i: int, other: Part, j: int) -> bool:
    return bool(np.array_equal(one.x[i], other.x[j]) and np.array_equal(one.y[i], other.y[j]))


def _keys(x: Array) -> npt.NDArray[np.uint64]:
    """A number for each row, the same for equal rows: up to 128 of its 32-bit words, evenly spaced, times odd
    constants, modulo 2^64."""
    words = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint32)
    words = words[:, sample(words.shape[1], WORDS)]
    odd = np.random.Philox(key=1).random_raw(words.shape[1]) | np.uint64(1)
    parts = [words[k : k + _CHUNK].astype(np.uint64) @ odd for k in range(0, len(words), _CHUNK)]
    return np.concatenate(parts)


def _told(dataset: Dataset) -> tuple[str, float] | None:
    """The input column with the strongest linear relation to the target, and its correlation squared."""
    x, y = dataset.train.x, dataset.train.y
    if x.ndim != 2 or x.dtype.kind != "f" or len(x) < 10:
        return None
    rows = sample(len(x))
    inputs, target = x[rows].astype(np.float64), y.reshape(len(y), -1)[rows, 0].astype(np.float64)
    inputs, target = inputs - inputs.mean(axis=0), target - target.mean()
    power = np.square(inputs).sum(axis=0) * (target @ target)
    squared = np.divide(np.square(target @ inputs), power, out=np.zeros(len(power)), where=power > 0)
    best = int(squared.argmax())
    names = dataset.card.features or ()
    name = names[best] if len(names) == len(squared) else f"column {best}"
    return (name, float(squared[best])) if math.isfinite(squared[best]) else None
