"""LayerNormalization: every row of features shifted and scaled to mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Gt

from kernels.launch import Deferred, Grid, Launch, cuda, device, pair
from kernels.moments import block_sums, cut, share_out
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")
shift: Any = Deferred("kernels.microkernel", "shift")

LANES, LINES = 32, 8
"""On CUDA a block takes eight rows, each by 32 threads."""


def normalize_rows(
    begin: int, end: int, scratch: Any, x: Any, gamma: Any, beta: Any, mean: Any, inverse: Any, y: Any, rows: int,
    c: int, scaled: int, centred: int, epsilon: Any,
) -> None:  # fmt: skip
    """The CPU twin: an item is a row; twice over it for the moments, once more for the result."""
    one = number_like(1, x)
    share = one / number_like(c, x)
    for item in range(begin, end):
        row, to, total = shift(x, item * c), shift(y, item * c), number_like(0, x)
        for k in range(c):
            total += row[k]
        middle, squares = total * share, number_like(0, x)
        for k in range(c):
            squares += (row[k] - middle) * (row[k] - middle)
        scale = one / math.sqrt(squares * share + epsilon)
        mean[item], inverse[item] = middle, scale
        for k in range(c):
            value = (row[k] - middle) * scale
            scaled_value = value * gamma[k] if scaled else value
            to[k] = scaled_value + beta[k] if centred else scaled_value


@device
def add_lanes(partial: Any, line: int, lane: int) -> Any:
    """The sum over the lanes of one line; every thread of the block must come here."""
    cuda.syncthreads()
    half = np.int32(LANES // 2)
    while half > np.int32(0):
        if lane < half:
            partial[line, lane] += partial[line, lane + half]
        cuda.syncthreads()
        half >>= np.int32(1)
    total = partial[line, np.int32(0)]
    cuda.syncthreads()
    return total


@device
def place() -> Any:
    """Row, line and lane of the running thread."""
    thread = np.int32(cuda.threadIdx.x)
    lane, line = np.int32(thread % np.int32(LANES)), np.int32(thread // np.int32(LANES))
    return np.int32(cuda.blockIdx.x * LINES + line), line, lane


def normalize_grid(items: int, rows: int, c: int, scaled: int, centred: int, epsilon: float) -> Grid:
    """The CUDA twin. The kernel takes (x, gamma, beta, mean, inverse, y)."""
    share, epsilon_ = np.float32(1 / c), np.float32(epsilon)

    def kernel(x: Any, gamma: Any, beta: Any, mean: Any, inverse: Any, y: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        row, line, lane = place()
        last = c if row < rows else 0
        total = np.float32(0)
        for k in range(lane, last, LANES):
            total += x[row * c + k]
        shared[line, lane] = total
        middle = add_lanes(shared, line, lane) * share
        squares = np.float32(0)
        for k in range(lane, last, LANES):
            d = x[row * c + k] - middle
            squares += d * d
        shared[line, lane] = squares
        scale = np.float32(1) / math.sqrt(add_lanes(shared, line, lane) * share + epsilon_)
        if lane == 0 and row < rows:
            mean[row] = middle
            inverse[row] = scale
        for k in range(lane, last, LANES):
            value = (x[row * c + k] - middle) * scale
            if scaled:
                value *= gamma[k]
            if centred:
                value += beta[k]
            y[row * c + k] = value

    return Grid(kernel, (-(-rows // LINES), 1, 1), LANES * LINES)


def descend_rows(
    begin: int, end: int, scratch: Any, x: Any, dy: Any, gamma: Any, mean: Any, inverse: Any, dx: Any, rows: int,
    c: int, scaled: int,
) -> None:  # fmt: skip
    """The CPU twin of dx: an item is a row."""
    share = number_like(1, x) / number_like(c, x)
    for item in range(begin, end):
        row, slope, to = shift(x, item * c), shift(dy, item * c), shift(dx, item * c)
        middle, scale = mean[item], inverse[item]
        total, product = number_like(0, x), number_like(0, x)
        for k in range(c):
            g = slope[k] * gamma[k] if scaled else slope[k]
            total += g
            product += g * ((row[k] - middle) * scale)
        total, product = total * share, product * share
        for k in range(c):
            g = slope[k] * gamma[k] if scaled else slope[k]
            to[k] = scale * (g - total - (row[k] - middle) * scale * product)


def descend_grid(items: int, rows: int, c: int, scaled: int) -> Grid:
    """The CUDA twin of dx. The kernel takes (x, dy, gamma, mean, inverse, dx)."""
    share = np.float32(1 / c)

    def kernel(x: Any, dy: Any, gamma: Any, mean: Any, inverse: Any, dx: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        row, line, lane = place()
        inside = row < rows
        last = c if inside else 0
        middle, scale = np.float32(0), np.float32(0)
        if inside:
            middle, scale = mean[row], inverse[row]
        total = product = np.float32(0)
        for k in range(lane, last, LANES):
            g = dy[row * c + k] * gamma[k] if scaled else dy[row * c + k]
            total += g
            product += g * ((x[row * c + k] - middle) * scale)
        shared[line, lane] = total
        total = add_lanes(shared, line, lane) * share
        shared[line, lane] = product
        product = add_lanes(shared, line, lane) * share
        for k in range(lane, last, LANES):
            g = dy[row * c + k] * gamma[k] if scaled else dy[row * c + k]
            dx[row * c + k] = scale * (g - total - (x[row * c + k] - middle) * scale * product)

    return Grid(kernel, (-(-rows // LINES), 1, 1), LANES * LINES)


normalize = pair(normalize_rows, normalize_grid, name="layer_normalization.normalize")
descend = pair(descend_rows, descend_grid, name="layer_normalization.descend")


@final
@dataclass(frozen=True)
class LayerNormalization(Operator):
    """Each row of c features to mean 0 and variance 1: y = gamma · (x − mean) / √(variance + epsilon) + beta.

    x and y (n, …, c), gamma and beta (c); mean and variance are those of the last axis, for every row, in training and
    in use alike (Ba, Kiros & Hinton 2016). With g = dy · gamma and x̂ the normalised x:
    dx = (g − mean(g) − x̂ · mean(g·x̂)) / √(variance + epsilon), dgamma = Σ dy·x̂, dbeta = Σ dy.
    """

    type: ClassVar[str] = "layer_normalization"
    aliases: ClassVar[tuple[str, ...]] = ("LayerNormalization", "layer_norm")

    epsilon: Annotated[float, Gt(0)] = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str = "zeros"
    gamma_initializer: str = "ones"

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) < 2:
            raise ShapeError(f"layer_normalization expects (batch, …, features), got {x.shape}; give it a feature axis")
        v = cut(x.shape)
        features, rows = TensorSpec((v.columns,)), TensorSpec((v.rows,))
        params = {}
        if self.scale:
            params["gamma"] = Param(features, self.gamma_initializer)
        if self.center:
            params["beta"] = Param(features, self.beta_initializer)
        scratch = {"partial": TensorSpec(v.scratch), "totals": TensorSpec((2 * v.columns,))} if params else {}
        return Signature(x, params, saved={"mean": rows, "inverse": rows}, scratch=scratch)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per row of features."""
        v = cut(f.x.shape)
        gamma, beta = f.gamma if self.scale else f.mean, f.beta if self.center else f.mean
        numbers = v.rows, v.columns, int(self.scale), int(self.center), float(self.epsilon)
        yield normalize.over(v.rows, f.x, gamma, beta, f.mean, f.inverse, f.y, *numbers, work=8 * v.columns)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Sums over rows for gamma and beta, sums over features for dx."""
        v = cut(f.x.shape)
        if self.center or self.scale:
            yield block_sums(f.x, f.dy, f.clock, f.mean, f.inverse, f.partial, v, by_row=True)
            yield column_sums(f.partial, f.totals, v.blocks, 2 * v.columns)
            dbeta, dgamma = f.dbeta if self.center else f.totals, f.dgamma if self.scale else f.totals
            yield share_out.over(v.columns, f.totals, dbeta, dgamma, v.columns, int(self.center), int(self.scale))
        if f.dx is not None:
            gamma, numbers = f.gamma if self.scale else f.mean, (v.rows, v.columns, int(self.scale))
            yield descend.over(v.rows, f.x, f.dy, gamma, f.mean, f.inverse, f.dx, *numbers, work=12 * v.columns)

    @classmethod
    def examples(cls) -> list[Example]:
        """Vectors, sequences and images, more features than a warp has threads, without scale or centre."""
        cases = [
            (cls(), (5, 7)),
            (cls(epsilon=1e-5), (3, 4, 40)),
            (cls(scale=False), (2, 3, 3, 5)),
            (cls(center=False), (4, 33)),
            (cls(center=False, scale=False), (2, 6, 3)),
            (cls(beta_initializer="ones", gamma_initializer="he_normal"), (2, 9, 100)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """Two sums, a difference, two products and an offset per element."""
        return 8 * x.size
