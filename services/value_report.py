"""How far off values are: of every target by itself, and of a forecast by every step ahead, in the data set's units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.datasets import Card, Part, Pipeline
from services.datasets.windows import naive_forecast
from services.metrics import metric

Array = npt.NDArray[Any]

RMSE, MAE, R2 = "root_mean_squared_error", "mean_absolute_error", "r2_score"


def values_beside(
    card: Card, pipeline: Pipeline, test: Part, made: Array, names: list[str], forecast: bool
) -> dict[str, Any]:
    """What stands beside the scores of a network that gave `made` for the test rows.

    `report`: its errors; of a forecast also `naive`, the job's metrics of what needs no learning, and `horizon`.
    """
    outputs = np.asarray(pipeline.restore(made))
    truth = np.asarray(pipeline.restore(test.y)).reshape(outputs.shape)
    found: dict[str, Any] = {"report": value_report(outputs, truth, () if forecast else card.target_names)}
    if not forecast:
        return found
    naive = naive_forecasts(card, pipeline, test)
    aim = (lambda y: y) if pipeline.targets is None else pipeline.targets.apply
    found["naive"] = {name: _scores(aim(guess), aim(truth), names) for name, guess in naive.items()}
    return found | {"horizon": by_horizon({"network": outputs, **naive}, truth)}


def symbol_report(perplexity: float) -> dict[str, float]:
    """A language model's surprise at each symbol in every usual unit."""
    nats = math.log(perplexity)
    return {"nats_per_symbol": nats, "bits_per_symbol": nats / math.log(2), "perplexity": perplexity}


def _scores(outputs: Array, targets: Array, names: list[str]) -> dict[str, float]:
    return {name: metric(name)(outputs, targets) for name in names}


def value_report(outputs: Array, targets: Array, names: Sequence[str]) -> dict[str, Any]:
    """RMSE, MAE and R² of all targets together and, where several have names, of each."""
    found: dict[str, Any] = _errors(outputs, targets)
    if names and targets.shape[-1] > 1:
        found["targets"] = [
            {"target": name, **_errors(outputs[:, k : k + 1], targets[:, k : k + 1])} for k, name in enumerate(names)
        ]
    return found


def _errors(outputs: Array, targets: Array) -> dict[str, float]:
    return {name: metric(name)(outputs, targets) for name in (RMSE, MAE, R2)}


def naive_forecasts(card: Card, pipeline: Pipeline, test: Part) -> dict[str, Array]:
    """What a forecast without learning says for the test rows, in the data set's units, by name.

    The last value stays; and where the window reaches back so far, the value of a season ago returns. Nothing where
    preprocessing cannot be taken back.
    """
    seen = pipeline.undo(test.x)
    if seen is None or card.target_feature is None:
        return {}
    past, horizon = seen[:, :, card.target_feature].astype(np.float64), test.y.shape[1]
    found = {"persistence": naive_forecast(past, horizon)}
    if card.season is not None and card.season <= past.shape[1]:
        found["seasonal naive"] = naive_forecast(past, horizon, card.season)
    return found


def by_horizon(guesses: Mapping[str, Array], truth: Array) -> dict[str, dict[str, list[float]]]:
    """RMSE and MAE of each step ahead, first step first, of each forecast by name."""
    found: dict[str, dict[str, list[float]]] = {RMSE: {}, MAE: {}}
    for name, guess in guesses.items():
        apart = guess.astype(np.float64) - truth
        found[RMSE][name] = np.sqrt(np.square(apart).mean(axis=0)).tolist()
        found[MAE][name] = np.abs(apart).mean(axis=0).tolist()
    return found
