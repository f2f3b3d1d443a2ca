"""Kullback-Leibler divergence: how far a predicted distribution is from the true one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, device, each
from kernels.losses.categorical_crossentropy import log_sum_exp
from kernels.operator import Frame, Fusions, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST = np.float32(1e-7)


@device
def clipped(p: Any) -> Any:
    """p in 1e-7 … 1."""
    p = LOWEST if p < LOWEST else p
    return ONE if p > ONE else p


@each
def cost_of_scores(i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int) -> None:
    """Row i: the mean over its positions of Σ t·(log t − x + log Σ e^x)."""
    total = ZERO
    if i < clock[2]:
        for p in range(positions):
            begin = (i * positions + p) * c
            norm = log_sum_exp(x, begin, c)
            for j in range(begin, begin + c):
                share = clipped(t[j])
                total += share * (math.log(share) - x[j] + norm)
    loss[i] = total / np.float32(positions)


@each
def slope_of_scores(i: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int) -> None:
    """Position i: softmax(x)·Σt − t, divided by the number of positions that count."""
    begin = i * c
    if i < clock[2] * positions:
        norm = log_sum_exp(x, begin, c)
        share = ONE / (np.float32(clock[2]) * np.float32(positions))
        mass = ZERO
        for j in range(begin, begin + c):
            mass += clipped(t[j])
        for j in range(begin, begin + c):
            dx[j] = (math.exp(x[j] - norm) * mass - clipped(t[j])) * share
    else:
        for j in range(begin, begin + c):
            dx[j] = ZERO


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int) -> None:
    """Row i: the mean over its positions of Σ t·log(t / x)."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * positions * c, (i + 1) * positions * c):
            share = clipped(t[j])
            total += share * (math.log(share) - math.log(clipped(x[j])))
    loss[i] = total / np.float32(positions)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int) -> None:
    """−t / x, divided by the number of positions that count; 0 where x was clipped."""
    k = i * c + j
    counts = i < clock[2] * positions and LOWEST <= x[k] <= ONE
    dx[k] = -clipped(t[k]) / (x[k] * np.float32(clock[2]) * np.float32(positions)) if counts else ZERO


def check(x: TensorSpec, target: TensorSpec) -> None:
    """Prediction and target (n, …, c)."""
    if len(x.shape) < 2 or target.shape != x.shape:
        raise ShapeError(
            f"kl_divergence expects predicted and true distributions of one shape (batch, classes), got {x.shape} "
            f"and {target.shape}; end the network in one unit per class"
        )


@final
@dataclass(frozen=True)
class KLDivergenceOfScores(Loss):
    """Softmax and divergence as one: L = Σ_j t_j·(log t_j − x_j + log Σ_k e^(x_k)), dL/dx = softmax(x)·Σt − t."""

    target: ClassVar[Literal["one_hot"]] = "one_hot"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield cost_of_scores.over(n, f.x, f.t, f.loss, f.clock, positions, c, work=20 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per position."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield slope_of_scores.over(n * positions, f.x, f.t, f.dx, f.clock, positions, c, work=20 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, and classes at every position of a sequence."""
        return [LossExample(cls(), TensorSpec(shape), TensorSpec(shape)) for shape in ((6, 10), (3, 4, 5))]


@final
@dataclass(frozen=True)
class KLDivergence(Loss):
    """How far a prediction x is from the true distribution t (Kullback & Leibler 1951): L = Σ_j t_j·log(t_j / x_j).

    It is cross-entropy less the entropy of t, so 0 where they agree; for one-hot t it is the cross-entropy. x and t
    are (n, …, c); positions are averaged. Both are clipped to 1e−7 … 1 as in Keras; behind a softmax the scores
    themselves are used instead of x, and only t is clipped.
    """

    type: ClassVar[str] = "kl_divergence"
    aliases: ClassVar[tuple[str, ...]] = ("KLDivergence", "kld", "KLD", "kullback_leibler_divergence")
    target: ClassVar[Literal["one_hot"]] = "one_hot"
    fused: ClassVar[Fusions] = {"softmax": KLDivergenceOfScores}

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield cost.over(n, f.x, f.t, f.loss, f.clock, positions, c, work=20 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield slope.over((n * positions, c), f.x, f.t, f.dx, f.clock, positions, c, work=4)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, and classes at every position of a sequence."""
        shapes = ((6, 10), (3, 4, 5))
        return [LossExample(cls(), TensorSpec(shape), TensorSpec(shape), "probabilities") for shape in shapes]
