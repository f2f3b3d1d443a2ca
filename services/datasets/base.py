"""What a data set is: its card (known before anything is loaded), its rows as a source gives them, its parts."""

import abc
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from services.datasets.preprocessing import Floats, Pipeline

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that have arrived, and all its bytes (0 = unknown)."""


@final
@dataclass(frozen=True)
class Card:
    """A data set before it is loaded. `train` + `test` rows; without a test part of its own (`parts` = "cut_test"),
    `test` rows are cut off, the same for everyone; "same_rows": so few rows that every part is all of them."""

    name: str
    title: str
    kind: Literal["image", "table"]
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
    parts: Literal["own_test", "cut_test", "same_rows"] = "cut_test"
    features: tuple[str, ...] | None = None


@final
@dataclass(frozen=True)
class Part:
    """Rows to train or judge on: `x` float32 (n, …), `y` int32 (n,) class numbers or float32 (n, k) values."""

    x: Floats
    y: Array

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)


@final
@dataclass(frozen=True)
class Raw:
    """A data set as its source gives it: unprocessed rows, and the rows of its own test part where it has one."""

    x: Array
    y: Array
    test_x: Array | None = None
    test_y: Array | None = None

    def sha256(self) -> str:
        """The hash of the content: types, shapes and values of all arrays."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.test_x, self.test_y):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


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
    """Where a data set comes from; a module of this folder offers its sources in `SOURCES`."""

    card: Card

    @abc.abstractmethod
    def read(self, datasets_dir: Path, progress: Progress | None) -> Raw:
        """All rows; `datasets_dir` is the cache of downloaded files. DataError when they cannot be had."""
