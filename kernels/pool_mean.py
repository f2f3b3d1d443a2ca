"""The mean beneath each window, and the way back: both twins."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from kernels.launch import Deferred, Grid, pair
from kernels.pool import first_inside, first_window, last_inside, last_window, thread_each

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
