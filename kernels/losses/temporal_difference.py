"""Temporal-difference error: how far the value of the action taken is from what was seen to follow it."""

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
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, c: int, delta: Any) -> None:
    """Row i: b·(|e| − b/2) with e = x[action] − target and b = min(|e|, δ)."""
    total = ZERO
    if i < clock[2]:
        for j in range(c):
            if np.float32(j) == t[2 * i]:
                error = abs(x[i * c + j] - t[2 * i + 1])
                bounded = delta if error > delta else error
                total = bounded * (error - HALF * bounded)
    loss[i] = total


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, c: int, delta: Any) -> None:
    """The error kept in −δ … δ, over the rows that count, at the action taken; 0 at every other."""
    k = i * c + j
    error = x[k] - t[2 * i + 1]
    bounded = delta if error > delta else (-delta if error < -delta else error)
    dx[k] = bounded / np.float32(clock[2]) if i < clock[2] and np.float32(j) == t[2 * i] else ZERO


@final
@dataclass(frozen=True)
class TemporalDifference(Loss):
    """The error of one action's value: L = h(x_a − t), h(e) = e²/2 for |e| ≤ δ and δ·(|e| − δ/2) beyond.

    x is (n, actions), the values Q(s, ·); the target is (n, 2): the number a of the action taken, and the value t that
    followed it, r + γ·max Q'(s', ·). The other actions are left alone. Mnih et al. 2015; `delta` is δ.
    """

    type: ClassVar[str] = "temporal_difference"
    target: ClassVar[Literal["actions"]] = "actions"

    delta: Annotated[float, Gt(0)] = 1.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One value per action; an action and its value per row."""
        if len(x.shape) != 2 or target.shape != (x.shape[0], 2):
            raise ShapeError(
                f"temporal_difference expects values (batch, actions) and targets (batch, 2), got {x.shape} and "
                f"{target.shape}; end the network in one unit per action"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, c = f.x.shape
        yield cost.over(n, f.x, f.t, f.loss, f.clock, c, float(self.delta), work=2 * c + 6)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, c = f.x.shape
        yield slope.over((n, c), f.x, f.t, f.dx, f.clock, c, float(self.delta), work=5)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Two actions, several, and another δ."""
        cases = [LossExample(cls(), TensorSpec((n, c)), TensorSpec((n, 2))) for n, c in ((6, 2), (5, 7))]
        return [*cases, LossExample(cls(delta=0.3), TensorSpec((8, 3)), TensorSpec((8, 2)))]
