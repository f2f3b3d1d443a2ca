"""BatchNormalization: every channel shifted and scaled to mean 0 and variance 1 over the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Le

from kernels.conv_grid import quotient
from kernels.launch import Deferred, Grid, Launch, cuda, each, pair
from kernels.moments import block_moments, block_sums, cut, merge_moments, share_out
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.source import THREADS_PER_BLOCK
from kernels.tensor import TensorSpec

shift: Any = Deferred("kernels.microkernel", "shift")

ZERO, ONE = np.float32(0), np.float32(1)


@each
def normalize(
    i: int, k: int, x: Any, mean: Any, inverse: Any, gamma: Any, beta: Any, y: Any, c: int, scaled: int, centred: int
) -> None:
    """y = (x − mean) · inverse · gamma + beta for row i of c channels."""
    factor = inverse[k] * gamma[k] if scaled else inverse[k]
    value = (x[i * c + k] - mean[k]) * factor
    y[i * c + k] = value + beta[k] if centred else value


@each
def invert(k: int, variance: Any, inverse: Any, epsilon: Any) -> None:
    """1 / √(variance + epsilon)."""
    inverse[k] = ONE / math.sqrt(variance[k] + epsilon)


@each
def weigh(
    k: int, totals: Any, clock: Any, inverse: Any, gamma: Any, factors: Any, c: int, spatial: int, scaled: int
) -> None:
    """Per channel, what dx = p · (dy − m) − q · (x − mean) takes: p = gamma · inverse, m = Σ dy / N, q."""
    share = ONE / np.float32(clock[2] * spatial)
    p = inverse[k] * gamma[k] if scaled else inverse[k]
    factors[k] = p
    factors[c + k] = totals[k] * share
    factors[2 * c + k] = p * inverse[k] * (totals[c + k] * share)


def descend_rows(
    begin: int, end: int, scratch: Any, x: Any, dy: Any, clock: Any, mean: Any, factors: Any, dx: Any, c: int,
    spatial: int,
) -> None:  # fmt: skip
    """The CPU twin of dx; 0 in padding rows, which moved no statistic."""
    valid, middles, slopes = clock[2] * spatial, shift(factors, c), shift(factors, 2 * c)
    for i in range(begin, min(end, valid)):
        row, slope, to = shift(x, i * c), shift(dy, i * c), shift(dx, i * c)
        for k in range(c):
            to[k] = factors[k] * (slope[k] - middles[k]) - slopes[k] * (row[k] - mean[k])
    for i in range(max(begin, valid) * c, end * c):
        dx[i] = 0


def descend_grid(items: int, c: int, spatial: int) -> Grid:
    """The CUDA twin of dx: a thread per number."""
    size, block = np.int32(items * c), np.int32(THREADS_PER_BLOCK)

    def kernel(x: Any, dy: Any, clock: Any, mean: Any, factors: Any, dx: Any) -> None:
        item = np.int32(cuda.blockIdx.x) * block + np.int32(cuda.threadIdx.x)
        if item < size:
            row = quotient(item, c)
            k, value = item - row * c, ZERO
            if row < clock[2] * spatial:
                value = factors[k] * (dy[item] - factors[c + k]) - factors[2 * c + k] * (x[item] - mean[k])
            dx[item] = value

    return Grid(kernel, (-(-items * c // THREADS_PER_BLOCK), 1, 1), THREADS_PER_BLOCK)


descend = pair(descend_rows, descend_grid, name="batch_normalization.descend")


@final
@dataclass(frozen=True)
class BatchNormalization(Operator):
    """Each channel to mean 0 and variance 1: y = gamma · (x − mean) / √(variance + epsilon) + beta.

    x and y (n, …, c); gamma, beta, mean and variance (c) (Ioffe & Szegedy 2015). While training, mean and variance are
    those of the batch's own rows, and the moving averages follow: moving ← momentum · moving + (1 − momentum) · batch
    (variance over N, as Keras does, not N − 1). When the network is used, the moving averages stand in for the batch.
    dx = gamma / √(variance + epsilon) · (dy − Σ dy / N − x̂ · Σ dy·x̂ / N), dgamma = Σ dy·x̂, dbeta = Σ dy.
    """

    type: ClassVar[str] = "batch_normalization"
    aliases: ClassVar[tuple[str, ...]] = ("BatchNormalization", "batch_norm")

    momentum: Annotated[float, Ge(0), Le(1)] = 0.99
    epsilon: Annotated[float, Gt(0)] = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str = "zeros"
    gamma_initializer: str = "ones"
    moving_mean_initializer: str = "zeros"
    moving_variance_initializer: str = "ones"

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) < 2:
            raise ShapeError(f"batch_normalization expects (batch, …, channels), got {x.shape}; give it a channel axis")
        row = TensorSpec((x.shape[-1],))
        params = {}
        if self.scale:
            params["gamma"] = Param(row, self.gamma_initializer)
        if self.center:
            params["beta"] = Param(row, self.beta_initializer)
        state = {
            "moving_mean": Param(row, self.moving_mean_initializer),
            "moving_variance": Param(row, self.moving_variance_initializer),
        }
        sums = {"partial": TensorSpec(cut(x.shape).scratch), "totals": TensorSpec((2 * row.size,))}
        scratch = {**sums, "factors": TensorSpec((3 * row.size,))}
        return Signature(x, params, state, saved={"mean": row, "inverse": row}, scratch=scratch)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """The batch's moments, or the moving averages; then one pass over the numbers."""
        v, mean = cut(f.x.shape), f.mean
        if training:
            yield block_moments(f.x, f.clock, f.partial, v)
            averages = f.moving_mean, f.moving_variance
            yield merge_moments(f.partial, f.clock, f.mean, f.inverse, *averages, v, self.epsilon, self.momentum)
        else:
            yield invert.over(v.columns, f.moving_variance, f.inverse, float(self.epsilon), work=8)
            mean = f.moving_mean
        gamma, beta = f.gamma if self.scale else f.inverse, f.beta if self.center else f.inverse
        numbers = v.columns, int(self.scale), int(self.center)
        yield normalize.over((v.rows, v.columns), f.x, mean, f.inverse, gamma, beta, f.y, *numbers, work=4)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Two sums for every channel, which are also the gradients of beta and gamma; then one pass for dx."""
        v = cut(f.x.shape)
        yield block_sums(f.x, f.dy, f.clock, f.mean, f.inverse, f.partial, v, by_row=False)
        yield column_sums(f.partial, f.totals, v.blocks, 2 * v.columns)
        dbeta, dgamma = f.dbeta if self.center else f.totals, f.dgamma if self.scale else f.totals
        if self.center or self.scale:
            yield share_out.over(v.columns, f.totals, dbeta, dgamma, v.columns, int(self.center), int(self.scale))
        if f.dx is not None:
            gamma, numbers = f.gamma if self.scale else f.inverse, (v.columns, v.spatial)
            arrays = f.totals, f.clock, f.inverse, gamma, f.factors
            yield weigh.over(v.columns, *arrays, *numbers, int(self.scale), work=8)
            yield descend.over(v.rows, f.x, f.dy, f.clock, f.mean, f.factors, f.dx, *numbers, work=5 * v.columns)

    @classmethod
    def examples(cls) -> list[Example]:
        """Vectors, sequences and images, one channel, many, several blocks of rows, without scale or centre."""
        cases = [
            (cls(), (5, 7)),
            (cls(momentum=0.9, epsilon=1e-5), (3, 4, 4, 3)),
            (cls(scale=False), (4, 6, 5)),
            (cls(center=False), (2, 3, 3, 33)),
            (cls(center=False, scale=False), (6, 1)),
            (cls(beta_initializer="ones", gamma_initializer="he_normal"), (3, 10, 2000)),
            (cls(moving_mean_initializer="ones", moving_variance_initializer="zeros"), (2, 8)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """Two sums, a difference, a product and an offset per element."""
        return 8 * x.size
