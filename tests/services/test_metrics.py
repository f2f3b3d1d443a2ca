"""Metrics: scikit-learn's numbers, however the rows are cut into batches."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from services.errors import NotFound
from services.metrics import METRICS, Meter, metric

SEEDS = st.integers(0, 2**32 - 1)


def classified(seed: int, n: int = 40, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    scores = g.random((n, k), dtype=np.float32)
    return scores / scores.sum(axis=1, keepdims=True), g.integers(0, k, n).astype(np.int32)


def valued(seed: int, n: int = 40, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    return g.normal(size=(n, k)).astype(np.float32), g.normal(size=(n, k)).astype(np.float32)


@given(SEEDS)
def test_accuracy_agrees_with_scikit_learn_for_class_numbers_and_for_one_hot_rows(seed: int) -> None:
    outputs, labels = classified(seed)
    expected = sk.accuracy_score(labels, outputs.argmax(axis=1))
    assert metric("accuracy")(outputs, labels) == expected
    assert metric("categorical_accuracy")(outputs, np.eye(6, dtype=np.float32)[labels]) == expected


@given(SEEDS)
def test_accuracy_of_one_output_is_judged_at_one_half(seed: int) -> None:
    g = np.random.default_rng(seed)
    outputs, labels = g.random((40, 1), dtype=np.float32), g.integers(0, 2, (40, 1)).astype(np.float32)
    expected = sk.accuracy_score(labels[:, 0] > 0.5, outputs[:, 0] > 0.5)
    assert metric("accuracy")(outputs, labels) == expected
    assert metric("accuracy")(outputs, labels[:, 0].astype(np.int32)) == expected
    assert metric("binary_accuracy")(outputs, labels) == expected


@given(SEEDS)
def test_top_5_accuracy_agrees_with_scikit_learn(seed: int) -> None:
    outputs, labels = classified(seed)
    expected = sk.top_k_accuracy_score(labels, outputs, k=5, labels=range(6))
    assert metric("top_k_categorical_accuracy")(outputs, labels) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_is_no_number_is_never_among_the_top() -> None:
    outputs = np.full((1, 6), np.nan, np.float32)
    assert metric("top_k_categorical_accuracy")(outputs, np.array([0])) == 0


@given(SEEDS)
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("mse", sk.mean_squared_error),
        ("mae", sk.mean_absolute_error),
        ("rmse", lambda y, p: math.sqrt(sk.mean_squared_error(y, p))),
        ("r2", sk.r2_score),
    ],
)
def test_errors_of_values_agree_with_scikit_learn(name: str, truth: object, seed: int) -> None:
    outputs, targets = valued(seed)
    expected = truth(targets.astype(np.float64), outputs.astype(np.float64))
    assert metric(name)(outputs, targets) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("guess", [3.0, 4.0])
def test_r2_of_constant_targets_follows_scikit_learn(guess: float) -> None:
    targets, outputs = np.full((5, 1), 3.0), np.full((5, 1), guess)
    assert metric("r2")(outputs, targets) == sk.r2_score(targets, outputs)


def test_r2_keeps_its_digits_when_the_targets_lie_far_from_zero() -> None:
    targets = 1e8 + np.arange(1000, dtype=np.float64)[:, np.newaxis]
    outputs = targets + np.sin(targets)
    meter = Meter(["r2"])
    for start in range(0, 1000, 7):
        meter.add(outputs[start : start + 7], targets[start : start + 7])
    assert meter.values()["r2"] == pytest.approx(sk.r2_score(targets, outputs), rel=1e-12)


@given(SEEDS, st.lists(st.integers(0, 40), max_size=6))
def test_batches_of_any_size_give_the_metric_of_the_whole(seed: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 40]
    for names, (outputs, targets) in (
        (["accuracy", "top_k_categorical_accuracy"], classified(seed)),
        (["mse", "mae", "rmse", "r2_score"], valued(seed)),
    ):
        meter = Meter(names)
        for start, stop in itertools.pairwise(edges):
            meter.add(outputs[start:stop], targets[start:stop])
        for name, value in meter.values().items():
            assert value == pytest.approx(metric(name)(outputs, targets), rel=1e-12)


def test_a_meter_goes_on_from_its_state_in_json_with_the_same_bits() -> None:
    outputs, targets = valued(3)
    through, resumed = Meter(["mse", "r2"]), Meter(["mse", "r2"])
    through.add(outputs[:13], targets[:13])
    resumed.restore(json.loads(json.dumps(through.state())))
    for meter in (through, resumed):
        meter.add(outputs[13:], targets[13:])
    assert through.values() == resumed.values()


def test_no_rows_have_no_score() -> None:
    meter = Meter(["accuracy", "r2"])
    meter.add(np.zeros((0, 3)), np.zeros(0, np.int32))
    assert all(math.isnan(value) for value in meter.values().values())
    assert math.isnan(metric("mse")(np.zeros((0, 1)), np.zeros((0, 1))))


def test_a_meter_answers_by_the_names_it_was_asked_with() -> None:
    meter = Meter(["acc", "MeanSquaredError"])
    meter.add(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    assert meter.values() == {"acc": 1.0, "MeanSquaredError": 0.0}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("acc", "accuracy"), ("R2Score", "r2_score"), ("TopKCategoricalAccuracy", "top_k_categorical_accuracy")],
)
def test_keras_class_names_and_short_names_are_understood(name: str, meant: str) -> None:
    assert metric(name) is METRICS[meant]


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        metric("acuracy")
    assert "Did you mean 'accuracy'?" in str(caught.value.hint)
    assert "r2_score" in str(caught.value.hint)
