"""What a data set is: its card (known before anything is loaded), its rows as a source gives them, its parts."""

import abc
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from services.datasets.encoding import Encoder
from services.datasets.options import Options
from services.datasets.preprocessing import Pipeline, Step, TargetNormalization
from services.datasets.splits import Rows, Sizes, Split, cut_test, cut_validation

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that have arrived, and all its bytes (0 = unknown)."""


@final
@dataclass(frozen=True)
class Card:
    """A data set before it is loaded. `train` + `test` rows; without a test part of its own (`parts` = "cut_test"),
    `test` rows are cut off, the same for everyone; "same_rows": so few rows that every part is all of them;
    "own_parts": the publisher says which rows are for `validation` too; "in_order": rows follow each other in time,
    the test part is the end, and `gap` rows between train and validation are left out because their targets overlap.

    `vocabulary`: inputs are whole numbers below it. `season`: the rows of a series repeat after so many steps.
    `target_feature`: the column of a window that is forecast. `sample_rate`: samples of sound in a second."""

    name: str
    title: str
    kind: Literal["image", "table", "series", "text", "audio"]
    tasks: tuple[str, ...]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    target_names: tuple[str, ...]
    train: int
    test: int
    description: str
    source: str
    license: str
    download_bytes: int = 0
    parts: Literal["own_test", "cut_test", "same_rows", "own_parts", "in_order"] = "cut_test"
    features: tuple[str, ...] | None = None
    input_dtype: Literal["float32", "int32"] = "float32"
    validation: int = 0
    gap: int = 0
    vocabulary: int | None = None
    season: float | None = None
    target_feature: int | None = None
    sample_rate: int | None = None


@final
@dataclass(frozen=True)
class Part:
    """Rows to train or judge on. `x`: float32 (n, …), or int32 (n, t) of words; `y`: int32 (n,) class numbers,
    float32 (n, k) values, or int32 (n, t) of the words that follow. `when`: (n, 2) the first and the last moment of
    each row's target, where rows have an order in time."""

    x: Array
    y: Array
    when: Array | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)


@final
@dataclass(frozen=True)
class Dealt:
    """Rows dealt out to the parts, as their source gives them, and what the source wants done to them: an encoder to
    be fitted, and steps and targets that are fitted already."""

    train: Part
    validation: Part
    test: Part
    encoder: Encoder | None = None
    steps: tuple[Step, ...] = ()
    targets: TargetNormalization | None = None


class Content(abc.ABC):
    """The content of a data set as its source gives it: unprocessed and not yet dealt out."""

    @abc.abstractmethod
    def arrays(self) -> Iterator[Array]:
        """All that the content consists of."""

    @abc.abstractmethod
    def deal(self, card: Card, split: Split, counts: Sizes) -> Dealt:
        """The parts, of the sizes `counts`."""

    def sha256(self) -> str:
        """The hash of the content: types, shapes and values of all arrays."""
        digest = hashlib.sha256()
        for array in self.arrays():
            kind = array.dtype.str if array.dtype.names is None else str(array.dtype.descr)
            digest.update(f"{kind}{array.shape}".encode())
            if array.dtype.hasobject:
                digest.update(json.dumps(array.tolist()).encode())
            else:
                digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return digest.hexdigest()


@final
@dataclass(frozen=True)
class Raw(Content):
    """Rows and targets, and those of the data set's own test (and validation) part where it has one."""

    x: Array
    y: Array
    test_x: Array | None = None
    test_y: Array | None = None
    validation_x: Array | None = None
    validation_y: Array | None = None
    encoder: Encoder | None = None

    def arrays(self) -> Iterator[Array]:
        """Rows and targets of all parts."""
        for array in (self.x, self.y, self.test_x, self.test_y, self.validation_x, self.validation_y):
            if array is not None:
                yield array

    def deal(self, card: Card, split: Split, counts: Sizes) -> Dealt:
        """Cut off test and validation, stratified where classes are known, and mix the train rows."""
        if card.parts == "same_rows":
            whole = Part(self.x, self.y)
            return Dealt(whole, whole, whole, self.encoder)
        rest = np.arange(len(self.x))
        if self.test_x is not None and self.test_y is not None:
            test = Part(self.test_x, self.test_y)
        else:
            # The test part is stratified whatever `stratify` says: it is the same for everyone.
            test_rows, rest = cut_test(self.y if card.classes is not None else None, len(self.x), counts.test)
            test = self._take(test_rows)
        labels = self.y[rest] if split.stratify and card.classes is not None else None
        if self.validation_x is not None and self.validation_y is not None:
            train, _ = cut_validation(labels, len(rest), counts._replace(validation=0), split.seed)
            validation = Part(self.validation_x, self.validation_y)
        else:
            train, chosen = cut_validation(labels, len(rest), counts, split.seed)
            validation = self._take(rest[chosen])
        return Dealt(self._take(rest[train]), validation, test, self.encoder)

    def _take(self, rows: Rows) -> Part:
        return Part(self.x[rows], self.y[rows])


@final
@dataclass(frozen=True)
class Dataset:
    """A loaded, split and preprocessed data set; `sha256` names the unprocessed content."""

    card: Card
    train: Part
    validation: Part
    test: Part
    pipeline: Pipeline
    sha256: str


class Source(abc.ABC):
    """Where a data set comes from; a module of this folder offers its sources in `SOURCES`.

    `card` is that of the default options; `options_type` declares what a spec may say beside the name.
    """

    card: Card
    options_type: type[Options] = Options

    def card_for(self, options: Any) -> Card:
        """The card under `options` (an `options_type`), without loading anything; Invalid where they do not fit."""
        return self.card

    @abc.abstractmethod
    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Content:
        """All rows; `datasets_dir` is the cache of downloaded files. DataError when they cannot be had."""
