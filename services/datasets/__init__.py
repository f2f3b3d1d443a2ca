"""Data sets: one file per kind, found by scanning this folder for modules that offer `SOURCES`.

Importing this package loads no data and neither scikit-learn nor pooch; `load` does so where it must.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from services.datasets.base import Card, Content, Dataset, Dealt, Part, Progress, Source
from services.datasets.options import Options, parse, schema
from services.datasets.preprocessing import STEPS, Pipeline, Step
from services.datasets.splits import Sizes, Split, sizes_in_order, sizes_of_own
from services.datasets.splits import sizes as _sizes
from services.datasets.targets import one_hot, target_form, target_shape, targets_for
from services.names import lookup

__all__ = [
    "STEPS",
    "Card",
    "Content",
    "Dataset",
    "Options",
    "Part",
    "Pipeline",
    "Progress",
    "Sizes",
    "Split",
    "Step",
    "card",
    "card_of",
    "cards",
    "find",
    "load",
    "load_from",
    "one_hot",
    "option_types",
    "options",
    "options_of",
    "options_schema",
    "read",
    "read_from",
    "schema_of",
    "sizes",
    "target_form",
    "target_shape",
    "targets_for",
]

DEFAULT_DIR = Path("~/.cache/trainyard/datasets")
_ALIASES = {"fashion": "fashion_mnist", "cifar_10": "cifar10", "fsdd": "spoken_digits"}


Choice = Options | Mapping[str, Any] | None


def cards() -> dict[str, Card]:
    """The cards of all data sets by name, under their default options."""
    return {name: source.card for name, source in _sources().items()}


def option_types() -> dict[str, type[Options]]:
    """What a spec may say about each data set beside its name: dataclasses with limits, by the data set's name."""
    return {name: source.options_type for name, source in _sources().items()}


def options(name: str, values: Choice = None) -> Options:
    """The options of the data set `name` with all defaults; NotFound for the name, Invalid for `dataset.<key>`."""
    return options_of(find(name), values)


def options_of(source: Source, values: Choice = None) -> Options:
    """The same for a source, built in or uploaded."""
    return parse(source.options_type, values)


def options_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of these options."""
    return schema_of(find(name))


def schema_of(source: Source) -> dict[str, Any]:
    """The same for a source, built in or uploaded."""
    return schema(source.options_type)


def card(name: str, options: Choice = None) -> Card:
    """The card of the data set `name` (`-` and `_` are equal) under `options`, without loading anything.

    NotFound lists the known names; Invalid says which options do not fit.
    """
    return card_of(find(name), options)


def card_of(source: Source, options: Choice = None) -> Card:
    """The card of a source, built in or uploaded, under `options`."""
    return source.card_for(options_of(source, options))


def sizes(card: Card, split: Split = Split(), train_fraction: float = 1.0) -> Sizes:  # noqa: B008 - frozen
    """How many rows `load` will give each part, without loading anything; Invalid when the split does not fit."""
    match card.parts:
        case "same_rows":
            return Sizes(card.train, card.train, card.train)
        case "own_parts":
            return sizes_of_own(Sizes(card.train, card.validation, card.test), split, train_fraction)
        case "in_order":
            return sizes_in_order(card.train, card.test, card.gap, split, train_fraction)
    return _sizes(card.train, card.test, card.parts == "own_test", split, train_fraction)


def load(
    name: str,
    split: Split = Split(),  # noqa: B008 - frozen
    preprocessing: Sequence[Step | Mapping[str, Any]] = (),
    train_fraction: float = 1.0,
    datasets_dir: Path | None = None,
    progress: Progress | None = None,
    options: Choice = None,
) -> Dataset:
    """The data set `name`, split and preprocessed; its preprocessing is fitted on the train part alone.

    A name or a setting that does not fit raises NotFound or Invalid; files that cannot be had raise DataError.
    """
    return load_from(find(name), split, preprocessing, train_fraction, datasets_dir, progress, options)


def load_from(
    source: Source,
    split: Split = Split(),  # noqa: B008 - frozen
    preprocessing: Sequence[Step | Mapping[str, Any]] = (),
    train_fraction: float = 1.0,
    datasets_dir: Path | None = None,
    progress: Progress | None = None,
    options: Choice = None,
) -> Dataset:
    """The same from a source, built in or uploaded."""
    chosen = card_of(source, options)
    pipeline = Pipeline.of(preprocessing, chosen.input_shape[-1], chosen.input_dtype)
    counts = sizes(chosen, split, train_fraction)
    content = read_from(source, datasets_dir, progress, options)
    return _prepared(chosen, content.deal(chosen, split, counts), pipeline, content.sha256())


def read(
    name: str, datasets_dir: Path | None = None, progress: Progress | None = None, options: Choice = None
) -> Content:
    """The unprocessed content of the data set `name`, not yet dealt out to its parts."""
    return read_from(find(name), datasets_dir, progress, options)


def read_from(
    source: Source, datasets_dir: Path | None = None, progress: Progress | None = None, options: Choice = None
) -> Content:
    """The same from a source, built in or uploaded."""
    folder = (datasets_dir or DEFAULT_DIR).expanduser()
    return source.read(folder, progress, options_of(source, options))


def _prepared(card: Card, dealt: Dealt, pipeline: Pipeline, sha256: str) -> Dataset:
    encoder = None if dealt.encoder is None else dealt.encoder.fit(dealt.train.x)
    pipeline = Pipeline((*dealt.steps, *pipeline.steps), encoder, dealt.targets)
    train_x = pipeline.encode(dealt.train.x)
    fitted = pipeline.fit(train_x)
    train = Part(train_x, fitted.aim(dealt.train.y), dealt.train.when)
    validation, test = (
        Part(fitted.apply(part.x), fitted.aim(part.y), part.when) for part in (dealt.validation, dealt.test)
    )
    return Dataset(card, train, validation, test, fitted, sha256)


def find(name: str) -> Source:
    """The built-in source called `name` (`-` and `_` are equal); NotFound lists the known names."""
    sources = _sources()
    # `ETTh1` is a name as it stands, though snake_case would take it apart.
    return sources.get(name.strip().lower()) or lookup("data set", name, sources, _ALIASES)


@cache
def _sources() -> dict[str, Source]:
    found: dict[str, Source] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for source in getattr(importlib.import_module(f"{__name__}.{module.name}"), "SOURCES", ()):
            if source.card.name in found:
                raise TypeError(f"two data sets are called {source.card.name!r}")
            found[source.card.name] = source
    return found
