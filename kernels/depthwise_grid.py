"""The CUDA twins of depthwise convolution: a thread per number; for dw a tree over positions in shared memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.conv_grid import quotient
from kernels.launch import Grid, cuda
from kernels.moments_grid import LANES, LINES, add_lines, place
from kernels.pool import thread_each
from kernels.source import THREADS_PER_BLOCK

PARTS = 64
"""Parts at most into which the positions of the weight gradient fall, each summed by a block of its own."""


@final
@dataclass(frozen=True, slots=True)
class Depthwise:
    """The numbers of one depthwise convolution, in the order in which launches carry them."""

    n: int
    h: int
    w: int
    c: int
    m: int
    r: int
    s: int
    p: int
    q: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int

    @property
    def parts(self) -> int:
        """Into how many parts the sums over positions fall on CUDA."""
        return max(1, min(PARTS, self.n * self.p * self.q // (16 * LINES)))


def forward_grid(items: int, *numbers: int) -> Grid:
    """y: a thread per output. The kernel takes (x, w, y)."""
    v = Depthwise(*numbers)
    h, w, c, m, r, s, p, q = v.h, v.w, v.c, v.m, v.r, v.s, v.p, v.q
    stride_h, stride_w, dilation_h, dilation_w = v.stride_h, v.stride_w, v.dilation_h, v.dilation_w
    pad_top, pad_left, features = v.pad_top, v.pad_left, v.c * v.m

    def body(item: int, x: Any, weights: Any, y: Any) -> None:
        pixel = quotient(item, features)
        feature = item - pixel * features
        line, channel = quotient(pixel, q), quotient(feature, m)
        image = quotient(line, p)
        top, left = (line - image * p) * stride_h - pad_top, (pixel - line * q) * stride_w - pad_left
        total = np.float32(0)
        for a in range(r):
            row = top + a * dilation_h
            for b in range(s):
                column = left + b * dilation_w
                if row >= 0 and row < h and column >= 0 and column < w:
                    of = ((image * h + row) * w + column) * c + channel
                    total += x[of] * weights[(a * s + b) * features + feature]
        y[item] = total

    return thread_each(v.n * p * q * features, body, 3)


def input_gradient_grid(items: int, *numbers: int) -> Grid:
    """dx: a thread per input. The kernel takes (dy, w, dx)."""
    v = Depthwise(*numbers)
    h, w, c, m, r, s, p, q = v.h, v.w, v.c, v.m, v.r, v.s, v.p, v.q
    stride_h, stride_w, dilation_h, dilation_w = v.stride_h, v.stride_w, v.dilation_h, v.dilation_w
    pad_top, pad_left, features = v.pad_top, v.pad_left, v.c * v.m

    def body(item: int, dy: Any, weights: Any, dx: Any) -> None:
        cell = quotient(item, c)
        channel, line = item - cell * c, quotient(cell, w)
        image = quotient(line, h)
        below, beside = line - image * h + pad_top, cell - line * w + pad_left
        total = np.float32(0)
        for a in range(r):
            down = below - a * dilation_h
            i = quotient(down, stride_h)
            for b in range(s):
                right = beside - b * dilation_w
                j = quotient(right, stride_w)
                on_step = down >= 0 and right >= 0 and i * stride_h == down and j * stride_w == right
                if on_step and i < p and j < q:
                    of = ((image * p + i) * q + j) * features + channel * m
                    for e in range(m):
                        total += dy[of + e] * weights[(a * s + b) * features + channel * m + e]
        dx[item] = total

    return thread_each(v.n * h * w * c, body, 3)


def weight_gradient_grid(items: int, *numbers: int) -> Grid:
    """dw: block (x, y, z) sums part z of the positions for tap y and 32 features; then the parts are added in order."""
    v = Depthwise(*numbers)
    h, w, c, m, s, p, q = v.h, v.w, v.c, v.m, v.s, v.p, v.q
    stride_h, stride_w, dilation_h, dilation_w = v.stride_h, v.stride_w, v.dilation_h, v.dilation_w
    pad_top, pad_left, features, taps, parts = v.pad_top, v.pad_left, v.c * v.m, v.r * v.s, v.parts
    positions = v.n * p * q
    share = -(-positions // parts)

    def sum_part(x: Any, dy: Any, dw: Any, scratch: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        feature, lane, line = place()
        tap, part = np.int32(cuda.blockIdx.y), np.int32(cuda.blockIdx.z)
        a = quotient(tap, s)
        above, before = a * dilation_h - pad_top, (tap - a * s) * dilation_w - pad_left
        channel, total = quotient(feature, m), np.float32(0)
        if feature < features:
            end = part * share + share
            for position in range(part * share + line, end if end < positions else positions, LINES):
                out = quotient(position, q)
                image = quotient(out, p)
                row, column = (out - image * p) * stride_h + above, (position - out * q) * stride_w + before
                if row >= 0 and row < h and column >= 0 and column < w:
                    total += x[((image * h + row) * w + column) * c + channel] * dy[position * features + feature]
        shared[line, lane] = total
        total = add_lines(shared, line, lane)
        if line == 0 and feature < features:
            scratch[(part * taps + tap) * features + feature] = total

    def add_parts(x: Any, dy: Any, dw: Any, scratch: Any) -> None:
        item = np.int32(cuda.blockIdx.x * THREADS_PER_BLOCK + cuda.threadIdx.x)
        if item < taps * features:
            total = np.float32(0)
            for part in range(parts):
                total += scratch[part * taps * features + item]
            dw[item] = total

    then = Grid(add_parts, (-(-taps * features // THREADS_PER_BLOCK), 1, 1), THREADS_PER_BLOCK)
    blocks = (-(-features // LANES), taps, parts)
    return Grid(sum_part, blocks, LANES * LINES, scratch=parts * taps * features, then=then)
