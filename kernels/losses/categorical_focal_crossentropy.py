"""Focal cross-entropy over classes: what is already classified well counts for little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge, Gt, Interval

from kernels.launch import Launch, device, each
from kernels.losses.categorical_crossentropy import check, log_sum_exp, smoothing
from kernels.operator import Frame, Fusions, Loss, LossExample
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST, HIGHEST = np.float32(1e-7), np.float32(1 - 1e-7)


@device
def bend(log_p: Any, rest: Any) -> Any:
    """log p / (1 − p): −1 in the limit of a certain answer, where the quotient is no number."""
    return log_p / rest if rest > ZERO else -ONE


@each
def cost_of_scores(
    i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int, alpha: Any, gamma: Any, keep: Any, base: Any
) -> None:
    """Row i: the mean over its positions of −α·Σ t·(1 − p)^γ·log p, with log p = x − log Σ e^x."""
    total = ZERO
    if i < clock[2]:
        for p in range(positions):
            begin = (i * positions + p) * c
            norm = log_sum_exp(x, begin, c)
            for j in range(begin, begin + c):
                log_p = x[j] - norm if x[j] < norm else ZERO
                total -= alpha * (t[j] * keep + base) * (-math.expm1(log_p)) ** gamma * log_p
    loss[i] = total / np.float32(positions)


@each
def slope_of_scores(
    i: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int, alpha: Any, gamma: Any, keep: Any, base: Any
) -> None:
    """Position i: g − p·Σg with g = α·t·(1 − p)^γ·(γ·p·log p/(1 − p) − 1), over the number of positions that count."""
    begin = i * c
    if i < clock[2] * positions:
        norm = log_sum_exp(x, begin, c)
        share = alpha / (np.float32(clock[2]) * np.float32(positions))
        mass = ZERO
        for j in range(begin, begin + c):
            log_p = x[j] - norm if x[j] < norm else ZERO
            rest = -math.expm1(log_p)
            pull = gamma * (ONE - rest) * bend(log_p, rest) - ONE
            dx[j] = share * (t[j] * keep + base) * rest**gamma * pull
            mass += dx[j]
        for j in range(begin, begin + c):
            dx[j] -= math.exp(x[j] - norm) * mass
    else:
        for j in range(begin, begin + c):
            dx[j] = ZERO


@each
def cost(
    i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int, alpha: Any, gamma: Any, keep: Any, base: Any
) -> None:
    """Row i: the mean over its positions of −α·Σ t·(1 − x)^γ·log x."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * positions * c, (i + 1) * positions * c):
            p = LOWEST if x[j] < LOWEST else x[j]
            p = HIGHEST if p > HIGHEST else p
            total -= alpha * (t[j] * keep + base) * (ONE - p) ** gamma * math.log(p)
    loss[i] = total / np.float32(positions)


@each
def slope(
    i: int,
    j: int,
    x: Any,
    t: Any,
    dx: Any,
    clock: Any,
    positions: int,
    c: int,
    alpha: Any,
    gamma: Any,
    keep: Any,
    base: Any,
) -> None:
    """α·t·(1 − x)^γ·(γ·log x/(1 − x) − 1/x), over the number of positions that count; 0 where x was clipped."""
    k = i * c + j
    p = x[k]
    if i < clock[2] * positions and LOWEST <= p <= HIGHEST:
        share = alpha * (t[k] * keep + base) / (np.float32(clock[2]) * np.float32(positions))
        dx[k] = share * (ONE - p) ** gamma * (gamma * math.log(p) / (ONE - p) - ONE / p)
    else:
        dx[k] = ZERO


def numbers(loss: Any, c: int) -> tuple[float, ...]:
    """What the kernels take: α, γ, and the smoothing of targets t·keep + base."""
    return float(loss.alpha), float(loss.gamma), *smoothing(loss.label_smoothing, c)


def cases(cls: Any) -> list[tuple[Any, TensorSpec]]:
    """As it comes, at every position of a sequence, and with each number changed."""
    made = [cls(), cls(), cls(alpha=0.8), cls(gamma=0.5), cls(gamma=0.0, label_smoothing=0.2)]
    return list(zip(made, map(TensorSpec, ((6, 10), (3, 4, 5), (4, 3), (4, 3), (4, 3))), strict=True))


@final
@dataclass(frozen=True)
class CategoricalFocalCrossentropyOfScores(Loss):
    """Softmax and focal cross-entropy as one: L = −α·Σ_j t_j·(1 − p_j)^γ·log p_j, log p = x − log Σ e^x."""

    target: ClassVar[Literal["one_hot"]] = "one_hot"

    alpha: float = 0.25
    gamma: float = 2.0
    label_smoothing: float = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target, CategoricalFocalCrossentropy.type)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), numbers(self, c)
        yield cost_of_scores.over(n, f.x, f.t, f.loss, f.clock, positions, c, *told, work=60 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per position."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), numbers(self, c)
        yield slope_of_scores.over(n * positions, f.x, f.t, f.dx, f.clock, positions, c, *told, work=80 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Every hyperparameter, and classes at every position of a sequence."""
        return [LossExample(loss, spec, spec) for loss, spec in cases(cls)]


@final
@dataclass(frozen=True)
class CategoricalFocalCrossentropy(Loss):
    """Cross-entropy that looks at what is still wrong: L = −α·Σ_j t_j·(1 − x_j)^γ·log x_j (Lin et al. 2017).

    A class that already has its probability hardly counts, the less the larger `gamma` γ; γ = 0 and `alpha` α = 1 is
    the cross-entropy. `label_smoothing` s spreads s of a target evenly over the c classes: t·(1 − s) + s/c.
    x and t are (n, …, c); positions are averaged. Clipping, and a softmax before it, as in categorical_crossentropy.
    """

    type: ClassVar[str] = "categorical_focal_crossentropy"
    aliases: ClassVar[tuple[str, ...]] = ("CategoricalFocalCrossentropy",)
    target: ClassVar[Literal["one_hot"]] = "one_hot"
    fused: ClassVar[Fusions] = {"softmax": CategoricalFocalCrossentropyOfScores}

    alpha: Annotated[float, Gt(0)] = 0.25
    gamma: Annotated[float, Ge(0)] = 2.0
    label_smoothing: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target, self.type)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), numbers(self, c)
        yield cost.over(n, f.x, f.t, f.loss, f.clock, positions, c, *told, work=60 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), numbers(self, c)
        yield slope.over((n * positions, c), f.x, f.t, f.dx, f.clock, positions, c, *told, work=60)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Every hyperparameter, and classes at every position of a sequence."""
        return [LossExample(loss, spec, spec, "probabilities") for loss, spec in cases(cls)]
