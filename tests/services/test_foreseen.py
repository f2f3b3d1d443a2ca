"""Forecasts to look at: what was seen, what came and what was said, in the units of the data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services import datasets, training_job
from services.datasets import Card, Part, Pipeline
from services.datasets.preprocessing import Normalization, Rescaling, TargetNormalization
from services.documents import from_yaml
from services.errors import DataError
from services.foreseen import EXAMPLES, foreseen
from services.settings import get_settings
from services.spec import parse_job

WINDOW, HORIZON = 6, 3


@pytest.fixture
def card() -> Card:
    """A series of two columns, of which the second is forecast."""
    return replace(datasets.card("vlissingen_tide"), target_feature=1)


@pytest.fixture
def test_part() -> Part:
    """Ten windows of a line, in units of a hundred."""
    steps = 100.0 + 100.0 * np.arange(WINDOW + HORIZON + 9)
    line = np.stack([steps[k : k + WINDOW + HORIZON] for k in range(10)])
    x = np.stack([np.zeros((10, WINDOW)), line[:, :WINDOW]], axis=2)
    return Part(x.astype(np.float32), line[:, WINDOW:].astype(np.float32))


def persistence(part: Part) -> np.ndarray:
    """The last value that the network sees, for every step."""
    return np.repeat(part.x[:, -1:, 1], HORIZON, axis=1)


def test_rows_are_spread_over_the_test_part_and_go_on_where_the_window_ends(card: Card, test_part: Part) -> None:
    rows = foreseen(card, Pipeline(), test_part, persistence(test_part))["forecasts"]["rows"]
    assert len(rows) == EXAMPLES
    assert [row["seen"][0] for row in rows] == [100.0, 400.0, 700.0, 1000.0]
    for row in rows:
        assert row["truth"][0] == row["seen"][-1] + 100
        assert row["forecast"] == [row["seen"][-1]] * HORIZON


def test_what_was_normalized_is_told_in_the_data_sets_units(card: Card, test_part: Part) -> None:
    step, aim = Normalization((5.0, 600.0), (1.0, 250.0**2)), TargetNormalization((600.0,), (250.0**2,))
    x = test_part.x.copy()
    step.apply(x)
    scaled = Part(x, aim.apply(test_part.y))
    plain = foreseen(card, Pipeline(), test_part, persistence(test_part))
    assert foreseen(card, Pipeline((step,), targets=aim), scaled, persistence(scaled)) == plain


def test_what_cannot_be_taken_back_is_left_out(card: Card, test_part: Part) -> None:
    rows = foreseen(card, Pipeline((Rescaling(0.0),)), test_part, persistence(test_part))["forecasts"]["rows"]
    assert all(row.keys() == {"truth", "forecast"} for row in rows)


def test_without_test_rows_there_is_nothing_to_show(card: Card, test_part: Part) -> None:
    assert foreseen(card, Pipeline(), Part(test_part.x[:0], test_part.y[:0]), persistence(test_part)) == {}
    assert foreseen(replace(card, target_feature=None), Pipeline(), test_part, persistence(test_part)) == {}


def test_a_finished_forecast_carries_some_of_its_forecasts(tmp_path: Path) -> None:
    job = from_yaml(Path("examples/etth1_lstm.yaml").read_bytes())
    job["baseline"] = False
    job["dataset"] |= {"train_fraction": 0.02, "horizon": 3}
    job["network"] = {"layers": [{"type": "flatten"}, {"type": "dense", "units": 3}]}
    job["training"] |= {"epochs": 1, "early_stopping": None}
    spec, where = parse_job(job), get_settings().datasets_dir
    try:
        *_, done = training_job.run(spec.resolved(), tmp_path, None, "cpu", 1, where, lambda: False)
    except DataError as error:
        pytest.skip(f"the data set cannot be had here: {error}")
    rows = done["result"]["forecasts"]["rows"]
    assert [(len(row["seen"]), len(row["truth"]), len(row["forecast"])) for row in rows] == [(96, 3, 3)] * EXAMPLES
    for row in rows:
        apart = abs(row["truth"][0] - row["seen"][-1])
        assert apart < 5, "the truth goes on in the units of what was seen: degrees Celsius"
