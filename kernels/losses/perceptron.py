"""The perceptron criterion: the cost whose descent is Rosenblatt's learning rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, each
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int) -> None:
    """Row i: Σ max(0, −(2t − 1)·z)."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            miss = (ONE - TWO * np.float32(t[j])) * x[j]
            total += ZERO if miss < ZERO else miss
    loss[i] = total


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int) -> None:
    """(step(z) − t) / rows that count."""
    k = i * m + j
    y = ONE if x[k] >= ZERO else ZERO
    dx[k] = (y - np.float32(t[k])) / np.float32(clock[2]) if i < clock[2] else ZERO


@final
@dataclass(frozen=True)
class Perceptron(Loss):
    """The perceptron criterion on scores z and answers t of 0 or 1: L = Σ_j max(0, −(2t_j − 1)·z_j).

    A score on the right side costs nothing, one on the wrong side its distance from 0. The gradient is
    dL/dz = y − t with y = step(z), so one step of descent is Rosenblatt's rule (1958): w ← w + α·(t − y)·x.
    x is (n, m), t the same shape, or (n,) where m is 1. Behind a `step` it works on the step's input.
    """

    type: ClassVar[str] = "perceptron"
    target: ClassVar[Literal["binary"]] = "binary"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per score."""
        if x.shape[0] != target.shape[0] or x.features != target.features:
            raise ShapeError(
                f"perceptron expects one answer of 0 or 1 per score, got {x.shape} and {target.shape}; "
                f"end the network in one unit per answer"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, work=4 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, work=4)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One answer per row as a label and as a number, and several."""
        return [
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6,), "int32")),
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6, 1))),
            LossExample(cls(), TensorSpec((4, 5)), TensorSpec((4, 5))),
        ]


# A class cannot name itself in its own body: the step's input is the score that the criterion is about.
Perceptron.fused = {"step": Perceptron}
