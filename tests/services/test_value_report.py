"""Errors of values and forecasts: against scikit-learn, in the data set's units, step by step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from services.datasets import Card, Part, Pipeline
from services.datasets.preprocessing import Normalization, Rescaling, TargetNormalization
from services.value_report import symbol_report, values_beside

CARD = Card(
    name="waves", title="", kind="series", tasks=("forecasting",), input_shape=(8, 2), classes=None,
    target_names=("+1", "+2", "+3"), train=0, test=0, description="", source="", license="", target_feature=1,
    season=4.0,
)  # fmt: skip
MEAN, VARIANCE = (3.0, 50.0), (4.0, 25.0)


def series() -> tuple[Part, np.ndarray]:
    """Windows of a wave that repeats every four steps, as a network sees them: both columns of variance 1; and the
    targets in units of the series."""
    steps = np.arange(40.0)
    wave = 50 + 5 * np.sqrt(2) * np.sin(np.pi * steps / 2)
    both = np.stack([3 + 2 * np.cos(steps), wave], axis=1)
    x = np.stack([both[k : k + 8] for k in range(20)])
    y = np.stack([wave[k + 8 : k + 11] for k in range(20)])
    seen = ((x - MEAN) / np.sqrt(VARIANCE)).astype(np.float32)
    return Part(seen, ((y - 50) / 5).astype(np.float32)), y


PIPELINE = Pipeline((Normalization(MEAN, VARIANCE),), None, TargetNormalization((50.0,), (25.0,)))


def test_a_regression_is_reported_as_scikit_learn_would() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 2)).astype(np.float32)
    made = y + rng.normal(0, 0.3, y.shape).astype(np.float32)
    card = replace(CARD, target_names=("height", "weight"))
    report = values_beside(card, Pipeline(), Part(y, y), made, [], forecast=False)["report"]
    assert report["root_mean_squared_error"] == pytest.approx(math.sqrt(np.square(made - y).mean()), rel=1e-5)
    assert [one["target"] for one in report["targets"]] == ["height", "weight"]
    for k, one in enumerate(report["targets"]):
        assert one["root_mean_squared_error"] == pytest.approx(root_mean_squared_error(y[:, k], made[:, k]), rel=1e-5)
        assert one["mean_absolute_error"] == pytest.approx(mean_absolute_error(y[:, k], made[:, k]), rel=1e-5)
        assert one["r2_score"] == pytest.approx(r2_score(y[:, k], made[:, k]), rel=1e-5)


def test_a_forecast_is_told_step_by_step_beside_those_that_learn_nothing() -> None:
    test, y = series()
    made = np.zeros_like(test.y)
    found = values_beside(CARD, PIPELINE, test, made, ["root_mean_squared_error"], forecast=True)
    last = 50 + 5 * test.x[:, -1, 1:]
    rmse, mae = found["horizon"]["root_mean_squared_error"], found["horizon"]["mean_absolute_error"]
    assert rmse["network"] == pytest.approx(np.sqrt(np.square(y - 50).mean(axis=0)).tolist(), rel=1e-4)
    assert rmse["persistence"] == pytest.approx(np.sqrt(np.square(y - last).mean(axis=0)).tolist(), rel=1e-4)
    assert mae["persistence"] == pytest.approx(np.abs(y - last).mean(axis=0).tolist(), rel=1e-4)
    assert rmse["seasonal naive"] == pytest.approx([0, 0, 0], abs=1e-4)
    # The job's own metrics are those of the network's units.
    assert found["naive"]["persistence"]["root_mean_squared_error"] == pytest.approx(
        math.sqrt(np.square((y - last) / 5).mean()), rel=1e-4
    )
    assert "targets" not in found["report"]


def test_what_a_user_does_to_the_inputs_changes_no_forecast_that_learns_nothing() -> None:
    test, _ = series()
    told = values_beside(CARD, PIPELINE, test, test.y, [], forecast=True)
    squeezed = replace(PIPELINE, steps=(*PIPELINE.steps, Rescaling(0.1, 7.0)))
    again = values_beside(CARD, squeezed, Part(test.x * np.float32(0.1) + 7, test.y), test.y, [], forecast=True)
    assert again["horizon"]["mean_absolute_error"]["persistence"] == pytest.approx(
        told["horizon"]["mean_absolute_error"]["persistence"], rel=1e-3
    )
    flattened = replace(PIPELINE, steps=(*PIPELINE.steps, Rescaling(0.0)))
    assert set(values_beside(CARD, flattened, test, test.y, [], forecast=True)["naive"]) == set()


def test_a_window_shorter_than_a_season_leaves_persistence_alone() -> None:
    test, _ = series()
    found = values_beside(replace(CARD, season=9.0), PIPELINE, test, test.y, [], forecast=True)
    assert set(found["naive"]) == {"persistence"}


def test_surprise_at_a_symbol_in_nats_and_bits() -> None:
    assert symbol_report(8.0) == {"nats_per_symbol": math.log(8), "bits_per_symbol": 3.0, "perplexity": 8.0}
