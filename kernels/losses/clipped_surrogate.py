"""PPO's clipped surrogate: a policy gradient that stops where the new policy would leave the old one behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Launch, each
from kernels.losses.policy_gradient import spread
from kernels.losses.sparse_categorical_crossentropy import log_sum_exp
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, c: int, entropy: Any) -> None:
    """Row i: −min(r·A, r kept in 1 ± ε, times A) − β·H, with r = π(a) / π_old(a)."""
    total = ZERO
    if i < clock[2]:
        norm = log_sum_exp(x, i * c, c)
        total -= entropy * spread(x, i * c, c, norm)
        advantage, near = t[4 * i + 1], t[4 * i + 3]
        for j in range(c):
            if np.float32(j) == t[4 * i]:
                ratio = math.exp(x[i * c + j] - norm - t[4 * i + 2])
                high = ONE + near if ratio > ONE + near else ratio
                kept = ONE - near if ratio < ONE - near else high
                free, bound = ratio * advantage, kept * advantage
                total -= free if free < bound else bound
    loss[i] = total


@each
def slope(i: int, x: Any, t: Any, dx: Any, clock: Any, c: int, entropy: Any) -> None:
    """Row i: r·A·(π − one_hot(a)) where r is not clipped away, + β·π·(log π + H), over the rows that count."""
    begin = i * c
    if i < clock[2]:
        norm = log_sum_exp(x, begin, c)
        whole = spread(x, begin, c, norm)
        advantage, near = t[4 * i + 1], t[4 * i + 3]
        pull = ZERO
        for j in range(c):
            if np.float32(j) == t[4 * i]:
                ratio = math.exp(x[begin + j] - norm - t[4 * i + 2])
                gone = ratio > ONE + near if advantage > ZERO else ratio < ONE - near
                pull = ZERO if gone else ratio * advantage
        for j in range(c):
            chance = x[begin + j] - norm
            hit = ONE if np.float32(j) == t[4 * i] else ZERO
            push = pull * (math.exp(chance) - hit) + entropy * math.exp(chance) * (chance + whole)
            dx[begin + j] = push / np.float32(clock[2])
    else:
        for j in range(c):
            dx[begin + j] = ZERO


@final
@dataclass(frozen=True)
class ClippedSurrogate(Loss):
    """PPO's cost: L = −min(r·A, clip(r, 1 − ε, 1 + ε)·A) − β·H, r = π_a / π_a,old, π = softmax(x), H = −Σ π·log π.

    x is (n, actions), scores; the target is (n, 4): the number a of the action taken, its advantage A, the logarithm of
    its probability when it was taken, and ε. The gradient vanishes once r has gone further than ε where A drives it
    (Schulman et al. 2017); `entropy` is β.
    """

    type: ClassVar[str] = "clipped_surrogate"
    target: ClassVar[Literal["actions"]] = "actions"

    entropy: Annotated[float, Ge(0)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One score per action; action, advantage, old log-probability and ε per row."""
        if len(x.shape) != 2 or target.shape != (x.shape[0], 4):
            raise ShapeError(
                f"clipped_surrogate expects scores (batch, actions) and targets (batch, 4), got {x.shape} and "
                f"{target.shape}; end the network in one unit per action"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, c = f.x.shape
        yield cost.over(n, f.x, f.t, f.loss, f.clock, c, float(self.entropy), work=60 * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, c = f.x.shape
        yield slope.over(n, f.x, f.t, f.dx, f.clock, c, float(self.entropy), work=80 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Two actions, several, and a reward for curiosity."""
        cases = [LossExample(cls(), TensorSpec((n, c)), TensorSpec((n, 4))) for n, c in ((12, 2), (9, 7))]
        return [*cases, LossExample(cls(entropy=0.5), TensorSpec((16, 3)), TensorSpec((16, 4)))]
