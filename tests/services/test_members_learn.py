"""Every optimizer and every loss of the registry teaches a whole network, posted as a job would be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from kernels.registry import losses, optimizers
from services import training_job
from services.job_spec import LOSSES
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS, changed

RATES = {"sgd": 0.1, "adagrad": 0.1, "lion": 0.003}
"""Good learning rates; the others take 0.02."""

LAST = {
    "softmax": ("iris", 3),
    "sigmoid": ("breast_cancer", 1),
    "step": ("breast_cancer", 1),
    "linear": ("diabetes", 1),
}
"""A data set, and the units of the last layer, by the activation behind which a loss belongs."""


def result_of(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result of a whole run on the CPU."""
    resolved = parse_job(spec).resolved()
    *_, last = training_job.run(resolved, folder, None, "cpu", 1, Path("unused"), lambda: False)
    assert last["type"] == "done", last
    result: dict[str, Any] = last["result"]
    return result


@pytest.mark.parametrize("name", optimizers.members)
def test_every_optimizer_learns_iris(name: str, tmp_path: Path) -> None:
    optimizer = {"type": name, "learning_rate": RATES.get(name, 0.02)}
    metrics = ["accuracy", "f1", "top_2_accuracy", "perplexity"]
    spec = changed(IRIS, training__optimizer=optimizer, training__metrics=metrics)
    scores = result_of(spec, tmp_path)["test"]
    assert scores["accuracy"] >= 0.85
    assert scores["f1_score"] >= 0.85
    assert scores["top_2_accuracy"] >= scores["accuracy"]
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES.members)
def test_every_loss_teaches(name: str, tmp_path: Path) -> None:
    activation = next(iter(losses[name].fused), "linear")
    dataset, units = LAST[activation]
    values = activation == "linear"
    spec = changed(
        IRIS,
        task="regression" if values else "classification",
        dataset__name=dataset,
        network__layers=[{"type": "dense", "units": units, "activation": activation}],
        training__loss=name,
        training__optimizer={"type": "adam", "learning_rate": 1.0 if values else 0.02},
        training__metrics=["r2"] if values else ["accuracy"],
    )
    scores = result_of(spec, tmp_path)["test"]
    assert scores["r2_score"] > 0.35 if values else scores["accuracy"] >= 0.85
