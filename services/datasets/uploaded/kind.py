"""What every kind of uploaded data set is: a source whose card follows from facts that were found when it came in."""

import abc
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np

from services.datasets.base import Card, Content, Progress, Source
from services.datasets.options import parse
from services.datasets.splits import TEST_FRACTION
from services.errors import DataError, did_you_mean

MAX_SAMPLES = 12
"""Rows shown of a data set."""
MAX_SAMPLE_BYTES = 300_000
"""Bytes of JSON of all rows shown."""
MAX_CLASSES = 1_000
"""Classes of a data set."""
MAX_LISTED = 1_000
"""Files named one by one in a report, and broken files that an archive may hold."""
MAX_CONTENT_BYTES = 4 * 2**30
"""Bytes of all rows of a data set as they are held for training."""


@final
@dataclass(frozen=True)
class Survey:
    """What an uploaded file holds. `facts` suffice to make any card without the file; `report` is for people and user
    interfaces; `samples` are a few rows {"x", "y"}. All three are plain JSON."""

    kind: str
    facts: dict[str, Any]
    report: dict[str, Any]
    samples: list[dict[str, Any]]


class Uploaded(Source):
    """An uploaded data set of one kind. `facts["suggested"]` are options under which a card can always be made."""

    kind: ClassVar[str]
    docs: ClassVar[str]
    """What the kind is, in a sentence."""

    def __init__(self, name: str, facts: Mapping[str, Any], file: Path | None) -> None:
        """The data set `name` with the facts of its survey; the file is needed to read it, not for its cards."""
        self.name, self.facts, self._file = name, facts, file
        self.card = self.card_for(parse(self.options_type, facts.get("suggested")))

    @classmethod
    @abc.abstractmethod
    def survey(cls, file: Path) -> Survey:
        """Read everything strictly; DataError says what is wrong."""

    @abc.abstractmethod
    def card_for(self, options: Any) -> Card:
        """The card under `options`, from the facts alone; Invalid where they do not fit."""

    @abc.abstractmethod
    def read_file(self, file: Path, options: Any) -> Content:
        """All rows of the file under `options`."""

    def read(self, datasets_dir: Path, progress: Progress | None = None, options: Any = None) -> Content:
        """All rows; DataError when the file is missing or is not the one that was surveyed."""
        chosen = parse(self.options_type, self.facts.get("suggested") if options is None else options)
        self.card_for(chosen)
        if self._file is None:
            raise DataError(f"The file of {self.name} is not here.", hint="Upload it again.")
        return self.read_file(self._file, chosen)

    @classmethod
    def of(cls, name: str, facts: Mapping[str, Any], file: Path | None) -> Self:
        """The same as the constructor, by a name that registries can call."""
        return cls(name, facts, file)


def cut(rows: int) -> tuple[int, int]:
    """How many rows are for training (and validation), and how many are the test part."""
    test = int(np.floor(rows * TEST_FRACTION + 0.5))
    return rows - test, test


def majority(classes: Mapping[str, int]) -> dict[str, Any] | None:
    """The most frequent class and the accuracy of always guessing it."""
    if not classes or not sum(classes.values()):
        return None
    best = max(classes, key=lambda name: classes[name])
    return {"class": best, "accuracy": classes[best] / sum(classes.values())}


def shown(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of these rows as may be shown."""
    kept: list[dict[str, Any]] = []
    room = MAX_SAMPLE_BYTES
    for sample in samples[:MAX_SAMPLES]:
        room -= len(json.dumps(sample)) + 2
        if room >= 0:
            kept.append(sample)
    return kept


def spread(count: int, most: int = MAX_SAMPLES) -> list[int]:
    """At most `most` of `count` places, evenly apart."""
    few = min(count, most)
    return [place * count // few for place in range(few)]


def data_uri(png: bytes) -> str:
    """A PNG picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def changed(name: str) -> DataError:
    """What to say of a file that is not the one surveyed."""
    return DataError(f"The file of {name} is not the one that was surveyed.", hint="Upload it again.")


def unknown(what: str, name: str, known: Sequence[str]) -> tuple[str, str]:
    """Message and hint for a name that is not there."""
    return f"there is no {what} {name!r}", did_you_mean(name, known)
