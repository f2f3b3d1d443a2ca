"""The largest value beneath each window, and the way back: both twins."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from kernels.launch import Deferred, Grid, pair
from kernels.pool import first_inside, first_window, last_inside, last_window, thread_each

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
