"""Truth tables of two inputs: what a perceptron can learn (AND, OR) and what needs a hidden layer (XOR)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from services.datasets.base import Card, Progress, Raw, Source

_LESSONS = {
    "and": ((0, 0, 0, 1), "one straight line separates the classes, so a single perceptron learns it"),
    "or": ((0, 1, 1, 1), "one straight line separates the classes, so a single perceptron learns it"),
    "xor": ((0, 1, 1, 0), "no straight line separates the classes, so a hidden layer is needed"),
}


@final
@dataclass(frozen=True)
class TruthTable(Source):
    """The four rows of a logical function of two inputs; every part is all four rows."""

    card: Card
    outputs: tuple[int, ...]

    def read(self, datasets_dir: Path, progress: Progress | None, options: Any = None) -> Raw:
        """The rows 00, 01, 10, 11."""
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        return Raw(x, np.array(self.outputs, np.int32))


def _truth_table(name: str) -> TruthTable:
    outputs, lesson = _LESSONS[name]
    card = Card(
        name=f"logic_{name}",
        title=f"Logical {name.upper()}",
        kind="table",
        tasks=("classification",),
        input_shape=(2,),
        classes=("false", "true"),
        target_names=(f"a {name} b",),
        train=4,
        test=4,
        description=f"The truth table of {name.upper()}: {lesson}. Train, validation and test are the same four rows.",
        source="built in",
        license="public domain",
        parts="same_rows",
        features=("a", "b"),
    )
    return TruthTable(card, outputs)


SOURCES = tuple(_truth_table(name) for name in _LESSONS)
