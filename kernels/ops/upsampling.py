"""Upsampling: images and sequences made larger by a whole factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Deferred, Grid, Launch, device, pair
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.pool import thread_each
from kernels.tensor import TensorSpec, both

number_like: Any = Deferred("kernels.microkernel", "number_like")
shift: Any = Deferred("kernels.microkernel", "shift")

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True, slots=True)
class Enlargement:
    """The numbers of one upsampling, in the order in which launches carry them. x (n, h, w, c), y (n, h·r, w·s, c)."""

    n: int
    h: int
    w: int
    c: int
    r: int
    s: int
    linear: int


@device
def source_of(i: int, size: int, linear: int) -> int:
    """The cell at or before output i: i div size, or the floor of (i + ½) / size − ½, and never below 0."""
    return max(0, (2 * i + 1 - size) // (2 * size)) if linear else i // size


@device
def beyond_of(i: int, size: int, linear: int) -> int:
    """How far output i lies beyond that cell, in units of 1 / (2 · size)."""
    return max(0, 2 * i + 1 - size) % (2 * size) if linear else 0


@device
def weight_of(i: int, cell: int, size: int, length: int, linear: int) -> int:
    """How much of a cell is in output i, in units of 1 / (2 · size). The last cell also stands for what lies beyond."""
    near, beyond, whole = source_of(i, size, linear), beyond_of(i, size, linear), 2 * size
    far = min(near + 1, length - 1)
    return (whole - beyond if near == cell else 0) + (beyond if far == cell else 0)


def enlarge_rows(
    begin: int, end: int, scratch: Any, x: Any, y: Any, n: int, h: int, w: int, c: int, r: int, s: int, linear: int
) -> None:
    """The CPU twin: an item is a row of outputs; channels are the inner loop."""
    for item in range(begin, end):
        image, i = item // (h * r), item % (h * r)
        row = source_of(i, r, linear)
        upper = shift(x, (image * h + row) * w * c)
        lower = shift(x, (image * h + min(row + 1, h - 1)) * w * c)
        down = number_like(beyond_of(i, r, linear), x) / number_like(2 * r, x)
        for j in range(w * s):
            to, column = shift(y, (item * w * s + j) * c), source_of(j, s, linear)
            if linear == 0:
                of = shift(upper, column * c)
                for k in range(c):
                    to[k] = of[k]
            else:
                left, right = column * c, min(column + 1, w - 1) * c
                over = number_like(beyond_of(j, s, linear), x) / number_like(2 * s, x)
                for k in range(c):
                    above = upper[left + k] + over * (upper[right + k] - upper[left + k])
                    below = lower[left + k] + over * (lower[right + k] - lower[left + k])
                    to[k] = above + down * (below - above)


def enlarge_grid(items: int, n: int, h: int, w: int, c: int, r: int, s: int, linear: int) -> Grid:
    """The CUDA twin: a thread per output."""
    high, wide = h * r, w * s

    def body(item: int, x: Any, y: Any) -> None:
        pixel, k = item // c, item % c
        j, i, image = pixel % wide, pixel // wide % high, pixel // (wide * high)
        row, column = source_of(i, r, linear), source_of(j, s, linear)
        upper = (image * h + row) * w
        if linear == 0:
            y[item] = x[(upper + column) * c + k]
        else:
            lower = (image * h + min(row + 1, h - 1)) * w
            right = min(column + 1, w - 1)
            down = np.float32(beyond_of(i, r, linear)) * np.float32(1 / (2 * r))
            over = np.float32(beyond_of(j, s, linear)) * np.float32(1 / (2 * s))
            a, b = x[(upper + column) * c + k], x[(lower + column) * c + k]
            above = a + over * (x[(upper + right) * c + k] - a)
            below = b + over * (x[(lower + right) * c + k] - b)
            y[item] = above + down * (below - above)

    return thread_each(n * high * wide * c, body, 2)


@device
def first_reader(cell: int, size: int, linear: int) -> int:
    """The first output that reads this cell."""
    return max(0, (size * (2 * cell - 1) + 1) // 2) if linear else cell * size


@device
def last_reader(cell: int, size: int, length: int, linear: int) -> int:
    """One past the last output that reads this cell."""
    return min(length * size, size * (2 * cell + 3) // 2) if linear else cell * size + size


def gather_rows(
    begin: int, end: int, scratch: Any, dy: Any, dx: Any, n: int, h: int, w: int, c: int, r: int, s: int, linear: int
) -> None:
    """The CPU twin of the gradient: an item is a row of inputs, which gather from the outputs they are in."""
    unit = number_like(1, dy) / number_like(4 * r * s, dy)
    for item in range(begin, end):
        image, row = item // h, item % h
        for column in range(w):
            to = shift(dx, (item * w + column) * c)
            for k in range(c):
                to[k] = 0
            for i in range(first_reader(row, r, linear), last_reader(row, r, h, linear)):
                down = weight_of(i, row, r, h, linear)
                for j in range(first_reader(column, s, linear), last_reader(column, s, w, linear)):
                    weight = number_like(down * weight_of(j, column, s, w, linear), dy) * unit
                    of = shift(dy, ((image * h * r + i) * w * s + j) * c)
                    for k in range(c):
                        to[k] += weight * of[k]


def gather_grid(items: int, n: int, h: int, w: int, c: int, r: int, s: int, linear: int) -> Grid:
    """The CUDA twin of the gradient: a thread per input."""
    unit = np.float32(1 / (4 * r * s))

    def body(item: int, dy: Any, dx: Any) -> None:
        cell, k = item // c, item % c
        column, row, image = cell % w, cell // w % h, cell // (w * h)
        total = np.float32(0)
        for i in range(first_reader(row, r, linear), last_reader(row, r, h, linear)):
            down = weight_of(i, row, r, h, linear)
            for j in range(first_reader(column, s, linear), last_reader(column, s, w, linear)):
                weight = np.float32(np.int32(down * weight_of(j, column, s, w, linear))) * unit
                total += weight * dy[((image * h * r + i) * w * s + j) * c + k]
        dx[item] = total

    return thread_each(n * h * w * c, body, 2)


enlarge = pair(enlarge_rows, enlarge_grid, name="upsampling.enlarge")
gather = pair(gather_rows, gather_grid, name="upsampling.gather")


def _forward(f: Frame, v: Enlargement) -> Iterator[Launch]:
    yield enlarge.over(v.n * v.h * v.r, f.x, f.y, *astuple(v), work=v.w * v.s * v.c * (1 + 5 * v.linear))


def _backward(f: Frame, v: Enlargement) -> Iterator[Launch]:
    if f.dx is not None:
        readers = v.r * v.s * (1 + 3 * v.linear)
        yield gather.over(v.n * v.h, f.dy, f.dx, *astuple(v), work=2 * v.w * v.c * readers)


@final
@dataclass(frozen=True)
class UpSampling2D(Operator):
    """An image made larger: y[n, i, j, c] = x[n, i div r, j div s, c], or a blend of the four nearest cells.

    x (n, h, w, c), y (n, h·r, w·s, c) for `size` (r, s). `nearest` repeats every cell. `bilinear` reads x at
    ((i + ½) / r − ½, (j + ½) / s − ½), cells beyond the edge being like the edge: half-pixel centres, as TensorFlow,
    ONNX and PyTorch (align_corners=False) have them. Each input gathers its gradient from the outputs it is in.
    """

    type: ClassVar[str] = "upsampling2d"
    aliases: ClassVar[tuple[str, ...]] = ("UpSampling2D", "up_sampling2d")

    size: Size | tuple[Size, Size] = 2
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, h·r, w·s, c)."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"upsampling2d expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
            )
        (n, h, w, c), (r, s) = x.shape, both(self.size)
        return Signature(x.with_shape(n, h * r, w * s, c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per row of outputs."""
        return _forward(f, self._enlargement(f))

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of inputs."""
        return _backward(f, self._enlargement(f))

    @classmethod
    def examples(cls) -> list[Example]:
        """Both interpolations, even and odd factors, a factor for each axis, one row, one channel and many."""
        cases = [
            (cls(), (2, 3, 4, 3)),
            (cls((3, 1)), (1, 2, 3, 17)),
            (cls(interpolation="bilinear"), (2, 4, 3, 5)),
            (cls((3, 2), interpolation="bilinear"), (1, 3, 4, 1)),
            (cls((2, 4), interpolation="bilinear"), (2, 1, 2, 2)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None for a copy, six for a blend."""
        return self.infer(x).output.size * (6 if self.interpolation == "bilinear" else 0)

    def _enlargement(self, f: Frame) -> Enlargement:
        (n, h, w, c), (r, s) = f.x.shape, both(self.size)
        return Enlargement(n, h, w, c, r, s, int(self.interpolation == "bilinear"))


