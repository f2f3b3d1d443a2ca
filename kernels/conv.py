"""2-D convolution and its gradients on the CPU: direct sums by the micro-kernel, no patch matrix.

Layouts: x (n, h, w, c), weights (r, s, c, k), y (n, p, q, k). Output (p, q) reads input row p·stride + r·dilation −
pad, likewise for columns. A row of outputs is a tile's rows; neighbouring taps and channels are one contiguous run.
Where the window hangs over the edge, a band of the image is copied between zeros first, into the thread's scratch.
The CUDA twins are in kernels.conv_grid; both take arrays, then the numbers of `Convolution` in order.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from kernels.conv_grid import Convolution, conv_forward_grid, conv_input_gradient_grid, conv_weight_gradient_grid
from kernels.gemm import multiply, pack_columns, pack_rows, panel_width, pointer_like, shift
from kernels.launch import Launch, device, pair

BAND = 1 << 16
"""Elements of a padded band of an image: with the weights it stays in the second-level cache."""

BLOCK = 1 << 13
"""Elements of x and dy that the weight gradient works on at a time: they stay in the first-level cache."""

CHANNELS = 24
"""Channels of one piece of the weight gradient: whole tiles for every processor (24 = 3 x 8 = 4 x 6)."""


def conv_forward(x: Any, w: Any, b: Any, y: Any, v: Convolution) -> Launch:
    """y = x ∗ w + b; `b` is any array where there is no bias."""
    high = band_height(v.p, ((v.q - 1) * v.stride_w + v.s * v.dilation_w) * v.c, v.stride_h, v.r * v.dilation_h)
    bands = -(-v.p // high)
    taps, width = v.r * v.s * v.c, (v.q - 1) * v.stride_w + v.s * v.dilation_w
    scratch = taps * (v.k + 32) + (high * v.stride_h + v.r * v.dilation_h) * width * v.c
    return forward.over(v.n * bands, x, w, b, y, *astuple(v), work=2 * high * v.q * v.k * taps, scratch=scratch)


def conv_input_gradient(dy: Any, w: Any, dx: Any, v: Convolution) -> Launch:
    """dx from dy: every input cell sums, over the taps that read it, dy times the weight."""
    width = (v.pad_left + v.w - 1) // v.stride_w + 1 + (v.s - 1) * v.dilation_w // v.stride_w
    reach = (v.r - 1) * v.dilation_h // v.stride_h
    rows = (v.pad_top + v.h - 1) // v.stride_h + 1
    high = band_height(rows, width * v.k, 1, reach)
    work = 2 * high * v.stride_h * v.w * v.c * v.r * v.s * v.k // (v.stride_h * v.stride_w)
    scratch = v.r * v.s * v.k * (v.c + 32) + (high + reach) * width * v.k
    return input_gradient.over(v.n * -(-rows // high), dy, w, dx, *astuple(v), work=work, scratch=scratch)


def conv_weight_gradient(x: Any, dy: Any, dw: Any, v: Convolution) -> Launch:
    """dw from x and dy, summed over images and positions in ascending order."""
    pieces = -(-v.c // CHANNELS)
    items = v.r if rows_merge(v.c, v.s, v.dilation_w) else v.r * v.s * pieces
    padded = v.h * ((v.q - 1) * v.stride_w + v.s) * v.c if rows_merge(v.c, v.s, v.dilation_w) else 0
    scratch = padded + block_height(v.w * v.c * v.stride_h, v.q, v.k) * v.q * 32
    work = -(-2 * v.n * v.p * v.q * v.k * v.r * v.s * v.c // items)
    return weight_gradient.over(items, x, dy, dw, *astuple(v), work=work, scratch=scratch)


@device
def band_height(rows: int, row: int, stride: int, reach: int) -> int:
    """Output rows of a band whose input rows, `row` elements each, come to about BAND elements."""
    return min(rows, max(1, (BAND // row - reach) // stride))


@device
def block_height(row: int, q: int, k: int) -> int:
    """Output rows of a block of the weight gradient: about BLOCK elements, but sums long enough to be worth a tile."""
    return max(1, BLOCK // (row + q * k), 64 // q)


@device
def rows_merge(c: int, s: int, dilation_w: int) -> bool:
    """Whether the taps of a kernel row share a tile of the weight gradient, because the channels alone are too few."""
    return c < 8 and c * s <= CHANNELS and dilation_w == 1


@device
def passes(r: int, row: int) -> int:
    """In how many passes a band goes through a panel: tap row by tap row where it overflows the first-level cache."""
    return r if r * row > BLOCK else 1


@device
def copy_between_zeros(
    target: Any, source: Any, h: int, w: int, c: int, top: int, rows: int, left: int, columns: int
) -> None:
    """Rows top.. and columns left.. of an image (h, w, c) to target (rows, columns, c); zeros outside the image."""
    before, after = min(columns, max(0, -left)) * c, max(0, min(columns, w - left)) * c
    for i in range(rows):
        to, row = shift(target, i * columns * c), top + i
        of = shift(source, (row * w + left) * c)
        begin, end = (before, max(before, after)) if 0 <= row < h else (0, 0)
        for j in range(begin):
            to[j] = 0
        for j in range(begin, end):
            to[j] = of[j]
        for j in range(end, columns * c):
            to[j] = 0


@device
def sum_taps(
    rows: int, columns: int, r: int, s: int, c: int, a: Any, a_row: int, tap_row: int, tap: int, panel: Any,
    base: Any, base_row: int, has_base: int, y: Any, y_row: int,
) -> None:  # fmt: skip
    """One row of outputs: y = base + sum over r x s taps, `tap_row` and `tap` apart, and c contiguous channels."""
    width = panel_width(a)
    if tap == c or r * s == 0:
        multiply(rows, columns, s * c, r, a, a_row, 1, tap_row, panel, width, s * c * width,
                 base, base_row, has_base, y, y_row)  # fmt: skip
    else:
        for i in range(r):
            from_, from_row, has = (base, base_row, has_base) if i == 0 else (y, y_row, 1)
            multiply(rows, columns, c, s, shift(a, i * tap_row), a_row, 1, tap, shift(panel, i * s * c * width), width,
                     c * width, from_, from_row, has, y, y_row)  # fmt: skip


def forward_bands(
    begin: int, end: int, scratch: Any, x: Any, weights: Any, bias: Any, y: Any, n: int, h: int, w: int, c: int, k: int,
    r: int, s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int, has_bias: int,
) -> None:  # fmt: skip
    """The CPU twin of y = x ∗ w + b: an item is a band of output rows of one image."""
    wide, reach = (q - 1) * stride_w + (s - 1) * dilation_w + 1, (r - 1) * dilation_h + 1
    inside = pad_top == 0 and pad_left == 0 and wide <= w and (p - 1) * stride_h + reach <= h
    high = band_height(p, ((q - 1) * stride_w + s * dilation_w) * c, stride_h, r * dilation_h)
    bands, width, taps = (p + high - 1) // high, panel_width(x), r * s * c
    panels = pointer_like(scratch, x)
    band = shift(panels, taps * ((k + width - 1) // width * width))
    pack_rows(panels, weights, k, taps, k)
    for item in range(begin, end):
        image, top = item // bands, item % bands * high
        rows, source, pitch = min(high, p - top), shift(x, image * h * w * c), w * c
        if inside:
            source = shift(source, top * stride_h * pitch)
        else:
            copy_between_zeros(band, source, h, w, c, top * stride_h - pad_top, (rows - 1) * stride_h + reach,
                               -pad_left, wide)  # fmt: skip
            source, pitch = band, wide * c
        for left in range(0, k, width):
            columns, to = min(width, k - left), shift(y, (image * p + top) * q * k + left)
            steps = passes(r, s * c * width)
            for step in range(steps):
                a, panel = shift(source, step * dilation_h * pitch), shift(panels, left * taps + step * s * c * width)
                for i in range(rows):
                    out = shift(to, i * q * k)
                    base, base_row, has = (shift(bias, left), 0, has_bias) if step == 0 else (out, k, 1)
                    sum_taps(q, columns, r // steps, s, c, shift(a, i * stride_h * pitch), stride_w * c,
                             dilation_h * pitch, dilation_w * c, panel, base, base_row, has, out, k)  # fmt: skip


@device
def first_tap(phase: int, stride: int, dilation: int, taps: int) -> int:
    """The first tap that reads input cells ≡ phase (mod stride), or `taps` where none does."""
    tap = 0
    while tap < taps and tap * dilation % stride != phase:
        tap += 1
    return tap


@device
def common(a: int, b: int) -> int:
    """The greatest common divisor."""
    while b != 0:
        a, b = b, a % b
    return a


@device
def pack_turned(
    target: Any, weights: Any, left: int, c: int, k: int, r: int, s: int, stride_h: int, stride_w: int,
    dilation_h: int, dilation_w: int,
) -> None:  # fmt: skip
    """One panel of input channels for the input gradient: taps by phase, each phase's in descending order."""
    width, at = panel_width(target), 0
    step_h, step_w = stride_h // common(stride_h, dilation_h), stride_w // common(stride_w, dilation_w)
    for phase_h in range(stride_h):
        first_h = first_tap(phase_h, stride_h, dilation_h, r)
        for phase_w in range(stride_w):
            first_w = first_tap(phase_w, stride_w, dilation_w, s)
            for i in range((r - 1 - first_h) // step_h, -1, -1):
                for j in range((s - 1 - first_w) // step_w, -1, -1):
                    tap = (first_h + i * step_h) * s + first_w + j * step_w
                    pack_columns(shift(target, at), shift(weights, (tap * c + left) * k), k, k, min(width, c - left))
                    at += k * width


def input_gradient_bands(
    begin: int, end: int, scratch: Any, dy: Any, weights: Any, dx: Any, n: int, h: int, w: int, c: int, k: int, r: int,
    s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int, has_bias: int,
) -> None:  # fmt: skip
    """The CPU twin of dx: input cells of one phase (position modulo the stride) are a convolution of dy by stride 1.

    An item is a band of `high` rows of every phase of one image.
    """
    reach_h, reach_w = (r - 1) * dilation_h // stride_h, (s - 1) * dilation_w // stride_w
    all_rows, columns = (pad_top + h - 1) // stride_h + 1, (pad_left + w - 1) // stride_w + 1
    wide, width = columns + reach_w, panel_width(dy)
    high = band_height(all_rows, wide * k, 1, reach_h)
    bands, panels = (all_rows + high - 1) // high, pointer_like(scratch, dy)
    band = shift(panels, r * s * k * ((c + width - 1) // width * width))
    for left in range(0, c, width):
        pack_turned(shift(panels, left * r * s * k), weights, left, c, k, r, s, stride_h, stride_w,
                    dilation_h, dilation_w)  # fmt: skip
    for item in range(begin, end):
        image, top = item // bands, item % bands * high
        rows = min(high, all_rows - top)
        copy_between_zeros(band, shift(dy, image * p * q * k), p, q, k, top - reach_h, rows + reach_h, -reach_w, wide)
        for left in range(0, c, width):
            input_gradient_panel(
                shift(band, (reach_h * wide + reach_w) * k), shift(panels, left * r * s * k),
                shift(dx, image * h * w * c + left), top, rows, wide, min(width, c - left), h, w, c, k, r, s,
                stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left,
            )  # fmt: skip


@device
def input_gradient_panel(
    dy: Any, panel: Any, dx: Any, top: int, rows: int, wide: int, columns: int, h: int, w: int, c: int, k: int, r: int,
    s: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """One band and panel of dx. `dy` points at row `top`, column 0 of the padded band, `wide` cells to a row."""
    common_h, common_w = common(stride_h, dilation_h), common(stride_w, dilation_w)
    step_h, hop_h = stride_h // common_h, dilation_h // common_h
    step_w, hop_w = stride_w // common_w, dilation_w // common_w
    for phase_h in range(stride_h):
        first_h = first_tap(phase_h, stride_h, dilation_h, r)
        taps_h = (r - 1 - first_h) // step_h + 1
        for phase_w in range(stride_w):
            first_w = first_tap(phase_w, stride_w, dilation_w, s)
            taps_w = (s - 1 - first_w) // step_w + 1
            # Cell u of this phase is input position u·stride + phase − pad.
            begin = max(0, (pad_left - phase_w + stride_w - 1) // stride_w)
            end = (w - 1 + pad_left - phase_w) // stride_w + 1
            back_h = (first_h * dilation_h - phase_h) // stride_h + (taps_h - 1) * hop_h
            back_w = (first_w * dilation_w - phase_w) // stride_w + (taps_w - 1) * hop_w
            length = taps_w * k * panel_width(dy)
            steps = passes(taps_h, length)
            for step in range(steps):
                for u in range(rows):
                    row = (top + u) * stride_h + phase_h - pad_top
                    if 0 <= row < h:
                        a = shift(dy, ((u - back_h + step * hop_h) * wide + begin - back_w) * k)
                        to = shift(dx, (row * w + begin * stride_w + phase_w - pad_left) * c)
                        sum_taps(end - begin, columns, taps_h // steps, taps_w, k, a, k, hop_h * wide * k, hop_w * k,
                                 shift(panel, step * length), to, stride_w * c, step, to, stride_w * c)  # fmt: skip
            panel = shift(panel, taps_h * length)


def weight_gradient_pieces(
    begin: int, end: int, scratch: Any, x: Any, dy: Any, dw: Any, n: int, h: int, w: int, c: int, k: int, r: int,
    s: int, p: int, q: int, stride_h: int, stride_w: int, dilation_h: int, dilation_w: int, pad_top: int,
    pad_left: int, has_bias: int,
) -> None:  # fmt: skip
    """The CPU twin of dw: an item is a piece of dw's rows, which no other item touches.

    A piece is some channels of one tap; or all taps of a kernel row, over an image with zeros at its sides, where
    the channels alone are too few for a tile.
    """
    merged, width = rows_merge(c, s, dilation_w), panel_width(x)
    row, taps, left_pad, channels = w, s, pad_left, c
    panels = pointer_like(scratch, x)
    padded = panels
    if merged:
        row, taps, left_pad, channels = (q - 1) * stride_w + s, 1, 0, s * c
        panels = shift(panels, h * row * c)
    pieces = (channels + CHANNELS - 1) // CHANNELS
    high = block_height(w * c * stride_h, q, k)
    clear_pieces(begin, end, dw, taps * pieces, pieces, channels, k)
    for image in range(n):
        source = shift(x, image * h * w * c)
        if merged:
            copy_between_zeros(padded, source, h, w, c, 0, h, -pad_left, row)
            source = padded
        for top in range(0, p, high):
            rows = min(high, p - top)
            for left in range(0, k, width):
                columns = min(width, k - left)
                b, b_row = shift(dy, (image * p + top) * q * k + left), k
                if columns < width:
                    pack_rows(panels, b, k, rows * q, columns)
                    b, b_row = panels, width
                for item in range(begin, end):
                    tap, channel = item // pieces, item % pieces * CHANNELS
                    weight_gradient_block(
                        source, b, b_row, shift(dw, (tap * channels + channel) * k + left),
                        min(CHANNELS, channels - channel), columns, tap // taps, tap % taps, channel, top, rows,
                        h, row, c, k, q, stride_h, stride_w, dilation_h, dilation_w, pad_top, left_pad,
                    )  # fmt: skip


@device
def clear_pieces(begin: int, end: int, dw: Any, taps: int, pieces: int, channels: int, k: int) -> None:
    """Set the items' rows of dw to zero."""
    for item in range(begin, end):
        tap, channel = item // pieces, item % pieces * CHANNELS
        for j in range((tap * channels + channel) * k, (tap * channels + min(channels, channel + CHANNELS)) * k):
            dw[j] = 0


@device
def weight_gradient_block(
    x: Any, dy: Any, dy_row: int, dw: Any, channels: int, columns: int, r: int, s: int, channel: int, top: int,
    rows: int, h: int, w: int, c: int, k: int, q: int, stride_h: int, stride_w: int, dilation_h: int,
    dilation_w: int, pad_top: int, pad_left: int,
) -> None:  # fmt: skip
    """dw += x dyᵀ for one piece, over those outputs of rows top.. whose tap (r, s) lies inside the image."""
    above, before = r * dilation_h - pad_top, s * dilation_w - pad_left
    first, last = max(top, (-above + stride_h - 1) // stride_h), min(top + rows, (h - 1 - above) // stride_h + 1)
    begin, end = max(0, (-before + stride_w - 1) // stride_w), min(q, (w - 1 - before) // stride_w + 1)
    if first < last and begin < end:
        a = shift(x, ((first * stride_h + above) * w + begin * stride_w + before) * c + channel)
        b = shift(dy, ((first - top) * q + begin) * dy_row)
        multiply(channels, columns, end - begin, last - first, a, 1, stride_w * c, stride_h * w * c, b, dy_row,
                 q * dy_row, dw, k, 1, dw, k)  # fmt: skip


forward = pair(forward_bands, conv_forward_grid, name="conv.forward")
input_gradient = pair(input_gradient_bands, conv_input_gradient_grid, name="conv.input_gradient")
weight_gradient = pair(weight_gradient_pieces, conv_weight_gradient_grid, name="conv.weight_gradient")
