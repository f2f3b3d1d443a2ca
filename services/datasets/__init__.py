"""Data sets: one file per kind, found by scanning this folder for modules that offer `SOURCES`.

Importing this package loads no data and neither scikit-learn nor pooch; `load` does so where it must.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from services.datasets.base import Array, Card, Dataset, Part, Progress, Raw, Source
from services.datasets.preprocessing import STEPS, Pipeline, Step
from services.datasets.splits import Rows, Sizes, Split, cut_test, cut_validation
from services.datasets.splits import sizes as _sizes
from services.datasets.targets import one_hot, target_form, target_shape, targets_for
from services.names import lookup

__all__ = [
    "STEPS",
    "Card",
    "Dataset",
    "Part",
    "Pipeline",
    "Progress",
    "Sizes",
    "Split",
    "Step",
    "card",
    "cards",
    "load",
    "one_hot",
    "sizes",
    "target_form",
    "target_shape",
    "targets_for",
]

DEFAULT_DIR = Path("~/.cache/trainyard/datasets")
_ALIASES = {"fashion": "fashion_mnist"}


def cards() -> dict[str, Card]:
    """The cards of all data sets by name."""
    return {name: source.card for name, source in _sources().items()}


def card(name: str) -> Card:
    """The card of the data set `name` (`-` and `_` are equal); NotFound lists the known names."""
    return _source(name).card


def sizes(card: Card, split: Split = Split(), train_fraction: float = 1.0) -> Sizes:  # noqa: B008 - frozen
    """How many rows `load` will give each part, without loading anything; Invalid when the split does not fit."""
    if card.parts == "same_rows":
        return Sizes(card.train, card.train, card.train)
    return _sizes(card.train, card.test, card.parts == "own_test", split, train_fraction)


def load(
    name: str,
    split: Split = Split(),  # noqa: B008 - frozen
    preprocessing: Sequence[Step | Mapping[str, Any]] = (),
    train_fraction: float = 1.0,
    datasets_dir: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set `name`, split and preprocessed; its preprocessing is fitted on the train part alone.

    A name or a setting that does not fit raises NotFound or Invalid; files that cannot be had raise DataError.
    """
    source = _source(name)
    pipeline = Pipeline.of(preprocessing, source.card.input_shape[-1])
    counts = sizes(source.card, split, train_fraction)
    raw = source.read((datasets_dir or DEFAULT_DIR).expanduser(), progress)
    train, validation, test = _deal(source.card, raw, split, counts)
    train_x = train[0].astype(np.float32)
    fitted = pipeline.fit(train_x)
    return Dataset(
        card=source.card,
        train=Part(train_x, train[1]),
        validation=Part(fitted.apply(validation[0]), validation[1]),
        test=Part(fitted.apply(test[0]), test[1]),
        pipeline=fitted,
        sha256=raw.sha256(),
    )


Pair = tuple[Array, Array]


def _deal(card: Card, raw: Raw, split: Split, counts: Sizes) -> tuple[Pair, Pair, Pair]:
    everything = (raw.x, raw.y)
    if card.parts == "same_rows":
        return everything, everything, everything
    labels = raw.y if split.stratify and card.classes is not None else None
    rest = np.arange(len(raw.x))
    if raw.test_x is not None and raw.test_y is not None:
        test = (raw.test_x, raw.test_y)
    else:
        # The test part is stratified whatever `stratify` says: it is the same for everyone.
        test_rows, rest = cut_test(raw.y if card.classes is not None else None, len(raw.x), counts.test)
        test = _take(raw, test_rows)
    train, validation = cut_validation(None if labels is None else labels[rest], len(rest), counts, split.seed)
    return _take(raw, rest[train]), _take(raw, rest[validation]), test


def _take(raw: Raw, rows: Rows) -> Pair:
    return raw.x[rows], raw.y[rows]


def _source(name: str) -> Source:
    return lookup("data set", name, _sources(), _ALIASES)


@cache
def _sources() -> dict[str, Source]:
    found: dict[str, Source] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for source in getattr(importlib.import_module(f"{__name__}.{module.name}"), "SOURCES", ()):
            if source.card.name in found:
                raise TypeError(f"two data sets are called {source.card.name!r}")
            found[source.card.name] = source
    return found
