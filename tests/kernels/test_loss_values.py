"""Losses by hand: known values, limits, and the learning rule that each gradient is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kernels.losses.binary_crossentropy import BinaryCrossentropy
from kernels.losses.binary_focal_crossentropy import BinaryFocalCrossentropy, BinaryFocalCrossentropyOfScores
from kernels.losses.categorical_crossentropy import CategoricalCrossentropy
from kernels.losses.categorical_focal_crossentropy import (
    CategoricalFocalCrossentropy,
    CategoricalFocalCrossentropyOfScores,
)
from kernels.losses.huber import Huber
from kernels.operator import Loss, LossExample
from kernels.registry import losses
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind_loss

LN2, LN3 = math.log(2), math.log(3)


def bound(loss: Loss, x: Any, t: Any, dtype: str = "float64") -> Bound:
    """A loss over given predictions and targets."""
    x, t = np.array(x, dtype), np.array(t, np.int32 if loss.target == "labels" else dtype)
    made = bind_loss(LossExample(loss, TensorSpec(x.shape), TensorSpec(t.shape, t.dtype.name)), dtype=dtype)
    made.put("x", x)
    made.put("t", t)
    return made


@pytest.mark.parametrize(
    ("name", "behind", "x", "t", "rows"),
    [
        ("mean_squared_error", None, [[1, 2], [0, 0]], [[1, 4], [3, 1]], [2, 5]),
        ("mean_absolute_error", None, [[1, 2], [0, 0]], [[1, 4], [3, -1]], [1, 2]),
        ("binary_crossentropy", None, [[0.5], [0.25]], [[1], [0]], [LN2, -math.log(0.75)]),
        ("binary_crossentropy", "sigmoid", [[0], [LN3]], [[1], [0]], [LN2, 2 * LN2]),
        ("categorical_crossentropy", None, [[0.25, 0.75], [0.5, 0.5]], [[1, 0], [0.5, 0.5]], [2 * LN2, LN2]),
        ("categorical_crossentropy", "softmax", [[0, LN3], [5, 5]], [[1, 0], [0.5, 0.5]], [2 * LN2, LN2]),
        ("sparse_categorical_crossentropy", None, [[0.25, 0.75], [0.5, 0.5]], [0, 1], [2 * LN2, LN2]),
        ("sparse_categorical_crossentropy", "softmax", [[0, LN3], [5, 5]], [0, 1], [2 * LN2, LN2]),
        ("perceptron", None, [[2], [-3], [2], [-3]], [[1], [1], [0], [0]], [0, 3, 2, 0]),
        ("mean_squared_error", None, [[[1, 2], [0, 0]]], [[[1, 4], [3, 1]]], [3.5]),
        ("mean_absolute_error", None, [[[[1], [2]], [[0], [0]]]], [[[[1], [4]], [[3], [1]]]], [1.5]),
        ("temporal_difference", None, [[1, 2], [3, 7]], [[1, 4], [0, 2.5]], [1.5, 0.125]),
        ("policy_gradient", None, [[0, LN3], [0, LN3]], [[1, 2], [0, -1]], [2 * (2 * LN2 - LN3), -2 * LN2]),
        (
            "clipped_surrogate",
            None,
            [[0, LN3]] * 3,
            [[1, 2, -LN2, 0.2], [1, -2, -LN2, 0.2], [1, 2, 0, 0.3]],
            [-2.4, 3, -1.5],
        ),
        ("huber", None, [[1, 2], [0, 0]], [[1, 4], [3, 1]], [0.75, 1.5]),
        ("log_cosh", None, [[1, 1], [0, -40]], [[0, 1], [0, 0]], [math.log(math.cosh(1)) / 2, 20 - LN2 / 2]),
        ("hinge", None, [[2], [0.5], [-1], [-3], [0.5]], [[1], [1], [1], [0], [0]], [0, 0.5, 2, 0, 1.5]),
        ("squared_hinge", None, [[2], [0.5], [-1], [-3], [0.5]], [[1], [1], [1], [0], [0]], [0, 0.25, 4, 0, 2.25]),
        ("kl_divergence", None, [[0.25, 0.75], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]], [LN2 - LN3 / 2, 0]),
        ("kl_divergence", "softmax", [[0, LN3], [5, 5]], [[0.5, 0.5], [0.5, 0.5]], [LN2 - LN3 / 2, 0]),
        ("categorical_crossentropy", None, [[[0.25, 0.75], [0.5, 0.5]]], [[[1, 0], [0, 1]]], [1.5 * LN2]),
        ("sparse_categorical_crossentropy", None, [[[0.25, 0.75], [0.5, 0.5]]], [[0, 1]], [1.5 * LN2]),
        ("sparse_categorical_crossentropy", "softmax", [[[0, LN3], [5, 5]]], [[0, 1]], [1.5 * LN2]),
    ],
)
def test_values_by_hand(name: str, behind: str | None, x: Any, t: Any, rows: list[float]) -> None:
    loss = losses[name].fused[behind]() if behind else losses[name]()
    assert bound(loss, x, t).forward() == pytest.approx(rows, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "x", "t", "rows"),
    [
        (Huber(delta=0.5), [[1, 2], [0, 0]], [[1, 4], [3, 1]], [0.4375, 0.875]),
        (CategoricalCrossentropy(label_smoothing=0.2), [[0.25, 0.75]], [[1, 0]], [2 * LN2 - 0.1 * LN3]),
        (
            BinaryCrossentropy(label_smoothing=0.2),
            [[0.25], [0.25]],
            [[1], [0]],
            [2 * LN2 - 0.1 * LN3, 2 * LN2 - 0.9 * LN3],
        ),
        (BinaryFocalCrossentropy(), [[0.25], [0.25]], [[1], [0]], [LN2 * 9 / 8, (2 * LN2 - LN3) / 16]),
        (BinaryFocalCrossentropy(True, 0.75), [[0.25], [0.25]], [[1], [0]], [LN2 * 27 / 32, (2 * LN2 - LN3) / 64]),
        (BinaryFocalCrossentropy(gamma=0.5), [[0.25]], [[0]], [(2 * LN2 - LN3) / 2]),
        (CategoricalFocalCrossentropy(), [[0.25, 0.75]], [[1, 0]], [LN2 * 9 / 32]),
        (CategoricalFocalCrossentropy(alpha=1, gamma=0.5), [[0.25, 0.75]], [[0, 1]], [(2 * LN2 - LN3) / 2]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_values_by_hand_with_arguments(loss: Loss, x: Any, t: Any, rows: list[float]) -> None:
    assert bound(loss, x, t).forward() == pytest.approx(rows, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "x", "t", "rows"),
    [
        ("huber", [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], [0.18, 0.13]),
        ("log_cosh", [[1, 1], [0, 0]], [[0, 1], [0, 0]], [0.2168904, 0]),
        ("binary_focal_crossentropy", [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], [0.3298647, 0.2057967]),
        (
            "categorical_focal_crossentropy",
            [[0.05, 0.9, 0.05], [0.1, 0.85, 0.05]],
            [[0, 1, 0], [0, 0, 1]],
            [2.63401289e-04, 6.75912094e-01],
        ),
    ],
)
def test_the_examples_of_keras_s_own_pages(name: str, x: Any, t: Any, rows: list[float]) -> None:
    assert bound(losses[name](), x, t).forward() == pytest.approx(rows, rel=1e-5)


@pytest.mark.parametrize("error", [1e-4, -3e-3, 0.9999, 1.0001, -50.0, 1e4])
def test_log_cosh_keeps_its_digits_for_small_errors_and_does_not_overflow_for_large_ones(error: float) -> None:
    expected = abs(error) + math.log1p(math.exp(-2 * abs(error))) - LN2 if abs(error) > 0.1 else error**2 / 2
    made = bound(losses["log_cosh"](), [[error]], [[0.0]], "float32")
    assert made.forward()[0] == pytest.approx(expected, rel=1e-5)
    assert made.backward()["dx"][0, 0] == pytest.approx(math.tanh(error), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("z", [-500.0, -60.0, 60.0, 500.0])
@pytest.mark.parametrize("t", [0, 1])
def test_sigmoid_and_focal_cross_entropy_as_one_neither_overflow_nor_clip(gamma: float, z: float, t: int) -> None:
    made = bound(BinaryFocalCrossentropyOfScores(gamma=gamma), [[z]], [[t]], "float32")
    right = (z > 0) == bool(t)
    assert made.forward()[0] == pytest.approx(0 if right else abs(z), abs=1e-9)
    assert made.backward()["dx"][0, 0] == pytest.approx(0 if right else (-1 if t else 1), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_softmax_and_focal_cross_entropy_as_one_neither_overflow_nor_clip(gamma: float) -> None:
    loss = CategoricalFocalCrossentropyOfScores(alpha=1.0, gamma=gamma)
    made = bound(loss, [[1000, 0], [0, 1000]], [[1, 0], [1, 0]], "float32")
    assert made.forward() == pytest.approx([0, 1000])
    assert made.backward()["dx"] == pytest.approx(np.array([[0, 0], [-0.5, 0.5]]))


def test_softmax_and_divergence_as_one_neither_overflow_nor_clip_the_scores() -> None:
    made = bound(losses["kl_divergence"].fused["softmax"](), [[1000, 0], [0, 1000]], [[1, 0], [1, 0]], "float32")
    assert made.forward() == pytest.approx([0, 1000], abs=1e-3)
    assert made.backward()["dx"] == pytest.approx(np.array([[0, 0], [-0.5, 0.5]]), abs=1e-6)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_a_score_beyond_the_margin_teaches_nothing(name: str) -> None:
    x, t = [[1.5, -1.5, 1.0, 0.5, 0.5]], [[1, 0, 1, 1, 0]]
    pulls = {"hinge": [0, 0, 0, -0.2, 0.2], "squared_hinge": [0, 0, 0, -0.2, 0.6]}[name]
    assert bound(losses[name](), x, t).backward()["dx"][0] == pytest.approx(pulls)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_minus_one_means_no_as_well_as_zero_does(name: str) -> None:
    x = [[0.3, -0.2], [1.2, 0.1]]
    zero, minus = (bound(losses[name](), x, [[1, no], [no, no]]) for no in (0, -1))
    assert zero.forward().tolist() == minus.forward().tolist()
    assert zero.backward()["dx"].tolist() == minus.backward()["dx"].tolist()


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_a_hinge_works_behind_a_step(name: str) -> None:
    assert losses[name].fused["step"] is losses[name]


@pytest.mark.parametrize("z", [-500.0, 500.0])
@pytest.mark.parametrize("t", [0, 1])
def test_sigmoid_and_cross_entropy_as_one_neither_overflow_nor_clip(z: float, t: int) -> None:
    made = bound(losses["binary_crossentropy"].fused["sigmoid"](), [[z]], [[t]], "float32")
    right = (z > 0) == bool(t)
    assert made.forward()[0] == pytest.approx(0 if right else 500)
    assert made.backward()["dx"][0, 0] == pytest.approx(0 if right else (-1 if t else 1))


def test_softmax_and_cross_entropy_as_one_neither_overflow_nor_clip() -> None:
    made = bound(
        losses["sparse_categorical_crossentropy"].fused["softmax"](), [[1000, 0], [0, 1000]], [0, 0], "float32"
    )
    assert made.forward() == pytest.approx([0, 1000])
    assert made.backward()["dx"] == pytest.approx(np.array([[0, 0], [-0.5, 0.5]]))


@pytest.mark.parametrize("name", ["binary_crossentropy", "categorical_crossentropy"])
def test_a_certain_mistake_costs_what_keras_clips_it_to(name: str) -> None:
    x, t = ([[0.0]], [[1.0]]) if name == "binary_crossentropy" else ([[0.0, 1.0]], [[1.0, 0.0]])
    assert bound(losses[name](), x, t).forward()[0] == pytest.approx(-math.log(1e-7), rel=1e-6)


@pytest.mark.parametrize("label", [-1, 2, 2**31 - 1])
@pytest.mark.parametrize("behind", [None, "softmax"])
def test_a_label_that_no_class_has_is_seen_and_reads_nothing(behind: str | None, label: int) -> None:
    kind = losses["sparse_categorical_crossentropy"]
    loss = kind.fused[behind]() if behind else kind()
    assert np.isnan(bound(loss, [[0.5, 0.5]], [label]).forward()).all()


@pytest.mark.parametrize(
    ("z", "t", "push"), [(2.0, 0, 1), (2.0, 1, 0), (-2.0, 0, 0), (-2.0, 1, -1), (0.0, 0, 1), (0.0, 1, 0)]
)
def test_the_perceptron_s_gradient_is_rosenblatt_s_rule(z: float, t: int, push: int) -> None:
    assert bound(losses["perceptron"](), [[z]], [[t]]).backward()["dx"][0, 0] == push


def test_the_perceptron_works_behind_a_step() -> None:
    assert losses["perceptron"].fused["step"] is losses["perceptron"]
