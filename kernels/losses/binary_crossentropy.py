"""Cross-entropy between probabilities of yes and answers of 0 or 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Interval

from kernels.launch import Launch, each
from kernels.operator import Frame, Fusions, Loss, LossExample, ShapeError
from kernels.tensor import TensorSpec

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST, HIGHEST = np.float32(1e-7), np.float32(1 - 1e-7)


@each
def cost_of_scores(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int, keep: Any, base: Any) -> None:
    """Row i: Σ max(z, 0) − z·t + log(1 + e^−|z|), over m; e is never raised to a positive power."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            top = ZERO if x[j] < ZERO else x[j]
            total += top - x[j] * (np.float32(t[j]) * keep + base) + math.log1p(math.exp(-abs(x[j])))
    loss[i] = total / np.float32(m)


@each
def slope_of_scores(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int, keep: Any, base: Any) -> None:
    """(σ(z) − t) / (m · rows that count)."""
    k = i * m + j
    y = ONE / (ONE + math.exp(-x[k]))
    truth = np.float32(t[k]) * keep + base
    dx[k] = (y - truth) / (np.float32(m) * np.float32(clock[2])) if i < clock[2] else ZERO


@each
def cost(i: int, x: Any, t: Any, loss: Any, clock: Any, m: int, keep: Any, base: Any) -> None:
    """Row i: −Σ t·log x + (1 − t)·log(1 − x), over m."""
    total = ZERO
    if i < clock[2]:
        for j in range(i * m, i * m + m):
            p = LOWEST if x[j] < LOWEST else x[j]
            p = HIGHEST if p > HIGHEST else p
            yes = np.float32(t[j]) * keep + base
            total -= yes * math.log(p) + (ONE - yes) * math.log(ONE - p)
    loss[i] = total / np.float32(m)


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, m: int, keep: Any, base: Any) -> None:
    """(x − t) / (x·(1 − x)) / (m · rows that count); 0 where x was clipped."""
    k = i * m + j
    p = x[k]
    counts = i < clock[2] and LOWEST <= p <= HIGHEST
    share = np.float32(m) * np.float32(clock[2])
    dx[k] = (p - np.float32(t[k]) * keep - base) / (p * (ONE - p) * share) if counts else ZERO


def smoothing(share: float) -> tuple[float, float]:
    """Smoothed answers are t·keep + base: drawn towards a half by `share`."""
    return 1.0 - share, share / 2


def check(x: TensorSpec, target: TensorSpec, name: str = "binary_crossentropy") -> None:
    """Prediction (n, m), target (n, m), or (n,) where m is 1."""
    if x.shape[0] != target.shape[0] or x.features != target.features:
        raise ShapeError(
            f"{name} expects one answer of 0 or 1 per prediction, got {x.shape} and {target.shape}; "
            f"end the network in one unit per answer (one unit for two classes)"
        )


@final
@dataclass(frozen=True)
class BinaryCrossentropyOfScores(Loss):
    """Sigmoid and cross-entropy as one: L = max(z, 0) − z·t + log(1 + e^−|z|), dL/dz = σ(z) − t."""

    target: ClassVar[Literal["binary"]] = "binary"

    label_smoothing: float = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per prediction."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost_of_scores.over(n, f.x, f.t, f.loss, f.clock, m, *smoothing(self.label_smoothing), work=20 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope_of_scores.over((n, m), f.x, f.t, f.dx, f.clock, m, *smoothing(self.label_smoothing), work=10)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One answer per row as a label and as a number, several, an image of them, and smoothed ones."""
        return [
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6,), "int32")),
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6, 1))),
            LossExample(cls(), TensorSpec((4, 5)), TensorSpec((4, 5))),
            LossExample(cls(label_smoothing=0.2), TensorSpec((3, 2, 3, 1)), TensorSpec((3, 2, 3, 1))),
        ]


@final
@dataclass(frozen=True)
class BinaryCrossentropy(Loss):
    """How surprised the network is by each answer: L = −Σ_j (t_j·log x_j + (1 − t_j)·log(1 − x_j)) / m.

    x is (n, m) with values in 0..1, t the same shape with 0 or 1, or (n,) where m is 1. Probabilities are clipped to
    1e−7 … 1 − 1e−7 as in Keras; behind a sigmoid the scores themselves are used instead, and nothing needs clipping.
    `label_smoothing` s draws answers towards a half: t·(1 − s) + s/2.
    """

    type: ClassVar[str] = "binary_crossentropy"
    aliases: ClassVar[tuple[str, ...]] = ("BinaryCrossentropy",)
    target: ClassVar[Literal["binary"]] = "binary"
    fused: ClassVar[Fusions] = {"sigmoid": BinaryCrossentropyOfScores}

    label_smoothing: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """One answer per prediction."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield cost.over(n, f.x, f.t, f.loss, f.clock, m, *smoothing(self.label_smoothing), work=20 * m)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per element."""
        n, m = f.x.shape[0], f.x.size // f.x.shape[0]
        yield slope.over((n, m), f.x, f.t, f.dx, f.clock, m, *smoothing(self.label_smoothing), work=6)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """One answer per row as a label and as a number, several, an image of them, and smoothed ones."""
        return [
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6,), "int32"), "unit"),
            LossExample(cls(), TensorSpec((6, 1)), TensorSpec((6, 1)), "unit"),
            LossExample(cls(), TensorSpec((4, 5)), TensorSpec((4, 5)), "unit"),
            LossExample(cls(label_smoothing=0.2), TensorSpec((3, 2, 3, 1)), TensorSpec((3, 2, 3, 1)), "unit"),
        ]
