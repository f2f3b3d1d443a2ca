"""Huber's loss: squared for small errors, absolute for large ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Gt

from kernels.launch import Launch, each
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, HALF = np.float32(0), np.float32(0.5)


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int, delta: Any) -> None:
    """Row i: Σ e²/2 where |e| ≤ δ, δ·(|e| − δ/2) beyond, over m. With b = min(|e|, δ) both are b·(|e| − b/2)."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            error = abs(x[j] - t[j])
            bounded = delta if error > delta else error
            total += bounded * (error - HALF * bounded)
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int, delta: Any) -> None:
    """The error kept in −δ … δ, over (m · rows that count)."""
    k = i * m + j
    error = x[k] - t[k]
    bounded = delta if error > delta else (-delta if error < -delta else error)
    dx[k] = bounded / (np.float32(m) * np.float32(clock[2])) if i < clock[2] else ZERO


@final
@dataclass(frozen=True)
class Huber(Loss):
    """Squared error where it is small, absolute error where it is large: L = Σ_j h(x_j − t_j) / m.

    h(e) = e²/2 for |e| ≤ δ and δ·(|e| − δ/2) beyond (Huber 1964): smooth at the bottom, and an outlier pulls no harder
    than δ. x and t are (n, …) of one shape; `delta` is δ.
    """

    type: ClassVar[str] = "huber"
    aliases: ClassVar[tuple[str, ...]] = ("Huber",)
    target: ClassVar[Literal["values"]] = "values"

    delta: Annotated[float, Gt(0)] = 1.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target of one shape."""
        if x.shape != target.shape:
            raise ShapeError(
                f"huber expects predictions and targets of one shape, got {x.shape} and {target.shape}; "
                f"end the network in one unit per target value"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, float(self.delta), work=6 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, float(self.delta), work=4)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One value per row, several, values at every step of a sequence, and another δ."""
        shapes = ((5, 1), (4, 7), (3, 4, 2))
        cases = [LossExample(cls(), TensorSpec(shape), TensorSpec(shape)) for shape in shapes]
        return [*cases, LossExample(cls(delta=0.3), TensorSpec((4, 7)), TensorSpec((4, 7)))]
