"""Losses by hand: known values, limits, and the learning rule that each gradient is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

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
    ],
)
def test_values_by_hand(name: str, behind: str | None, x: Any, t: Any, rows: list[float]) -> None:
    loss = losses[name].fused[behind]() if behind else losses[name]()
    assert bound(loss, x, t).forward() == pytest.approx(rows, rel=1e-6)


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
