"""A few forecasts of the test part beside what came: what a person wants to see before any score."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from services.datasets import Card, Part, Pipeline

Array = npt.NDArray[Any]

EXAMPLES, SEEN = 4, 96
"""How many forecasts, and how many of the values before each."""
DIGITS = 5


def foreseen(card: Card, pipeline: Pipeline, test: Part, made: Array) -> dict[str, Any]:
    """`forecasts`: rows spread evenly over the test part, in the data set's units: each with its `truth`, its
    `forecast` (`made` holds those of all rows) and, where preprocessing can be taken back, what the network had `seen`
    of the target's past."""
    count = min(EXAMPLES, len(test))
    if count == 0 or card.target_feature is None:
        return {}
    chosen = np.linspace(0, len(test) - 1, count).round().astype(np.int64)
    ahead, truth = (np.asarray(pipeline.restore(y[chosen])).reshape(count, -1) for y in (made, test.y))
    rows = [{"truth": _plain(t), "forecast": _plain(f)} for t, f in zip(truth, ahead, strict=True)]
    seen = pipeline.undo(test.x[chosen])
    for k, row in enumerate(rows):
        row.update({} if seen is None else {"seen": _plain(seen[k, -SEEN:, card.target_feature])})
    return {"forecasts": {"target": card.target_names[0] if card.target_names else None, "rows": rows}}


def _plain(values: Array) -> list[float]:
    """Short numbers: they are drawn, not computed with."""
    return [float(f"{value:.{DIGITS}g}") for value in values]
