"""Squared hinge loss: a margin asked for more gently near it and more firmly far from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, each
from kernels.losses.hinge import check, side
from kernels.operator import Frame, Loss, LossExample
from kernels.tensor import TensorSpec

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int) -> None:
    """Row i: Σ max(0, 1 − s·z)², over m."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            lack = ONE - side(t[j]) * x[j]
            total += ZERO if lack < ZERO else lack * lack
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int) -> None:
    """−2·s·max(0, 1 − s·z) / (m · rows that count)."""
    k = i * m + j
    s = side(t[k])
    lack = ONE - s * x[k]
    missed = i < clock[2] and lack > ZERO
    dx[k] = -TWO * s * lack / (np.float32(m) * np.float32(clock[2])) if missed else ZERO


@final
@dataclass(frozen=True)
class SquaredHinge(Loss):
    """What a score lacks to a margin of 1, squared: L = Σ_j max(0, 1 − s_j·z_j)² / m, s = 1 for yes and −1 for no.

    Unlike the hinge it has a slope everywhere, and misses far from the margin weigh more. Shapes and `step` as there.
    """

    type: ClassVar[str] = "squared_hinge"
    aliases: ClassVar[tuple[str, ...]] = ("SquaredHinge",)
    target: ClassVar[Literal["binary"]] = "binary"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per score."""
        check(self.type, x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, work=5 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, work=6)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One answer per row as a label and as a number, and several."""
        return [
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6,), "int32")),
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6, 1))),
            LossExample(cls(), TensorSpec((4, 5)), TensorSpec((4, 5))),
        ]


# A class cannot name itself in its own body: the step's input is the score that the margin is about.
SquaredHinge.fused = {"step": SquaredHinge}
