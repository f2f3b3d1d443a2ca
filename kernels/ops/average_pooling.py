"""Average pooling: the mean of the values beneath each window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Deferred, Grid, Launch, pair
from kernels.operator import Example, Frame, Operator, Signature
from kernels.pool import Pooling, first_inside, first_window, last_inside, last_window, pooling, thread_each
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")

Size = Annotated[int, Ge(1)]


def mean_rows(
    begin: int, end: int, scratch: Any, x: Any, y: Any, n: int, h: int, w: int, c: int, r: int, s: int, p: int, q: int,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin: an item is a row of outputs; channels are the inner loop."""
    for item in range(begin, end):
        image, i = item // p, item % p
        first_r, last_r = first_inside(i, stride_h, pad_top), last_inside(i, stride_h, pad_top, r, h)
        for j in range(q):
            first_s, last_s = first_inside(j, stride_w, pad_left), last_inside(j, stride_w, pad_left, s, w)
            to = (item * q + j) * c
            corner = ((image * h + i * stride_h - pad_top) * w + j * stride_w - pad_left) * c
            for k in range(c):
                y[to + k] = 0
            for a in range(first_r, last_r):
                for b in range(first_s, last_s):
                    of = corner + (a * w + b) * c
                    for k in range(c):
                        y[to + k] += x[of + k]
            share = number_like(1, x) / number_like((last_r - first_r) * (last_s - first_s), x)
            for k in range(c):
                y[to + k] *= share


def mean_grid(
    items: int, n: int, h: int, w: int, c: int, r: int, s: int, p: int, q: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int,
) -> Grid:  # fmt: skip
    """The CUDA twin: a thread per output."""

    def body(item: int, x: Any, y: Any) -> None:
        pixel, channel = item // c, item % c
        j, i, image = pixel % q, pixel // q % p, pixel // (p * q)
        first_r, last_r = first_inside(i, stride_h, pad_top), last_inside(i, stride_h, pad_top, r, h)
        first_s, last_s = first_inside(j, stride_w, pad_left), last_inside(j, stride_w, pad_left, s, w)
        corner = ((image * h + i * stride_h - pad_top) * w + j * stride_w - pad_left) * c + channel
        total = np.float32(0)
        for a in range(first_r, last_r):
            for b in range(first_s, last_s):
                total += x[corner + (a * w + b) * c]
        y[item] = total * (np.float32(1) / np.float32((last_r - first_r) * (last_s - first_s)))

    return thread_each(n * p * q * c, body, 2)


def spread_rows(
    begin: int, end: int, scratch: Any, dy: Any, dx: Any, n: int, h: int, w: int, c: int, r: int, s: int, p: int,
    q: int, stride_h: int, stride_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin of the gradient: an item is a row of inputs, each of which gathers its share of every window."""
    for item in range(begin, end):
        image, row = item // h, item % h
        first_i, last_i = first_window(row, stride_h, pad_top, r), last_window(row, stride_h, pad_top, p)
        for column in range(w):
            first_j, last_j = first_window(column, stride_w, pad_left, s), last_window(column, stride_w, pad_left, q)
            to = (item * w + column) * c
            for k in range(c):
                dx[to + k] = 0
            for i in range(first_i, last_i):
                high = last_inside(i, stride_h, pad_top, r, h) - first_inside(i, stride_h, pad_top)
                for j in range(first_j, last_j):
                    wide = last_inside(j, stride_w, pad_left, s, w) - first_inside(j, stride_w, pad_left)
                    share, of = number_like(1, dy) / number_like(high * wide, dy), ((image * p + i) * q + j) * c
                    for k in range(c):
                        dx[to + k] += dy[of + k] * share


def spread_grid(
    items: int, n: int, h: int, w: int, c: int, r: int, s: int, p: int, q: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int,
) -> Grid:  # fmt: skip
    """The CUDA twin of the gradient: a thread per input."""

    def body(item: int, dy: Any, dx: Any) -> None:
        cell, channel = item // c, item % c
        column, row, image = cell % w, cell // w % h, cell // (w * h)
        first_i, last_i = first_window(row, stride_h, pad_top, r), last_window(row, stride_h, pad_top, p)
        first_j, last_j = first_window(column, stride_w, pad_left, s), last_window(column, stride_w, pad_left, q)
        total = np.float32(0)
        for i in range(first_i, last_i):
            high = last_inside(i, stride_h, pad_top, r, h) - first_inside(i, stride_h, pad_top)
            for j in range(first_j, last_j):
                wide = last_inside(j, stride_w, pad_left, s, w) - first_inside(j, stride_w, pad_left)
                share = np.float32(1) / np.float32(high * wide)
                total += dy[((image * p + i) * q + j) * c + channel] * share
        dx[item] = total

    return thread_each(n * h * w * c, body, 2)


mean = pair(mean_rows, mean_grid)
spread = pair(spread_rows, spread_grid)


@final
@dataclass(frozen=True)
class AveragePooling2D(Operator):
    """The mean beneath each window: y[n,p,q,c] = (1 / cells) Σ_rs x[n, p·stride + r − pad, …, c].

    x (n, h, w, c), y (n, p, q, c). `strides` is the window's size unless given. Only real cells count: neither
    padding nor what a last window of `ceil_mode` has beyond the edge.
    """

    type: ClassVar[str] = "average_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("AveragePooling2D", "AvgPool2D")

    pool_size: Size | tuple[Size, Size] = 2
    strides: Size | tuple[Size, Size] | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, c)."""
        v = self._pooling(x)
        return Signature(x.with_shape(v.n, v.p, v.q, v.c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Means."""
        v = self._pooling(TensorSpec(f.x.shape))
        yield mean.over(v.n * v.p, f.x, f.y, *astuple(v), work=v.q * v.c * v.r * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers its share of the windows that cover it."""
        if f.dx is not None:
            v = self._pooling(TensorSpec(f.x.shape))
            yield spread.over(v.n * v.h, f.dy, f.dx, *astuple(v), work=v.w * v.c * 2)

    @classmethod
    def examples(cls) -> list[Example]:
        """Windows apart and overlapping, both paddings, ceil mode, odd sizes, one channel, one row."""
        cases = [
            (cls(), (2, 6, 6, 3)),
            (cls(), (2, 7, 5, 17)),
            (cls(ceil_mode=True), (1, 5, 5, 1)),
            (cls(3, strides=2), (2, 9, 8, 5)),
            (cls(3, strides=2, ceil_mode=True), (1, 8, 7, 4)),
            (cls((2, 3), strides=(1, 2), padding="same"), (2, 5, 6, 2)),
            (cls(2, strides=3), (2, 8, 8, 3)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """An addition per tap and output, and a multiplication."""
        v = self._pooling(x)
        return v.n * v.p * v.q * v.c * (v.r * v.s + 1)

    def _pooling(self, x: TensorSpec) -> Pooling:
        return pooling(self.type, x, self.pool_size, self.strides, self.padding, self.ceil_mode)
