"""What a job costs and why it cannot run, known before anything is allocated."""

from __future__ import annotations

from typing import Any

import pytest

from services.errors import Invalid
from services.preflight import check
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS, changed

DIGITS: dict[str, Any] = {
    "task": "classification",
    "dataset": {"name": "digits"},
    "network": {
        "layers": [
            {"type": "conv2d", "filters": 8, "kernel_size": 3, "padding": "same", "activation": "relu"},
            {"type": "max_pooling2d", "pool_size": 2},
            {"type": "flatten"},
            {"type": "dense", "units": 10, "activation": "softmax"},
        ]
    },
    "training": {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "batch_size": 32, "epochs": 2},
}


def refused(spec: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Invalid) as caught:
        parse_job(spec)
    return {mistake.path: mistake for mistake in caught.value.mistakes}


def test_shapes_parameters_and_operations_are_those_of_the_textbook() -> None:
    plan = check(parse_job(DIGITS)).outline
    shapes = {layer["name"]: layer["output_shape"] for layer in plan["layers"]}
    assert shapes == {
        "conv2d": [8, 8, 8], "conv2d.relu": [8, 8, 8], "max_pooling2d": [4, 4, 8], "flatten": [128],
        "dense": [10], "dense.softmax": [10],
    }  # fmt: skip
    assert plan["parameters"] == (3 * 3 * 1 * 8 + 8) + (128 * 10 + 10)
    conv = plan["layers"][0]
    assert conv["flops"] == pytest.approx(2 * 8 * 8 * 8 * 9, rel=0.2)
    assert plan["steps_per_epoch"] * 2 == plan["total_steps"]
    assert plan["bytes"]["optimizer"] == 2 * plan["bytes"]["weights"] >= 8 * plan["parameters"]


@pytest.mark.parametrize(("batch", "steps"), [(1, 1293), (32, 41), ("full", 1)])
def test_one_knob_chooses_stochastic_mini_batch_or_batch_descent(batch: Any, steps: int) -> None:
    rows = check(parse_job(DIGITS)).sizes.train
    plan = check(parse_job(changed(DIGITS, training__batch_size=batch)))
    assert plan.steps_per_epoch == (rows if batch == 1 else -(-rows // plan.batch))
    assert rows == pytest.approx(1293, abs=2)
    assert (plan.steps_per_epoch - steps) in (-1, 0, 1)


def test_a_layer_that_does_not_fit_is_named_with_its_shape_and_the_remedy() -> None:
    layers = [{"type": "conv2d", "filters": 4, "kernel_size": 3}, {"type": "dense", "units": 10}]
    mistake = refused(changed(DIGITS, network__layers=layers))["network.layers[1]"]
    assert "(32, 6, 6, 4)" in mistake.message
    assert "(batch, features)" in mistake.message
    assert "flatten" in (mistake.hint or "")


def test_too_few_outputs_for_the_classes_are_pointed_out() -> None:
    layers = [{"type": "flatten"}, {"type": "dense", "units": 7, "activation": "softmax"}]
    mistake = refused(changed(DIGITS, network__layers=layers))["network.layers[1]"]
    assert "7" in mistake.message
    assert "10 classes" in mistake.message
    assert "units: 10" in (mistake.hint or "")


def test_cross_entropy_without_probabilities_is_pointed_out() -> None:
    layers = [{"type": "flatten"}, {"type": "dense", "units": 10}]
    assert "softmax" in (refused(changed(DIGITS, network__layers=layers))["network.layers[1]"].hint or "")


AND = {
    "task": "classification",
    "dataset": {"name": "logic_and"},
    "network": {"layers": [{"type": "dense", "units": 1, "activation": "step"}]},
    "training": {
        "loss": "perceptron",
        "optimizer": {"type": "sgd", "learning_rate": 1.0},
        "batch_size": 1,
        "epochs": 20,
    },
}


def test_plain_descent_through_a_step_is_refused_with_the_lesson() -> None:
    mistake = refused(changed(AND, training__loss="mean_squared_error"))["network.layers[0].activation"]
    assert "0 everywhere" in mistake.message
    assert "w ← w − α·dC/dw" in mistake.message
    assert "perceptron" in (mistake.hint or "")
    assert "sigmoid" in (mistake.hint or "")


@pytest.mark.parametrize("loss", ["perceptron", "mean_squared_error"])
def test_a_step_learns_by_the_perceptron_rule_or_through_a_surrogate(loss: str) -> None:
    activation: Any = "step" if loss == "perceptron" else {"type": "step", "gradient": "sigmoid"}
    layers = [{"type": "dense", "units": 1, "activation": activation}]
    assert check(parse_job(changed(AND, training__loss=loss, network__layers=layers))).total_steps == 80


def test_a_network_without_weights_is_refused() -> None:
    spec = changed(AND, network__layers=[{"type": "flatten"}], training__loss="mean_squared_error")
    assert any(mistake.code in {"nothing_to_learn", "output_unfit"} for mistake in refused(spec).values())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"task": "regression"}, "task"),
        ({"training__metrics": ["r2"]}, "training.metrics"),
        ({"training__metrics": ["accurcy"]}, "training.metrics[0]"),
        ({"training__early_stopping": {"monitor": "val_f1"}}, "training.early_stopping.monitor"),
        ({"training__loss": "mean_squared_error", "task": "regression"}, "task"),
        (
            {
                "training__learning_rate_schedule": {
                    "type": "piecewise_constant_decay",
                    "boundaries": [5],
                    "values": [0.1],
                }
            },
            "training.learning_rate_schedule",
        ),
        ({"dataset__preprocessing": [{"type": "normalization", "mean": [0.0]}]}, "dataset.preprocessing[0]"),
        ({"network__layers": [{"type": "dense", "units": 3, "kernel_initializer": "glorot"}]}, "network.layers[0]"),
        ({"dataset__split": {"train": 0.9, "validation": 0.3}}, "dataset.split"),
        (
            {"network__layers": [{"type": "dense", "units": 3, "name": n} for n in ("dense_1", "dense_1")]},
            "network.layers[1].name",
        ),
    ],
)
def test_parts_that_do_not_fit_each_other_are_named(change: dict[str, Any], path: str) -> None:
    assert path in refused(changed(IRIS, **change))
