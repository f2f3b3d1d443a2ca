"""The activations of recurrent cells, each with its slope as a function of its output: nothing else need be kept."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np

from kernels.launch import device

ZERO, HALF, ONE, SIXTH = np.float32(0), np.float32(0.5), np.float32(1), np.float32(1 / 6)

CellActivation: TypeAlias = Literal["tanh", "sigmoid", "hard_sigmoid", "relu", "linear"]
"""The activations that a recurrent layer may use inside: those whose slope follows from their output."""


@device
def tanh_value(x: Any) -> Any:
    """The hyperbolic tangent."""
    return math.tanh(x)


@device
def tanh_slope(y: Any) -> Any:
    """1 − y²."""
    return ONE - y * y


@device
def sigmoid_value(x: Any) -> Any:
    """1 / (1 + e^−x); far below zero e^−x is infinite and the quotient is 0."""
    return ONE / (ONE + math.exp(-x))


@device
def sigmoid_slope(y: Any) -> Any:
    """y · (1 − y)."""
    return y * (ONE - y)


@device
def hard_sigmoid_value(x: Any) -> Any:
    """x / 6 + ½, kept within 0 and 1."""
    y = x * SIXTH + HALF
    return ZERO if y < ZERO else (ONE if y > ONE else y)


@device
def hard_sigmoid_slope(y: Any) -> Any:
    """⅙ strictly between 0 and 1, else 0."""
    return SIXTH if y > ZERO and y < ONE else ZERO


@device
def relu_value(x: Any) -> Any:
    """max(x, 0)."""
    return ZERO if x < ZERO else x


@device
def relu_slope(y: Any) -> Any:
    """1 above 0, else 0."""
    return ONE if y > ZERO else ZERO


@device
def linear_value(x: Any) -> Any:
    """x."""
    return x


@device
def linear_slope(y: Any) -> Any:
    """1."""
    return ONE


CELL_ACTIVATIONS: dict[str, tuple[device, device]] = {
    "tanh": (tanh_value, tanh_slope),
    "sigmoid": (sigmoid_value, sigmoid_slope),
    "hard_sigmoid": (hard_sigmoid_value, hard_sigmoid_slope),
    "relu": (relu_value, relu_slope),
    "linear": (linear_value, linear_slope),
}
"""Every activation's value, and its slope from that value."""
