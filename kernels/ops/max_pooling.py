"""Max pooling: the largest value beneath each window."""

from __future__ import annotations

import math
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


def pool_rows(
    begin: int, end: int, scratch: Any, x: Any, y: Any, index: Any, n: int, h: int, w: int, c: int, r: int, s: int,
    p: int, q: int, stride_h: int, stride_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin: an item is a row of outputs; channels are the inner loop. NaN wins over every number."""
    for item in range(begin, end):
        image, i = item // p, item % p
        first_r, last_r = first_inside(i, stride_h, pad_top), last_inside(i, stride_h, pad_top, r, h)
        for j in range(q):
            first_s, last_s = first_inside(j, stride_w, pad_left), last_inside(j, stride_w, pad_left, s, w)
            to = (item * q + j) * c
            corner = ((image * h + i * stride_h - pad_top) * w + j * stride_w - pad_left) * c
            tap, of = number_like(first_r * s + first_s, index), corner + (first_r * w + first_s) * c
            for k in range(c):
                y[to + k] = x[of + k]
                index[to + k] = tap
            for a in range(first_r, last_r):
                for b in range(first_s, last_s):
                    tap, of = number_like(a * s + b, index), corner + (a * w + b) * c
                    for k in range(c):
                        value, best = x[of + k], y[to + k]
                        better = value > best or math.isnan(value)
                        y[to + k] = value if better else best
                        index[to + k] = tap if better else index[to + k]


def pool_grid(
    items: int, n: int, h: int, w: int, c: int, r: int, s: int, p: int, q: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int,
) -> Grid:  # fmt: skip
    """The CUDA twin: a thread per output."""

    def body(item: int, x: Any, y: Any, index: Any) -> None:
        pixel, channel = item // c, item % c
        j, i, image = pixel % q, pixel // q % p, pixel // (p * q)
        first_r, last_r = first_inside(i, stride_h, pad_top), last_inside(i, stride_h, pad_top, r, h)
        first_s, last_s = first_inside(j, stride_w, pad_left), last_inside(j, stride_w, pad_left, s, w)
        corner = ((image * h + i * stride_h - pad_top) * w + j * stride_w - pad_left) * c + channel
        best, at = x[corner + (first_r * w + first_s) * c], first_r * s + first_s
        for a in range(first_r, last_r):
            for b in range(first_s, last_s):
                value = x[corner + (a * w + b) * c]
                if value > best or math.isnan(value):
                    best, at = value, a * s + b
        y[item] = best
        index[item] = at

    return thread_each(n * p * q * c, body, 3)


def unpool_rows(
    begin: int, end: int, scratch: Any, dy: Any, index: Any, dx: Any, n: int, h: int, w: int, c: int, r: int, s: int,
    p: int, q: int, stride_h: int, stride_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin of the gradient: an item is a row of inputs, each of which gathers from the windows it won."""
    for item in range(begin, end):
        image, row = item // h, item % h
        first_i, last_i = first_window(row, stride_h, pad_top, r), last_window(row, stride_h, pad_top, p)
        for column in range(w):
            first_j, last_j = first_window(column, stride_w, pad_left, s), last_window(column, stride_w, pad_left, q)
            to = (item * w + column) * c
            if last_i - first_i != 1 or last_j - first_j != 1:
                for k in range(c):
                    dx[to + k] = 0
            for i in range(first_i, last_i):
                for j in range(first_j, last_j):
                    tap = number_like((row + pad_top - i * stride_h) * s + column + pad_left - j * stride_w, index)
                    of = ((image * p + i) * q + j) * c
                    if last_i - first_i == 1 and last_j - first_j == 1:
                        for k in range(c):
                            dx[to + k] = dy[of + k] if index[of + k] == tap else number_like(0, dy)
                    else:
                        for k in range(c):
                            dx[to + k] += dy[of + k] if index[of + k] == tap else number_like(0, dy)


def unpool_grid(
    items: int, n: int, h: int, w: int, c: int, r: int, s: int, p: int, q: int, stride_h: int, stride_w: int,
    pad_top: int, pad_left: int,
) -> Grid:  # fmt: skip
    """The CUDA twin of the gradient: a thread per input."""

    def body(item: int, dy: Any, index: Any, dx: Any) -> None:
        cell, channel = item // c, item % c
        column, row, image = cell % w, cell // w % h, cell // (w * h)
        first_i, last_i = first_window(row, stride_h, pad_top, r), last_window(row, stride_h, pad_top, p)
        first_j, last_j = first_window(column, stride_w, pad_left, s), last_window(column, stride_w, pad_left, q)
        total = np.float32(0)
        for i in range(first_i, last_i):
            for j in range(first_j, last_j):
                of = ((image * p + i) * q + j) * c + channel
                if index[of] == (row + pad_top - i * stride_h) * s + column + pad_left - j * stride_w:
                    total += dy[of]
        dx[item] = total

    return thread_each(n * h * w * c, body, 3)


pool = pair(pool_rows, pool_grid)
unpool = pair(unpool_rows, unpool_grid)


@final
@dataclass(frozen=True)
class MaxPooling2D(Operator):
    """The largest value beneath each window: y[n,p,q,c] = max over r, s of x[n, p·stride + r − pad, …, c].

    x (n, h, w, c), y (n, p, q, c). `strides` is the window's size unless given. Padding counts as −∞.
    With `ceil_mode` a last window may hang over the edge. Of equal values the first one passes the gradient on.
    """

    type: ClassVar[str] = "max_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("MaxPooling2D", "MaxPool2D")

    pool_size: Size | tuple[Size, Size] = 2
    strides: Size | tuple[Size, Size] | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, c)."""
        v = self._pooling(x)
        output = x.with_shape(v.n, v.p, v.q, v.c)
        index = TensorSpec(output.shape, "uint8" if v.r * v.s <= 256 else "int32")
        return Signature(output, saved={"index": index})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Maxima, and which tap each came from."""
        v = self._pooling(TensorSpec(f.x.shape))
        yield pool.over(v.n * v.p, f.x, f.y, f.index, *astuple(v), work=v.q * v.c * v.r * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers from the windows it won."""
        if f.dx is not None:
            v = self._pooling(TensorSpec(f.x.shape))
            yield unpool.over(v.n * v.h, f.dy, f.index, f.dx, *astuple(v), work=v.w * v.c)

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
            (cls(17, strides=1), (1, 18, 18, 2)),
        ]
        return [Example(layer, TensorSpec(shape), "distinct") for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A comparison per tap and output."""
        v = self._pooling(x)
        return v.n * v.p * v.q * v.c * v.r * v.s

    def _pooling(self, x: TensorSpec) -> Pooling:
        return pooling(self.type, x, self.pool_size, self.strides, self.padding, self.ceil_mode)
