"""Depthwise convolution: every channel has filters of its own, and no sum runs over channels.

Layouts: x (n, h, w, c), weights (r, s, c, m), y (n, p, q, c·m); channel k of x feeds channels k·m … k·m + m − 1 of y.
Channels are the inner loop. The CUDA twins are in kernels.depthwise_grid; both take arrays, then the numbers of
`Depthwise` in order.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from kernels.depthwise_grid import Depthwise, forward_grid, input_gradient_grid, weight_gradient_grid
from kernels.launch import Deferred, Launch, pair
from kernels.operator import ShapeError
from kernels.tensor import TensorSpec, both, window

shift: Any = Deferred("kernels.microkernel", "shift")

CHANNELS = 32
"""Channels of one item of the weight gradient: their sums for all taps stay in the first-level cache."""


Sizes = int | tuple[int, int]


def depthwise(
    kind: str, x: TensorSpec, kernel_size: Sizes, strides: Sizes, padding: str, dilation_rate: Sizes, multiplier: int
) -> Depthwise:
    """Slide a filter per channel over x; raises ShapeError in the name of `kind`."""
    if len(x.shape) != 4:
        raise ShapeError(
            f"{kind} expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
        )
    (n, h, w, c), (r, s) = x.shape, both(kernel_size)
    (stride_h, stride_w), (dilation_h, dilation_w) = both(strides), both(dilation_rate)
    high, wide = window(h, r, stride_h, dilation_h, padding), window(w, s, stride_w, dilation_w, padding)
    if high.output < 1 or wide.output < 1:
        raise ShapeError(
            f"{kind}'s window reaches over {high.extent} x {wide.extent} cells, but its input is only {h} x {w}; "
            'use a smaller kernel_size or dilation_rate, or padding "same"'
        )
    return Depthwise(
        n, h, w, c, multiplier, r, s, high.output, wide.output, stride_h, stride_w, dilation_h, dilation_w,
        high.before, wide.before,
    )  # fmt: skip


def depthwise_forward(x: Any, w: Any, y: Any, v: Depthwise) -> Launch:
    """y[n,p,q,k·m+j] = Σ_rs x[n, p·stride + r·dilation − pad, …, k] · w[r,s,k,j]."""
    return forward.over(v.n * v.p, x, w, y, *astuple(v), work=2 * v.q * v.r * v.s * v.c * v.m)


def depthwise_input_gradient(dy: Any, w: Any, dx: Any, v: Depthwise) -> Launch:
    """dx: every input cell sums, over the taps that read it, dy times the weight."""
    return input_gradient.over(v.n * v.h, dy, w, dx, *astuple(v), work=2 * v.w * v.r * v.s * v.c * v.m)


def depthwise_weight_gradient(x: Any, dy: Any, dw: Any, v: Depthwise) -> Launch:
    """dw, summed over images and positions in ascending order."""
    work = 2 * v.n * v.p * v.q * v.r * v.s * min(v.c, CHANNELS) * v.m
    return weight_gradient.over(-(-v.c // CHANNELS), x, dy, dw, *astuple(v), work=work)


def forward_rows(
    begin: int, end: int, scratch: Any, x: Any, weights: Any, y: Any, n: int, h: int, w: int, c: int, m: int, r: int,
    s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin: an item is a row of outputs."""
    for item in range(begin, end):
        image, top = item // p, item % p * stride_h - pad_top
        for j in range(q):
            to, left = shift(y, (item * q + j) * c * m), j * stride_w - pad_left
            for k in range(c * m):
                to[k] = 0
            for a in range(r):
                row = top + a * dilation_h
                for b in range(s):
                    column = left + b * dilation_w
                    if 0 <= row < h and 0 <= column < w:
                        of, tap = shift(x, ((image * h + row) * w + column) * c), shift(weights, (a * s + b) * c * m)
                        if m == 1:
                            for k in range(c):
                                to[k] += of[k] * tap[k]
                        else:
                            for k in range(c):
                                for e in range(m):
                                    to[k * m + e] += of[k] * tap[k * m + e]


def input_gradient_rows(
    begin: int, end: int, scratch: Any, dy: Any, weights: Any, dx: Any, n: int, h: int, w: int, c: int, m: int,
    r: int, s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin of dx: an item is a row of inputs."""
    for item in range(begin, end):
        image, row = item // h, item % h
        for column in range(w):
            to = shift(dx, (item * w + column) * c)
            for k in range(c):
                to[k] = 0
            for a in range(r):
                down = row + pad_top - a * dilation_h
                for b in range(s):
                    right = column + pad_left - b * dilation_w
                    i, j = down // stride_h, right // stride_w
                    on_step = down == i * stride_h and right == j * stride_w
                    if on_step and 0 <= i < p and 0 <= j < q:
                        of = shift(dy, ((image * p + i) * q + j) * c * m)
                        tap = shift(weights, (a * s + b) * c * m)
                        if m == 1:
                            for k in range(c):
                                to[k] += of[k] * tap[k]
                        else:
                            for k in range(c):
                                for e in range(m):
                                    to[k] += of[k * m + e] * tap[k * m + e]


def weight_gradient_channels(
    begin: int, end: int, scratch: Any, x: Any, dy: Any, dw: Any, n: int, h: int, w: int, c: int, m: int, r: int,
    s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int,
) -> None:  # fmt: skip
    """The CPU twin of dw: an item is a slice of channels, for all taps at once: x and dy are read from memory once."""
    for item in range(begin, end):
        first, last = item * CHANNELS, min(c, item * CHANNELS + CHANNELS)
        for tap in range(r * s):
            for k in range((tap * c + first) * m, (tap * c + last) * m):
                dw[k] = 0
        for output in range(n * p * q):
            image, i, j = output // (p * q), output // q % p, output % q
            slope = shift(dy, output * c * m)
            for a in range(r):
                row = i * stride_h - pad_top + a * dilation_h
                for b in range(s):
                    column = j * stride_w - pad_left + b * dilation_w
                    if 0 <= row < h and 0 <= column < w:
                        of, to = shift(x, ((image * h + row) * w + column) * c), shift(dw, (a * s + b) * c * m)
                        if m == 1:
                            for k in range(first, last):
                                to[k] += of[k] * slope[k]
                        else:
                            for k in range(first, last):
                                for e in range(m):
                                    to[k * m + e] += of[k] * slope[k * m + e]


forward = pair(forward_rows, forward_grid, name="depthwise.forward")
input_gradient = pair(input_gradient_rows, input_gradient_grid, name="depthwise.input_gradient")
weight_gradient = pair(weight_gradient_channels, weight_gradient_grid, name="depthwise.weight_gradient")
