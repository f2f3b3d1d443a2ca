"""Focal cross-entropy of answers of 0 or 1: what is already answered well counts for little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge, Interval

from kernels.launch import Launch, each
from kernels.losses.binary_crossentropy import check
from kernels.operator import Frame, Fusions, Loss, LossExample
from kernels.tensor import TensorSpec

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LOWEST, HIGHEST = np.float32(1e-7), np.float32(1 - 1e-7)


@each
def cost_of_scores(
    i: int, x: Any, t: Any, loss: Any, clock: Any, m: int, gamma: Any, yes: Any, no: Any, keep: Any, base: Any
) -> None:
    """Row i: Σ w·q^γ·(max(z, 0) − z·t + log(1 + e^−|z|)), over m, with q = t·σ(−z) + (1 − t)·σ(z)."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            z, truth = x[j], np.float32(t[j]) * keep + base
            q = truth / (ONE + math.exp(z)) + (ONE - truth) / (ONE + math.exp(-z))
            top = ZERO if z < ZERO else z
            surprise = top - z * truth + math.log1p(math.exp(-abs(z)))
            total += (truth * yes + (ONE - truth) * no) * q**gamma * surprise
    loss[i] = total / np.float32(m)


@each
def slope_of_scores(
    i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int, gamma: Any, yes: Any, no: Any, keep: Any, base: Any
) -> None:
    """w·q^γ·(σ(z) − t + γ·(1 − 2t)·surprise·σ(z)·σ(−z)/q) / (m · rows that count)."""
    k = i * m + j
    z, truth = x[k], np.float32(t[k]) * keep + base
    p, rest = ONE / (ONE + math.exp(-z)), ONE / (ONE + math.exp(z))
    q = truth * rest + (ONE - truth) * p
    top = ZERO if z < ZERO else z
    surprise = top - z * truth + math.log1p(math.exp(-abs(z)))
    bend = gamma * (ONE - TWO * truth) * surprise * p * rest / q if q > ZERO else ZERO
    share = (truth * yes + (ONE - truth) * no) * q**gamma / (np.float32(m) * np.float32(clock[2]))
    dx[k] = share * (p - truth + bend) if i < clock[2] else ZERO


@each
def cost(
    i: int, x: Any, t: Any, loss: Any, clock: Any, m: int, gamma: Any, yes: Any, no: Any, keep: Any, base: Any
) -> None:
    """Row i: −Σ w·q^γ·(t·log x + (1 − t)·log(1 − x)), over m, with q = t·(1 − x) + (1 − t)·x."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            p = LOWEST if x[j] < LOWEST else x[j]
            p = HIGHEST if p > HIGHEST else p
            truth = np.float32(t[j]) * keep + base
            q = truth * (ONE - p) + (ONE - truth) * p
            surprise = -truth * math.log(p) - (ONE - truth) * math.log(ONE - p)
            total += (truth * yes + (ONE - truth) * no) * q**gamma * surprise
    loss[i] = total / np.float32(m)


@each
def slope(
    i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int, gamma: Any, yes: Any, no: Any, keep: Any, base: Any
) -> None:
    """w·q^γ·((x − t)/(x·(1 − x)) + γ·(1 − 2t)·surprise/q) / (m · rows that count); 0 where x was clipped."""
    k = i * m + j
    p, truth = x[k], np.float32(t[k]) * keep + base
    if i < clock[2] and LOWEST <= p <= HIGHEST:
        q = truth * (ONE - p) + (ONE - truth) * p
        surprise = -truth * math.log(p) - (ONE - truth) * math.log(ONE - p)
        share = (truth * yes + (ONE - truth) * no) * q**gamma / (np.float32(m) * np.float32(clock[2]))
        dx[k] = share * ((p - truth) / (p * (ONE - p)) + gamma * (ONE - TWO * truth) * surprise / q)
    else:
        dx[k] = ZERO


def numbers(loss: Any) -> tuple[float, ...]:
    """What the kernels take: γ, the weights of yes and no, and the smoothing of answers t·keep + base."""
    yes, no = (loss.alpha, 1 - loss.alpha) if loss.apply_class_balancing else (1, 1)
    return tuple(map(float, (loss.gamma, yes, no, 1 - loss.label_smoothing, loss.label_smoothing / 2)))


def cases(cls: Any) -> list[Any]:
    """As it comes, with labels, with weights, and with each number changed."""
    return [cls(), cls(), cls(True, alpha=0.7), cls(gamma=0.5), cls(gamma=0.0, label_smoothing=0.2)]


SHAPES = (((6, 1), (6,)), ((4, 5), (4, 5)), ((4, 5), (4, 5)), ((3, 2, 4), (3, 2, 4)), ((4, 5), (4, 5)))


@final
@dataclass(frozen=True)
class BinaryFocalCrossentropyOfScores(Loss):
    """Sigmoid and focal cross-entropy as one: L = Σ_j w_j·q_j^γ·(max(z_j, 0) − z_j·t_j + log(1 + e^−|z_j|)) / m."""

    target: ClassVar[Literal["binary"]] = "binary"

    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    label_smoothing: float = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per prediction."""
        check(x, target, BinaryFocalCrossentropy.type)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost_of_scores.over(n, f.x, f.t, f.loss, f.clock, m, *numbers(self), work=60 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope_of_scores.over((n, m), f.x, f.t, f.dx, f.clock, m, *numbers(self), work=60)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Every hyperparameter, one answer per row and several."""
        return [
            LossExample(loss, TensorSpec(x), TensorSpec(t)) for loss, (x, t) in zip(cases(cls), SHAPES, strict=True)
        ]


@final
@dataclass(frozen=True)
class BinaryFocalCrossentropy(Loss):
    """Cross-entropy that looks at what is still wrong: L = −Σ_j w_j·q_j^γ·(t_j·log x_j + (1 − t_j)·log(1 − x_j)) / m.

    q = t·(1 − x) + (1 − t)·x is the probability given to the wrong answer (Lin et al. 2017): where it is small the
    row hardly counts, the less the larger `gamma` γ; γ = 0 is the cross-entropy. With `apply_class_balancing` yes
    weighs w = `alpha` and no 1 − `alpha`. `label_smoothing` s draws answers towards a half: t·(1 − s) + s/2.
    x is (n, …) with values in 0..1, t the same shape, or (n,) where a row has one. Clipping, and a sigmoid before it,
    as in binary_crossentropy.
    """

    type: ClassVar[str] = "binary_focal_crossentropy"
    aliases: ClassVar[tuple[str, ...]] = ("BinaryFocalCrossentropy",)
    target: ClassVar[Literal["binary"]] = "binary"
    fused: ClassVar[Fusions] = {"sigmoid": BinaryFocalCrossentropyOfScores}

    apply_class_balancing: bool = False
    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.25
    gamma: Annotated[float, Ge(0)] = 2.0
    label_smoothing: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per prediction."""
        check(x, target, self.type)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, *numbers(self), work=60 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, *numbers(self), work=60)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Every hyperparameter, one answer per row and several."""
        zipped = zip(cases(cls), SHAPES, strict=True)
        return [LossExample(loss, TensorSpec(x), TensorSpec(t), "unit") for loss, (x, t) in zipped]
