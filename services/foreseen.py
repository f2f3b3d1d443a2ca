"""A few forecasts of the test part beside what came: what a person wants to see before any score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from services.datasets import Card, Part, Pipeline
from services.datasets.preprocessing import Normalization

Array = npt.NDArray[Any]

EXAMPLES, SEEN = 4, 96
"""How many forecasts, and how many of the values before each."""
DIGITS = 5


def foreseen(card: Card, pipeline: Pipeline, test: Part, forecast: Callable[[Part], Array]) -> dict[str, Any]:
    """`forecasts`: rows spread evenly over the test part, in the data set's units: each with its `truth`, its
    `forecast` and, where preprocessing can be taken back, what the network had `seen` of the target's past."""
    count = min(EXAMPLES, len(test))
    if count == 0 or card.target_feature is None:
        return {}
    chosen = np.linspace(0, len(test) - 1, count).round().astype(np.int64)
    part = Part(test.x[chosen], test.y[chosen])
    made, truth = (np.asarray(pipeline.restore(y)).reshape(count, -1) for y in (forecast(part), part.y))
    rows = [{"truth": _plain(t), "forecast": _plain(f)} for t, f in zip(truth, made, strict=True)]
    seen = _undone(pipeline, part.x[:, -SEEN:, card.target_feature], card.target_feature)
    for k, row in enumerate(rows):
        row.update({} if seen is None else {"seen": _plain(seen[k])})
    return {"forecasts": {"target": card.target_names[0] if card.target_names else None, "rows": rows}}


def _undone(pipeline: Pipeline, past: Array, column: int) -> Array | None:
    """One column of preprocessed windows as the data set gave it; None after steps other than one normalization."""
    if not pipeline.steps:
        return past
    step = pipeline.steps[0]
    if len(pipeline.steps) > 1 or not isinstance(step, Normalization) or step.mean is None or step.variance is None:
        return None
    mean, variance = (np.atleast_1d(values)[column % np.size(values)] for values in (step.mean, step.variance))
    return np.asarray(past * (math.sqrt(variance) or 1.0) + mean)


def _plain(values: Array) -> list[float]:
    """Short numbers: they are drawn, not computed with."""
    return [float(f"{value:.{DIGITS}g}") for value in values]
