"""Gradient noise against closed forms, and that measuring it changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from services import training_job
from services.gradient_noise import told
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS, changed


def test_the_estimates_are_without_bias() -> None:
    rng = np.random.default_rng(0)
    mean, sigma, batches, dims = 0.3, 0.5, 16, 10
    variances, norms = [], []
    for _ in range(400):
        g = mean + sigma * rng.normal(size=(batches, dims))
        found = told(8, batches, float(np.sum(g.sum(axis=0) ** 2)), float(np.sum(g**2)))
        variances.append(found["variance"])
        norms.append(found["squared_norm"])
    assert np.mean(variances) == pytest.approx(dims * sigma**2, rel=0.03)
    assert np.mean(norms) == pytest.approx(dims * mean**2, rel=0.08)


def test_one_whole_batch_has_no_scatter() -> None:
    found = told(100, 1, 4.0, 4.0)
    assert (found["variance"], found["ratio"], found["scale"]) == (0, 0, None)


def test_measuring_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    results = []
    for wanted in (False, True):
        spec = parse_job(changed(IRIS, training__gradient_noise=wanted, training__epochs=2)).resolved()
        *_, done = training_job.run(spec, tmp_path / str(wanted), None, "cpu", 1, Path("unused"), lambda: False)
        results.append(done["result"])
    plain, measured = results
    assert plain["weights_sha256"] == measured["weights_sha256"]
    assert "gradient_noise" not in plain
    assert set(measured["gradient_noise"]) == {"start", "end"}
    assert measured["gradient_noise"]["start"]["ratio"] > 0
