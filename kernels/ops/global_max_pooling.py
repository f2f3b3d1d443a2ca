"""Global max pooling: every channel's largest value over all positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from kernels.conv_grid import quotient
from kernels.global_pool import GlobalPooling, sizes
from kernels.launch import Deferred, Grid, Launch, each, pair
from kernels.operator import Example, Frame, Signature
from kernels.pool import thread_each
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")
shift: Any = Deferred("kernels.microkernel", "shift")

ZERO = np.float32(0)


def top_of_positions(begin: int, end: int, scratch: Any, x: Any, y: Any, index: Any, positions: int, c: int) -> None:
    """The CPU twin: an item is a row of the batch; channels are the inner loop. NaN wins over every number."""
    for item in range(begin, end):
        to, at, row = shift(y, item * c), shift(index, item * c), shift(x, item * positions * c)
        for k in range(c):
            to[k] = row[k]
            at[k] = 0
        for i in range(1, positions):
            row, here = shift(x, (item * positions + i) * c), number_like(i, index)
            for k in range(c):
                value, best = row[k], to[k]
                better = value > best or math.isnan(value)
                to[k] = value if better else best
                at[k] = here if better else at[k]


def top_of_positions_grid(items: int, positions: int, c: int) -> Grid:
    """The CUDA twin: a thread per channel and row of the batch."""

    def body(item: int, x: Any, y: Any, index: Any) -> None:
        row = quotient(item, c)
        first = row * positions * c + item - row * c
        best, at = x[first], 0
        for i in range(1, positions):
            value = x[first + i * c]
            if value > best or math.isnan(value):
                best, at = value, i
        y[item] = best
        index[item] = at

    return thread_each(items * c, body, 3)


@each
def give_back(i: int, k: int, dy: Any, index: Any, dx: Any, positions: int, c: int) -> None:
    """The position that won gets its channel's gradient, all others nothing."""
    row = quotient(i, positions)
    won = index[row * c + k] == i - row * positions
    dx[i * c + k] = dy[row * c + k] if won else ZERO


top = pair(top_of_positions, top_of_positions_grid, name="global_max_pooling.top")


class _GlobalMax(GlobalPooling):
    def infer(self, x: TensorSpec) -> Signature:
        """(n, positions…, c) → (n, c)."""
        output = self.pooled(x)
        return Signature(output, saved={"index": TensorSpec(output.shape, "int32")})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Maxima, and where each was found."""
        n, positions, c = sizes(f)
        yield top.over(n, f.x, f.y, f.index, positions, c, work=2 * positions * c)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy where the maximum was, else 0."""
        n, positions, c = sizes(f)
        if f.dx is not None:
            yield give_back.over((n * positions, c), f.dy, f.index, f.dx, positions, c, work=2)


@final
@dataclass(frozen=True)
class GlobalMaxPooling1D(_GlobalMax):
    """The largest value over time of every feature: y[n,c] = max over t of x[n,t,c] (Collobert & Weston 2008).

    x (n, time, c), y (n, c), or (n, 1, c) with `keepdims`. Of equal values the first one passes the gradient on.
    """

    type: ClassVar[str] = "global_max_pooling1d"
    aliases: ClassVar[tuple[str, ...]] = ("GlobalMaxPooling1D", "GlobalMaxPool1D")
    axes: ClassVar[int] = 1
    layout: ClassVar[str] = "(batch, time, features)"

    keepdims: bool = False

    @classmethod
    def examples(cls) -> list[Example]:
        """Both forms, one step, one feature and many."""
        cases = [(cls(), (2, 5, 3)), (cls(keepdims=True), (3, 1, 7)), (cls(), (1, 9, 1)), (cls(), (2, 20, 40))]
        return [Example(layer, TensorSpec(shape), "distinct") for layer, shape in cases]


@final
@dataclass(frozen=True)
class GlobalMaxPooling2D(_GlobalMax):
    """The largest value of every channel over the image: y[n,c] = max over i, j of x[n,i,j,c].

    x (n, h, w, c), y (n, c), or (n, 1, 1, c) with `keepdims`. Of equal values the first one passes the gradient on.
    """

    type: ClassVar[str] = "global_max_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("GlobalMaxPooling2D", "GlobalMaxPool2D")
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
        return [Example(layer, TensorSpec(shape), "distinct") for layer, shape in cases]
