"""Mean absolute error: the cost of regression that outliers do not rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, each
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int) -> None:
    """Row i: Σ |x − t| / m."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            total += abs(x[j] - t[j])
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int) -> None:
    """sign(x − t) / (m · rows that count); 0 where prediction and target agree."""
    k = i * m + j
    share = ONE / (np.float32(m) * np.float32(clock[2])) if i < clock[2] else ZERO
    dx[k] = share if x[k] > t[k] else (-share if x[k] < t[k] else ZERO)


@final
@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """The mean distance between prediction and target: L = Σ_j |x_j − t_j| / m.

    x and t are (n, …) of one shape: values, values at every step of a sequence, or images.
    Its minimum is the median where that of the squared error is the mean.
    """

    type: ClassVar[str] = "mean_absolute_error"
    aliases: ClassVar[tuple[str, ...]] = ("mae", "MAE", "MeanAbsoluteError")
    target: ClassVar[Literal["values"]] = "values"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target of one shape."""
        if x.shape != target.shape:
            raise ShapeError(
                f"mean_absolute_error expects predictions and targets of one shape, got {x.shape} and {target.shape}; "
                f"end the network in one unit per target value"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, work=3 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, work=3)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One value per row, several, values at every step of a sequence, and an image per row."""
        shapes = ((5, 1), (4, 7), (3, 4, 2), (3, 2, 3, 1))
        return [LossExample(cls(), TensorSpec(shape), TensorSpec(shape)) for shape in shapes]
