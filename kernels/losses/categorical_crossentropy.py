"""Cross-entropy between class probabilities and target distributions, one-hot as a rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Interval

from kernels.launch import Launch, device, each
from kernels.operator import Frame, Fusions, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST, HIGHEST = np.float32(1e-7), np.float32(1 - 1e-7)


@device
def log_sum_exp(x: Any, begin: int, c: int) -> Any:
    """log Σ e^x over c scores from `begin`, with the maximum taken out so that nothing overflows."""
    top = x[begin]
    for j in range(1, c):
        top = x[begin + j] if x[begin + j] > top else top
    total = ZERO
    for j in range(c):
        total += math.exp(x[begin + j] - top)
    return top + math.log(total)


@each
def cost_of_scores(i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int, keep: Any, base: Any) -> None:
    """Row i: the mean over its positions of Σ t·(log Σ e^x − x)."""
    total = ZERO
    if i < clock[2]:
        for p in range(positions):
            begin = (i * positions + p) * c
            norm = log_sum_exp(x, begin, c)
            for j in range(begin, begin + c):
                total += (t[j] * keep + base) * (norm - x[j])
    loss[i] = total / np.float32(positions)


@each
def slope_of_scores(i: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int, keep: Any, base: Any) -> None:
    """Position i: softmax(x)·Σt − t, divided by the number of positions that count."""
    begin = i * c
    if i < clock[2] * positions:
        norm = log_sum_exp(x, begin, c)
        share = ONE / (np.float32(clock[2]) * np.float32(positions))
        mass = ZERO
        for j in range(begin, begin + c):
            mass += t[j] * keep + base
        for j in range(begin, begin + c):
            dx[j] = (math.exp(x[j] - norm) * mass - t[j] * keep - base) * share
    else:
        for j in range(begin, begin + c):
            dx[j] = ZERO


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int, keep: Any, base: Any) -> None:
    """Row i: the mean over its positions of −Σ t·log x."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * positions * c, (i + 1) * positions * c):
            p = LOWEST if x[j] < LOWEST else x[j]
            total -= (t[j] * keep + base) * math.log(HIGHEST if p > HIGHEST else p)
    loss[i] = total / np.float32(positions)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int, keep: Any, base: Any) -> None:
    """−t / x, divided by the number of positions that count; 0 where x was clipped."""
    k = i * c + j
    counts = i < clock[2] * positions and LOWEST <= x[k] <= HIGHEST
    truth = t[k] * keep + base
    dx[k] = -truth / (x[k] * np.float32(clock[2]) * np.float32(positions)) if counts else ZERO


def smoothing(share: float, c: int) -> tuple[float, float]:
    """Smoothed targets are t·keep + base: `share` of each is spread evenly over the c classes."""
    return 1.0 - share, share / c


def check(x: TensorSpec, target: TensorSpec, name: str = "categorical_crossentropy") -> None:
    """Prediction and target (n, …, c)."""
    if len(x.shape) < 2 or target.shape != x.shape:
        raise ShapeError(
            f"{name} expects predictions and one-hot targets of one shape (batch, classes), got "
            f"{x.shape} and {target.shape}; end the network in one unit per class"
        )


def cases(cls: Any) -> list[tuple[Any, TensorSpec]]:
    """As it comes, at every position of a sequence, and smoothed."""
    made = [cls(), cls(), cls(label_smoothing=0.1)]
    return list(zip(made, map(TensorSpec, ((6, 10), (3, 4, 5), (6, 4))), strict=True))


@final
@dataclass(frozen=True)
class CategoricalCrossentropyOfScores(Loss):
    """Softmax and cross-entropy as one: L = Σ_j t_j·(log Σ_k e^(x_k) − x_j), dL/dx = softmax(x)·Σt − t."""

    target: ClassVar[Literal["one_hot"]] = "one_hot"

    label_smoothing: float = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), smoothing(self.label_smoothing, c)
        yield cost_of_scores.over(n, f.x, f.t, f.loss, f.clock, positions, c, *told, work=12 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per position."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), smoothing(self.label_smoothing, c)
        yield slope_of_scores.over(n * positions, f.x, f.t, f.dx, f.clock, positions, c, *told, work=20 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, classes at every position of a sequence, and smoothed targets."""
        return [LossExample(loss, spec, spec) for loss, spec in cases(cls)]


@final
@dataclass(frozen=True)
class CategoricalCrossentropy(Loss):
    """How surprised the network is by the true class: L = −Σ_j t_j·log x_j, for probabilities x and one-hot t.

    x and t are (n, …, c); positions are averaged. Probabilities are clipped to 1e−7 … 1 − 1e−7 as in Keras and taken
    as they are, not rescaled to sum to 1; behind a softmax the scores themselves are used, and nothing needs clipping.
    `label_smoothing` s spreads s of each target evenly over the c classes (Szegedy et al. 2016): t·(1 − s) + s/c.
    """

    type: ClassVar[str] = "categorical_crossentropy"
    aliases: ClassVar[tuple[str, ...]] = ("CategoricalCrossentropy",)
    target: ClassVar[Literal["one_hot"]] = "one_hot"
    fused: ClassVar[Fusions] = {"softmax": CategoricalCrossentropyOfScores}

    label_smoothing: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction and target (n, …, c)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), smoothing(self.label_smoothing, c)
        yield cost.over(n, f.x, f.t, f.loss, f.clock, positions, c, *told, work=10 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions, told = f.x.size // (n * c), smoothing(self.label_smoothing, c)
        yield slope.over((n * positions, c), f.x, f.t, f.dx, f.clock, positions, c, *told, work=3)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, classes at every position of a sequence, and smoothed targets."""
        return [LossExample(loss, spec, spec, "probabilities") for loss, spec in cases(cls)]
