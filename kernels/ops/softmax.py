"""Softmax over the last axis: scores to probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)


@each
def softmax_row(i: int, x: Any, y: Any, c: int) -> None:
    """y = e^(x − max) / Σ e^(x − max) for row i of c scores; subtracting the maximum keeps e^x finite."""
    begin = i * c
    top = x[begin]
    for j in range(begin + 1, begin + c):
        top = x[j] if x[j] > top else top
    total = ZERO
    for j in range(begin, begin + c):
        e = math.exp(x[j] - top)
        y[j] = e
        total += e
    scale = ONE / total
    for j in range(begin, begin + c):
        y[j] *= scale


@each
def softmax_row_back(i: int, y: Any, dy: Any, dx: Any, c: int) -> None:
    """dx = y · (dy − Σ dy·y) for row i."""
    begin = i * c
    mean = ZERO
    for j in range(begin, begin + c):
        mean += dy[j] * y[j]
    for j in range(begin, begin + c):
        dx[j] = y[j] * (dy[j] - mean)


@final
@dataclass(frozen=True)
class Softmax(Operator):
    """Scores to probabilities over the last axis: y_j = e^(x_j) / Σ_k e^(x_k).

    x and y are (n, …, c); every row of y is positive and sums to 1. dx_j = y_j · (dy_j − Σ_k dy_k·y_k).
    With a cross-entropy loss behind it, both are computed as one.
    """

    type: ClassVar[str] = "softmax"
    aliases: ClassVar[tuple[str, ...]] = ("Softmax",)
    is_activation: ClassVar[bool] = True

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) < 2:
            raise ShapeError(f"softmax expects (batch, …, classes), got {x.shape}; give it a class axis")
        return Signature(output=x)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per row."""
        c = f.x.shape[-1]
        yield softmax_row.over(f.x.size // c, f.x, f.y, c, work=8 * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        c = f.x.shape[-1]
        if f.dx is not None:
            yield softmax_row_back.over(f.x.size // c, f.y, f.dy, f.dx, c, work=4 * c)

    @classmethod
    def examples(cls) -> list[Example]:
        """Classes, one class, and a sequence of positions."""
        return [Example(cls(), TensorSpec(shape)) for shape in ((4, 10), (3, 1), (2, 5, 3))]

    def flops(self, x: TensorSpec) -> int:
        """Operations of one forward pass."""
        return 10 * x.size
