"""The CUDA twins of 2-D convolution: three products over index maps, so no patch is ever copied.

Layouts: x (n, h, w, c), weights (r, s, c, k), y (n, p, q, k). Output (p, q) reads input row
p·stride + r·dilation − pad, likewise for columns. Method: implicit GEMM (Chetlur et al., "cuDNN", 2014).
The kernels take their arrays in the order named below; arrays that follow are the CPU twin's and not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.gemm_grid import matrix
from kernels.launch import Grid, device
from kernels.tiled import Cut, Factor, product


@device
def quotient(a: int, b: int) -> Any:
    """a // b for 0 ≤ a < 2³¹: unsigned 32-bit division by a constant is one multiplication, signed 64-bit is ten."""
    return np.int32(np.uint32(a) // np.uint32(b))


@final
@dataclass(frozen=True, slots=True)
class Convolution:
    """The numbers of one convolution, in the order in which launches carry them."""

    n: int
    h: int
    w: int
    c: int
    k: int
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
    has_bias: int

    def patches(self, along: Any) -> Factor:
        """x as a matrix: an output position (n, p, q) by a tap (r, s, c); tap by position where along is `outer`."""
        h, w, c, s, p, q = self.h, self.w, self.c, self.s, self.p, self.q
        stride_h, stride_w, dilation_h, dilation_w = self.stride_h, self.stride_w, self.dilation_h, self.dilation_w
        pad_top, pad_left, positions, taps = self.pad_top, self.pad_left, self.n * p * q, self.r * s * c
        taps_are_outer = along == "outer"

        def locate(outer: int, inner: int) -> Any:
            position = inner if taps_are_outer else outer
            tap = outer if taps_are_outer else inner
            row, cell = quotient(position, q), quotient(tap, c)
            image, line = quotient(row, p), quotient(cell, s)
            i = (row - image * p) * stride_h + line * dilation_h - pad_top
            j = (position - row * q) * stride_w + (cell - line * s) * dilation_w - pad_left
            inside = position < positions and tap < taps and i >= 0 and i < h and j >= 0 and j < w
            return np.int32(((image * h + i) * w + j) * c + tap - cell * c) if inside else np.int32(-1)

        return Factor(device(locate), along, wide=c % 4 == 0)

    def spread(self) -> Factor:
        """dy as a matrix: an input position (n, h, w) by (r, s, k); zero where no output of that tap read it."""
        h, w, k, s, p, q = self.h, self.w, self.k, self.s, self.p, self.q
        stride_h, stride_w, dilation_h, dilation_w = self.stride_h, self.stride_w, self.dilation_h, self.dilation_w
        pad_top, pad_left, positions, taps = self.pad_top, self.pad_left, self.n * h * w, self.r * s * k

        def locate(position: int, tap: int) -> Any:
            row, cell = quotient(position, w), quotient(tap, k)
            image, line = quotient(row, h), quotient(cell, s)
            down = row - image * h + pad_top - line * dilation_h
            right = position - row * w + pad_left - (cell - line * s) * dilation_w
            i, j = quotient(down, stride_h), quotient(right, stride_w)
            on_step = down >= 0 and right >= 0 and i * stride_h == down and j * stride_w == right
            inside = position < positions and tap < taps and on_step and i < p and j < q
            return np.int32(((image * p + i) * q + j) * k + tap - cell * k) if inside else np.int32(-1)

        return Factor(device(locate), "inner", wide=k % 4 == 0)

    def turned(self) -> Factor:
        """The weights as a matrix for the input gradient: an input channel by (r, s, k)."""
        c, k, taps = self.c, self.k, self.r * self.s * self.k

        def locate(channel: int, tap: int) -> Any:
            cell = quotient(tap, k)
            inside = channel < c and tap < taps
            return np.int32((cell * c + channel) * k + tap - cell * k) if inside else np.int32(-1)

        return Factor(device(locate), "inner", wide=k % 4 == 0)


def conv_forward_grid(items: int, *numbers: int, cut: Cut | None = None) -> Grid:
    """y = x ∗ w + b: positions × features, summed over taps. The kernel takes (x, w, b, y)."""
    v = Convolution(*numbers)
    taps = v.r * v.s * v.c
    return product(v.n * v.p * v.q, v.k, taps, v.patches("inner"), matrix(v.k, taps, "outer"), bool(v.has_bias), cut)


def conv_input_gradient_grid(items: int, *numbers: int, cut: Cut | None = None) -> Grid:
    """dx: input positions × channels, summed over (r, s, k). The kernel takes (dy, w, dx)."""
    v = Convolution(*numbers)
    return product(v.n * v.h * v.w, v.c, v.r * v.s * v.k, v.spread(), v.turned(), None, cut)


def conv_weight_gradient_grid(items: int, *numbers: int, cut: Cut | None = None) -> Grid:
    """dw: taps × features, summed over positions in ascending order. The kernel takes (x, dy, dw)."""
    v = Convolution(*numbers)
    positions = v.n * v.p * v.q
    return product(v.r * v.s * v.c, v.k, positions, v.patches("outer"), matrix(v.k, positions, "outer"), None, cut)
