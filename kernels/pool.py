"""What max and average pooling share: the shape rule, and which window covers which cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.launch import Grid, cuda, device
from kernels.operator import ShapeError
from kernels.source import THREADS_PER_BLOCK
from kernels.tensor import TensorSpec, both, window


@final
@dataclass(frozen=True, slots=True)
class Pooling:
    """The numbers of one pooling, in the order in which launches carry them. x (n, h, w, c), y (n, p, q, c)."""

    n: int
    h: int
    w: int
    c: int
    r: int
    s: int
    p: int
    q: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int


def pooling(
    kind: str, x: TensorSpec, pool_size: int | tuple[int, int], strides: int | tuple[int, int] | None, padding: str,
    ceil: bool,
) -> Pooling:  # fmt: skip
    """Slide windows of `pool_size` over x, `strides` (else a window) apart; raises ShapeError in the name of `kind`."""
    if len(x.shape) != 4:
        raise ShapeError(
            f"{kind} expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
        )
    (r, s), (n, h, w, c) = both(pool_size), x.shape
    stride_h, stride_w = both(pool_size if strides is None else strides)
    high, wide = window(h, r, stride_h, 1, padding, ceil), window(w, s, stride_w, 1, padding, ceil)
    if high.output < 1 or wide.output < 1:
        raise ShapeError(
            f"{kind} looks at {r} x {s} cells, but its input is only {h} x {w}; "
            'use a smaller pool_size or padding "same"'
        )
    return Pooling(n, h, w, c, r, s, high.output, wide.output, stride_h, stride_w, high.before, wide.before)


@device
def first_inside(position: int, stride: int, pad: int) -> int:
    """The first tap of the window at this output position that lies on a real cell."""
    return max(0, pad - position * stride)


@device
def last_inside(position: int, stride: int, pad: int, size: int, length: int) -> int:
    """One past the last tap of that window that lies on a real cell."""
    return min(size, length + pad - position * stride)


@device
def first_window(cell: int, stride: int, pad: int, size: int) -> int:
    """The first output position whose window covers this cell."""
    return max(0, (cell + pad - size + stride) // stride)


@device
def last_window(cell: int, stride: int, pad: int, outputs: int) -> int:
    """One past the last output position whose window covers this cell."""
    return min(outputs, (cell + pad) // stride + 1)


def thread_each(count: int, body: Callable[..., None], arrays: int) -> Grid:
    """A CUDA grid of one thread per element: body(item, *arrays) for every item below `count`; two arrays or three."""
    limit, block, run = np.int32(count), np.int32(THREADS_PER_BLOCK), device(body)

    def on_two(a: Any, b: Any) -> None:
        item = np.int32(cuda.blockIdx.x) * block + np.int32(cuda.threadIdx.x)
        if item < limit:
            run(item, a, b)

    def on_three(a: Any, b: Any, c: Any) -> None:
        item = np.int32(cuda.blockIdx.x) * block + np.int32(cuda.threadIdx.x)
        if item < limit:
            run(item, a, b, c)

    return Grid(on_two if arrays == 2 else on_three, (-(-count // THREADS_PER_BLOCK), 1, 1), THREADS_PER_BLOCK)
