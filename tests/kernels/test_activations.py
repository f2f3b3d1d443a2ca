"""Activations by hand: known values, limits, and what a network must not hide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kernels.operator import Operator
from kernels.ops.activations import Elu, Gelu, LeakyRelu, Linear, Relu, Sigmoid, Silu, Step, Tanh
from kernels.ops.flatten import Flatten
from kernels.ops.softmax import Softmax
from kernels.registry import layers
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind


def value(operator: Operator, *x: float, dtype: str = "float64") -> Any:
    """y for a row x."""
    bound = bind(operator, TensorSpec((1, len(x))), dtype=dtype)
    bound.put("x", np.array([x], dtype))
    return bound.forward()[0]


def slope(operator: Operator, *x: float) -> Any:
    """dx for a row x and dy = 1."""
    bound = bind(operator, TensorSpec((1, len(x))), dtype="float64")
    bound.put("x", np.array([x]))
    bound.put("dy", np.ones((1, len(x))))
    bound.forward()
    return bound.backward()["dx"][0]


@pytest.mark.parametrize(
    ("operator", "x", "y"),
    [
        (Linear(), [-2, 0, 3], [-2, 0, 3]),
        (Step(), [-2, -0.0, 0, 3], [0, 1, 1, 1]),
        (Sigmoid(), [0, math.log(3), -math.log(3)], [0.5, 0.75, 0.25]),
        (Tanh(), [0, math.log(3) / 2, -math.log(3) / 2], [0, 0.5, -0.5]),
        (Relu(), [-2, 0, 3], [0, 0, 3]),
        (LeakyRelu(), [-2, 0, 3], [-0.6, 0, 3]),
        (LeakyRelu(negative_slope=0.01), [-2, 0, 3], [-0.02, 0, 3]),
        (Elu(), [-math.log(2), 0, 3], [-0.5, 0, 3]),
        (Elu(alpha=2), [-math.log(2), 0, 3], [-1, 0, 3]),
        (Gelu(), [0, 1, -1], [0, 0.841344746, -0.158655254]),
        (Gelu(approximate=True), [0, 1, -1], [0, 0.841191991, -0.158808009]),
        (Silu(), [0, math.log(3)], [0, 0.75 * math.log(3)]),
        (Softmax(), [0, math.log(2), math.log(3)], [1 / 6, 2 / 6, 3 / 6]),
    ],
    ids=str,
)
def test_values_by_hand(operator: Operator, x: list[float], y: list[float]) -> None:
    assert value(operator, *x) == pytest.approx(y, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(
    ("operator", "x", "dx"),
    [
        (Relu(), [-1, 0, 2], [0, 0, 1]),
        (LeakyRelu(), [-1, 2], [0.3, 1]),
        (Sigmoid(), [0, math.log(3)], [0.25, 0.1875]),
        (Tanh(), [0, math.log(3) / 2], [1, 0.75]),
        (Elu(), [-math.log(2), 2], [0.5, 1]),
        (Step(), [-1, 2], [0, 0]),
        (Step("straight_through"), [-1, 2], [1, 1]),
        (Step("sigmoid"), [0, math.log(3)], [0.25, 0.1875]),
    ],
    ids=str,
)
def test_slopes_by_hand(operator: Operator, x: list[float], dx: list[float]) -> None:
    assert slope(operator, *x) == pytest.approx(dx, rel=1e-6)


@pytest.mark.parametrize(("gradient", "teachable"), [("none", False), ("straight_through", True), ("sigmoid", True)])
def test_a_step_teaches_only_through_a_surrogate(gradient: Any, teachable: bool) -> None:
    assert Step(gradient).teachable is teachable


@pytest.mark.parametrize(
    "operator", [Relu(), LeakyRelu(), Sigmoid(), Tanh(), Elu(), Gelu(), Gelu(approximate=True), Silu()], ids=str
)
def test_what_is_not_a_number_stays_visible(operator: Operator) -> None:
    assert np.isnan(value(operator, np.nan, 1.0, dtype="float32")[0])


@pytest.mark.parametrize("kind", [name for name, layer in layers.members.items() if layer.is_activation])
def test_nothing_overflows_far_from_zero(kind: str) -> None:
    far = value(layers[kind](), -1e4, -100.0, 100.0, 1e4, dtype="float32")
    assert np.isfinite(far).all()
    bound = bind(layers[kind](), TensorSpec((1, 4)))
    bound.put("x", np.float32([[-1e4, -100, 100, 1e4]]))
    bound.forward()
    assert np.isfinite(bound.backward()["dx"]).all()


def test_small_arguments_keep_their_precision() -> None:
    small = np.float32([1e-3, 1e-5, -1e-6])
    assert value(Tanh(), *small, dtype="float32") == pytest.approx(np.tanh(small.astype("float64")), rel=1e-6)
    assert value(Elu(), *-abs(small), dtype="float32") == pytest.approx(
        np.expm1(-abs(small.astype("float64"))), rel=1e-6
    )


def test_softmax_rows_sum_to_one_and_shifting_all_scores_changes_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(1, 1000)) * 10
    assert value(Softmax(), *x[0]).sum() == pytest.approx(1)
    assert value(Softmax(), *(x[0] + 1e4)) == pytest.approx(value(Softmax(), *x[0]), rel=1e-9)


def test_flatten_keeps_memory_order_and_moves_nothing() -> None:
    bound = bind(Flatten(), TensorSpec((1, 2, 2, 2)))
    bound.put("x", np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    assert bound.forward().tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert bound.forward_launches == bound.backward_launches == ()
