"""Hinge loss: the cost of support vector machines, which asks for a margin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, device, each
from kernels.operator import Frame, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)


@device
def side(t: Any) -> Any:
    """+1 for yes (1), −1 for no (0 or −1)."""
    return ONE if np.float32(t) > ZERO else -ONE


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int) -> None:
    """Row i: Σ max(0, 1 − s·z), over m."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            lack = ONE - side(t[j]) * x[j]
            total += ZERO if lack < ZERO else lack
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int) -> None:
    """−s / (m · rows that count) where the margin is missed, 0 elsewhere."""
    k = i * m + j
    s = side(t[k])
    missed = i < clock[2] and s * x[k] < ONE
    dx[k] = -s / (np.float32(m) * np.float32(clock[2])) if missed else ZERO


def check(name: str, x: TensorSpec, target: TensorSpec) -> None:
    """Scores and answers one to one; (n,) will do for the answers where a row has one score."""
    if x.shape[0] != target.shape[0] or x.features != target.features or len(target.shape) > len(x.shape):
        raise ShapeError(
            f"{name} expects one answer of 0 or 1 per score, got {x.shape} and {target.shape}; "
            f"end the network in one unit per answer"
        )


@final
@dataclass(frozen=True)
class Hinge(Loss):
    """What a score lacks to a margin of 1: L = Σ_j max(0, 1 − s_j·z_j) / m, with s = 1 for yes and −1 for no.

    On a linear score with weight decay this is the soft-margin support vector machine (Cortes & Vapnik 1995). Scores
    z are (n, …), answers of 0 or 1 the same shape, or (n,) where a row has one score. Behind a `step` it works on the
    step's input: the network answers 0 or 1, and learns the score.
    """

    type: ClassVar[str] = "hinge"
    aliases: ClassVar[tuple[str, ...]] = ("Hinge",)
    target: ClassVar[Literal["binary"]] = "binary"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per score."""
        check(self.type, x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, work=4 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, work=5)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One answer per row as a label and as a number, and several."""
        return [
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6,), "int32")),
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6, 1))),
            LossExample(cls(), TensorSpec((4, 5)), TensorSpec((4, 5))),
        ]


# A class cannot name itself in its own body: the step's input is the score that the margin is about.
Hinge.fused = {"step": Hinge}
