"""Logarithm of the hyperbolic cosine: a squared error that becomes an absolute one without a seam."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, each
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LN2 = np.float32(math.log(2))


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int) -> None:
    """Row i: Σ log cosh e, over m; with u = e^|e| − 1 it is log(1 + u²/(2 + 2u)), which loses nothing near 0."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            error = abs(x[j] - t[j])
            if error < ONE:
                u = math.expm1(error)
                total += math.log1p(u * u / (TWO + TWO * u))
            else:
                total += error + math.log1p(math.exp(-TWO * error)) - LN2
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int) -> None:
    """tanh(x − t) / (m · rows that count)."""
    k = i * m + j
    dx[k] = math.tanh(x[k] - t[k]) / (np.float32(m) * np.float32(clock[2])) if i < clock[2] else ZERO


@final
@dataclass(frozen=True)
class LogCosh(Loss):
    """The logarithm of the hyperbolic cosine of the error: L = Σ_j log cosh(x_j − t_j) / m.

    About e²/2 for small errors and |e| − log 2 for large ones, smooth everywhere; dL/dx = tanh(x − t) / m.
    x and t are (n, …) of one shape.
    """

    type: ClassVar[str] = "log_cosh"
    aliases: ClassVar[tuple[str, ...]] = ("LogCosh", "logcosh")
    target: ClassVar[Literal["values"]] = "values"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target of one shape."""
        if x.shape != target.shape:
            raise ShapeError(
                f"log_cosh expects predictions and targets of one shape, got {x.shape} and {target.shape}; "
                f"end the network in one unit per target value"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, work=20 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, work=12)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One value per row, several, and values at every step of a sequence."""
        shapes = ((5, 1), (4, 7), (3, 4, 2))
        return [LossExample(cls(), TensorSpec(shape), TensorSpec(shape)) for shape in shapes]
