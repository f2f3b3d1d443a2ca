"""Policy gradient: actions that went better than expected become likelier, the others less likely."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Launch, device, each
from kernels.losses.sparse_categorical_crossentropy import log_sum_exp
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)


@device
def spread(x: Any, begin: int, c: int, norm: Any) -> Any:
    """H = −Σ π·log π of c scores from `begin`, whose log Σ e^x is `norm`."""
    total = ZERO
    for j in range(c):
        chance = x[begin + j] - norm
        total -= math.exp(chance) * chance
    return total


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, c: int, entropy: Any) -> None:
    """Row i: −A·log π(a) − c·H."""
    total = ZERO
    if i < clock[2]:
        norm = log_sum_exp(x, i * c, c)
        total -= entropy * spread(x, i * c, c, norm)
        for j in range(c):
            if np.float32(j) == t[2 * i]:
                total -= t[2 * i + 1] * (x[i * c + j] - norm)
    loss[i] = total


@each
def slope(i: int, x: Any, t: Any, dx: Any, clock: Any, c: int, entropy: Any) -> None:
    """Row i: A·(π − one_hot(a)) + c·π·(log π + H), over the rows that count."""
    begin = i * c
    if i < clock[2]:
        norm = log_sum_exp(x, begin, c)
        whole = spread(x, begin, c, norm)
        for j in range(c):
            chance = x[begin + j] - norm
            hit = ONE if np.float32(j) == t[2 * i] else ZERO
            push = t[2 * i + 1] * (math.exp(chance) - hit) + entropy * math.exp(chance) * (chance + whole)
            dx[begin + j] = push / np.float32(clock[2])
    else:
        for j in range(c):
            dx[begin + j] = ZERO


@final
@dataclass(frozen=True)
class PolicyGradient(Loss):
    """How far the policy is from what paid: L = −A·log π_a − β·H, π = softmax(x), H = −Σ π·log π.

    x is (n, actions), scores; the target is (n, 2): the number a of the action taken and its advantage A, the return
    above what was expected. Descent on it is REINFORCE (Williams 1992); the entropy H, weighted by `entropy` (β), keeps
    the policy curious.
    """

    type: ClassVar[str] = "policy_gradient"
    target: ClassVar[Literal["actions"]] = "actions"

    entropy: Annotated[float, Ge(0)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One score per action; an action and its advantage per row."""
        if len(x.shape) != 2 or target.shape != (x.shape[0], 2):
            raise ShapeError(
                f"policy_gradient expects scores (batch, actions) and targets (batch, 2), got {x.shape} and "
                f"{target.shape}; end the network in one unit per action"
            )

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, c = f.x.shape
        yield cost.over(n, f.x, f.t, f.loss, f.clock, c, float(self.entropy), work=40 * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, c = f.x.shape
        yield slope.over(n, f.x, f.t, f.dx, f.clock, c, float(self.entropy), work=60 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Two actions, several, and a reward for curiosity."""
        cases = [LossExample(cls(), TensorSpec((n, c)), TensorSpec((n, 2))) for n, c in ((6, 2), (5, 7))]
        return [*cases, LossExample(cls(entropy=0.5), TensorSpec((8, 3)), TensorSpec((8, 2)))]
