"""Global average pooling: every channel's mean over all positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from kernels.conv_grid import quotient
from kernels.global_pool import GlobalPooling, sizes
from kernels.launch import Deferred, Grid, Launch, cuda, each, pair
from kernels.moments_grid import LANES, LINES, add_lines, place
from kernels.operator import Example, Frame, Signature
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")
shift: Any = Deferred("kernels.microkernel", "shift")


def mean_of_positions(begin: int, end: int, scratch: Any, x: Any, y: Any, positions: int, c: int) -> None:
    """The CPU twin: an item is a row of the batch; channels are the inner loop."""
    share = number_like(1, x) / number_like(positions, x)
    for item in range(begin, end):
        to = shift(y, item * c)
        for k in range(c):
            to[k] = 0
        for i in range(positions):
            row = shift(x, (item * positions + i) * c)
            for k in range(c):
                to[k] += row[k]
        for k in range(c):
            to[k] *= share


def mean_of_positions_grid(items: int, positions: int, c: int) -> Grid:
    """The CUDA twin: a block of threads takes 32 channels of one row, eight positions at a time."""

    def kernel(x: Any, y: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        channel, lane, line = place()
        row = np.int32(cuda.blockIdx.y)
        total = np.float32(0)
        if channel < c:
            for i in range(line, positions, LINES):
                total += x[(row * positions + i) * c + channel]
        shared[line, lane] = total
        total = add_lines(shared, line, lane)
        if line == 0 and channel < c:
            y[row * c + channel] = total * (np.float32(1) / np.float32(positions))

    return Grid(kernel, (-(-c // LANES), items, 1), LANES * LINES)


@each
def share(i: int, k: int, dy: Any, dx: Any, positions: int, c: int, part: Any) -> None:
    """Every position gets the same part of its channel's gradient."""
    dx[i * c + k] = dy[quotient(i, positions) * c + k] * part


average = pair(mean_of_positions, mean_of_positions_grid, name="global_average_pooling.average")


class _GlobalAverage(GlobalPooling):
    def infer(self, x: TensorSpec) -> Signature:
        """(n, positions…, c) → (n, c)."""
        return Signature(self.pooled(x))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Means."""
        n, positions, c = sizes(f)
        yield average.over(n, f.x, f.y, positions, c, work=positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy / positions."""
        n, positions, c = sizes(f)
        if f.dx is not None:
            yield share.over((n * positions, c), f.dy, f.dx, positions, c, 1 / positions)


@final
@dataclass(frozen=True)
class GlobalAveragePooling1D(_GlobalAverage):
    """The mean over time of every feature: y[n,c] = (1 / time) Σ_t x[n,t,c].

    x (n, time, c), y (n, c), or (n, 1, c) with `keepdims`. dx = dy / time at every step.
    """

    type: ClassVar[str] = "global_average_pooling1d"
    aliases: ClassVar[tuple[str, ...]] = ("GlobalAveragePooling1D", "GlobalAvgPool1D")
    axes: ClassVar[int] = 1
    layout: ClassVar[str] = "(batch, time, features)"

    keepdims: bool = False

    @classmethod
    def examples(cls) -> list[Example]:
        """Both forms, one step, one feature and many."""
        cases = [(cls(), (2, 5, 3)), (cls(keepdims=True), (3, 1, 7)), (cls(), (1, 9, 1)), (cls(), (2, 20, 40))]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]


@final
@dataclass(frozen=True)
class GlobalAveragePooling2D(_GlobalAverage):
    """The mean over the image of every channel: y[n,c] = 1 / (h·w) Σ_ij x[n,i,j,c] (Lin, Chen & Yan 2013).

    x (n, h, w, c), y (n, c), or (n, 1, 1, c) with `keepdims`. dx = dy / (h·w) at every cell.
    """

    type: ClassVar[str] = "global_average_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("GlobalAveragePooling2D", "GlobalAvgPool2D")
    axes: ClassVar[int] = 2
    layout: ClassVar[str] = "(batch, height, width, channels)"

    keepdims: bool = False

    @classmethod
    def examples(cls) -> list[Example]:
        """Both forms, one cell, one channel and many."""
        cases = [
            (cls(), (2, 3, 4, 3)),
            (cls(keepdims=True), (3, 1, 1, 7)),
            (cls(), (1, 5, 2, 1)),
            (cls(), (2, 4, 5, 40)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]
