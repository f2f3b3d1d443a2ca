"""Which classes are taken for which: the confusion matrix, and what it says about every class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.tallies import Array, answers, ratios, truths

Matrix = NDArray[np.int64]

_NAMES = ("precision", "recall", "f1")


def confusion(outputs: Array, targets: Array, classes: Sequence[str]) -> Matrix:
    """How many rows of each class (down) were answered with each class (across); of several batches, their sum."""
    k = len(classes)
    pairs = truths(outputs, targets) * k + answers(outputs)
    return np.bincount(pairs, minlength=k * k).reshape(k, k).astype(np.int64)


def report(outputs: Array, targets: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 and support of every class, their means, accuracy and the matrix, as plain JSON."""
    return report_of(confusion(outputs, targets, classes), classes)


def report_of(matrix: Matrix, classes: Sequence[str]) -> dict[str, Any]:
    """The report of a matrix, for one that was added up over batches.

    `macro` is the mean over the classes met (with rows or answers), `weighted` the mean weighted by rows.
    """
    right, answered, rows = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    found = ratios(np.stack([right, answered, rows]))
    total = max(1, int(rows.sum()))
    met = answered + rows > 0
    return {
        "classes": [{"class": name, **_named(found[:, k]), "support": int(rows[k])} for k, name in enumerate(classes)],
        "macro": _named(found.sum(axis=1) / max(1, np.count_nonzero(met))),
        "weighted": _named(found @ rows / total),
        "accuracy": float(right.sum() / total),
        "confusion_matrix": matrix.tolist(),
    }


def _named(values: Array) -> dict[str, float]:
    return dict(zip(_NAMES, map(float, values), strict=True))