@final
@dataclass(frozen=True)
class UpSampling1D(Operator):
    """A sequence made longer by repeating every step: y[n, t, c] = x[n, t div size, c].

    x (n, time, c), y (n, time·size, c). dx sums the gradients of a step's copies.
    """

    type: ClassVar[str] = "upsampling1d"
    aliases: ClassVar[tuple[str, ...]] = ("UpSampling1D", "up_sampling1d")

    size: Size = 2

    def infer(self, x: TensorSpec) -> Signature:
        """(n, time, c) → (n, time·size, c)."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"upsampling1d expects (batch, time, features), got {x.shape}; add a reshape layer before it"
            )
        n, t, c = x.shape
        return Signature(x.with_shape(n, t * self.size, c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """An image of one row."""
        return _forward(f, self._enlargement(f))

    def backward(self, f: Frame) -> Iterator[Launch]:
        """An image of one row."""
        return _backward(f, self._enlargement(f))

    @classmethod
    def examples(cls) -> list[Example]:
        """Even and odd factors, one step, one feature and many."""
        cases = [(cls(), (2, 5, 3)), (cls(3), (1, 4, 17)), (cls(4), (3, 1, 1))]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0

    def _enlargement(self, f: Frame) -> Enlargement:
        n, t, c = f.x.shape
        return Enlargement(n, 1, t, c, 1, self.size, 0)
