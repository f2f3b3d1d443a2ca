"""Cross-entropy between class probabilities and labels given as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.launch import Launch, device, each
from kernels.operator import Frame, Fusions, Loss, LossExample, ShapeError
from kernels.positions import mean_over_positions
from kernels.tensor import TensorSpec

ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)
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


@device
def cost_of_scores(x: Any, t: Any, i: int, c: int) -> Any:
    """Position i: log Σ e^x − x[label]; NaN where no class has that label."""
    picked = NAN
    for j in range(c):
        picked = x[i * c + j] if j == t[i] else picked
    return log_sum_exp(x, i * c, c) - picked


@each
def label_of_scores(i: int, x: Any, t: Any, loss: Any, clock: Any, c: int) -> None:
    """Row i, where a row has one label."""
    loss[i] = cost_of_scores(x, t, i, c) if i < clock[2] else ZERO


labels_of_scores = mean_over_positions(cost_of_scores, "sparse_categorical_crossentropy.labels_of_scores")


@each
def slope_of_scores(i: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int) -> None:
    """Position i: softmax(x) − one_hot(label), divided by the number of positions that count."""
    begin = i * c
    if i < clock[2] * positions:
        norm = log_sum_exp(x, begin, c)
        share = ONE / (np.float32(clock[2]) * np.float32(positions))
        for j in range(c):
            hit = ONE if j == t[i] else ZERO
            dx[begin + j] = (math.exp(x[begin + j] - norm) - hit) * share
    else:
        for j in range(c):
            dx[begin + j] = ZERO


@device
def cost(x: Any, t: Any, i: int, c: int) -> Any:
    """Position i: −log x[label], x clipped; NaN where no class has that label."""
    picked = NAN
    for j in range(c):
        picked = x[i * c + j] if j == t[i] else picked
    picked = LOWEST if picked < LOWEST else picked
    return -math.log(HIGHEST if picked > HIGHEST else picked)


@each
def label(i: int, x: Any, t: Any, loss: Any, clock: Any, c: int) -> None:
    """Row i, where a row has one label."""
    loss[i] = cost(x, t, i, c) if i < clock[2] else ZERO


labels = mean_over_positions(cost, "sparse_categorical_crossentropy.labels")


@each
def slope(i: int, j: int, x: Any, t: Any, dx: Any, clock: Any, positions: int, c: int) -> None:
    """Position i, class j: −1 / x at the label and 0 elsewhere, divided by the number of positions that count."""
    p = x[i * c + j]
    counts = i < clock[2] * positions and j == t[i] and LOWEST <= p <= HIGHEST
    dx[i * c + j] = -ONE / (p * np.float32(clock[2]) * np.float32(positions)) if counts else ZERO


def check(x: TensorSpec, target: TensorSpec) -> None:
    """Prediction (n, …, c), target (n, …)."""
    if len(x.shape) < 2 or target.shape != x.shape[:-1]:
        raise ShapeError(
            f"sparse_categorical_crossentropy expects predictions (batch, classes) and labels (batch,), got {x.shape} "
            f"and {target.shape}; end the network in one unit per class"
        )


@final
@dataclass(frozen=True)
class SparseCategoricalCrossentropyOfScores(Loss):
    """Softmax and cross-entropy as one: L = log Σ_k e^(x_k) − x_t, dL/dx = softmax(x) − one_hot(t)."""

    target: ClassVar[Literal["labels"]] = "labels"

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction (n, …, c), target (n, …)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        if positions == 1:
            yield label_of_scores.over(n, f.x, f.t, f.loss, f.clock, c, work=10 * c)
        else:
            yield labels_of_scores.over(n, f.x, f.t, f.loss, f.clock, positions, c, work=10 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per position."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield slope_of_scores.over(n * positions, f.x, f.t, f.dx, f.clock, positions, c, work=20 * c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, and classes at every position of a sequence."""
        return [
            LossExample(cls(), TensorSpec((6, 10)), TensorSpec((6,), "int32")),
            LossExample(cls(), TensorSpec((3, 4, 5)), TensorSpec((3, 4), "int32")),
        ]


@final
@dataclass(frozen=True)
class SparseCategoricalCrossentropy(Loss):
    """How surprised the network is by the true class: L = −log x_t, for probabilities x and a label t in 0..c−1.

    x is (n, …, c), t is (n, …); positions (the characters of a text, the pixels of an image) are averaged.
    Probabilities are clipped to 1e−7 … 1 − 1e−7 as in Keras; behind a softmax the scores themselves are used instead,
    and nothing needs clipping.
    """

    type: ClassVar[str] = "sparse_categorical_crossentropy"
    aliases: ClassVar[tuple[str, ...]] = ("SparseCategoricalCrossentropy",)
    target: ClassVar[Literal["labels"]] = "labels"
    fused: ClassVar[Fusions] = {"softmax": SparseCategoricalCrossentropyOfScores}

    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Prediction (n, …, c), target (n, …)."""
        check(x, target)

    def forward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the batch."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        if positions == 1:
            yield label.over(n, f.x, f.t, f.loss, f.clock, c, work=c + 8)
        else:
            yield labels.over(n, f.x, f.t, f.loss, f.clock, positions, c, work=positions * (c + 8))

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per position."""
        n, c = f.x.shape[0], f.x.shape[-1]
        positions = f.x.size // (n * c)
        yield slope.over((n * positions, c), f.x, f.t, f.dx, f.clock, positions, c)

    @classmethod
    def examples(cls) -> list[LossExample]:
        """Classes, and classes at every position of a sequence."""
        return [
            LossExample(cls(), TensorSpec((6, 10)), TensorSpec((6,), "int32"), "probabilities"),
            LossExample(cls(), TensorSpec((3, 4, 5)), TensorSpec((3, 4), "int32"), "probabilities"),
        ]
