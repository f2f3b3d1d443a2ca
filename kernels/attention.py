"""Scaled dot-product attention and its gradient: one item is one head of one sequence.

qkv (n, t, 3 · heads · size) holds queries, keys and values side by side; p (n, heads, t, t) the shares of attention;
o (n, t, heads · size) what the heads found. All products are the micro-kernel's on the CPU; the CUDA twins are in
kernels.attention_grid. The matrix p is kept whole: memory grows with t², as in the plain formula.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.attention_grid import attend_back_grid, attend_grid
from kernels.gemm import multiply, number_like, pack_columns, pack_rows, panel_width, pointer_like, shift
from kernels.launch import Launch, device, pair

ONE = np.float32(1)
SLACK = 64
"""Columns that a packed matrix may be wider than it counts: two panels of the widest processor."""


def attend(qkv: Any, p: Any, o: Any, n: int, steps: int, heads: int, size: int, causal: bool) -> Launch:
    """p = softmax(q·kᵀ / √size), o = p·v; causal: position i sees positions up to i."""
    scratch, work = max(size * (steps + SLACK), steps * (size + SLACK)), 4 * steps * steps * size
    return forward.over(n * heads, qkv, p, o, steps, heads, size, int(causal), work=work, scratch=scratch)


def attend_back(
    qkv: Any, p: Any, do: Any, ds: Any, dqkv: Any, n: int, steps: int, heads: int, size: int, causal: bool
) -> Launch:
    """dqkv from do; ds (n, heads, t, t) is scratch."""
    scratch, work = max(size * (steps + SLACK), steps * (size + SLACK)), 8 * steps * steps * size
    return backward.over(n * heads, qkv, p, do, ds, dqkv, steps, heads, size, int(causal), work=work, scratch=scratch)


@device
def times_panels(
    rows: int, columns: int, depth: int, a: Any, a_row: int, a_step: int, panels: Any, c: Any, c_row: int
) -> None:
    """c = a · b for a matrix b that lies packed in panels."""
    width = panel_width(a)
    for left in range(0, columns, width):
        multiply(rows, min(width, columns - left), depth, 1, a, a_row, a_step, 0, shift(panels, left * depth), width,
                 0, c, 0, 0, shift(c, left), c_row)  # fmt: skip


def attend_heads(
    begin: int, end: int, scratch: Any, qkv: Any, p: Any, o: Any, steps: int, heads: int, size: int, causal: int
) -> None:
    """The CPU twin of attention."""
    width, panels = heads * size, pointer_like(scratch, qkv)
    factor = ONE / math.sqrt(number_like(size, qkv))
    for item in range(begin, end):
        query = shift(qkv, item // heads * steps * 3 * width + item % heads * size)
        shares = shift(p, item * steps * steps)
        pack_columns(panels, shift(query, width), 3 * width, size, steps)
        times_panels(steps, steps, size, query, 3 * width, 1, panels, shares, steps)
        for i in range(steps):
            softmax(shift(shares, i * steps), i + 1 if causal else steps, steps, factor)
        pack_rows(panels, shift(query, 2 * width), 3 * width, steps, size)
        found = shift(o, item // heads * steps * width + item % heads * size)
        times_panels(steps, size, steps, shares, steps, 1, panels, found, width)


@device
def softmax(row: Any, shown: int, steps: int, factor: Any) -> None:
    """Scores to shares that sum to 1, in place; positions from `shown` on get none."""
    top = row[0]
    for j in range(1, shown):
        top = row[j] if row[j] > top else top
    for j in range(shown):
        row[j] = math.exp((row[j] - top) * factor)
    total = row[0]
    for j in range(1, shown):
        total += row[j]
    scale = ONE / total
    for j in range(shown):
        row[j] *= scale
    for j in range(shown, steps):
        row[j] = 0


def attend_heads_back(
    begin: int, end: int, scratch: Any, qkv: Any, p: Any, do: Any, ds: Any, dqkv: Any, steps: int, heads: int,
    size: int, causal: int,
) -> None:  # fmt: skip
    """The CPU twin of the gradient: ds = p · (do·vᵀ − Σ p·(do·vᵀ)) / √size, dq = ds·k, dk = dsᵀ·q, dv = pᵀ·do."""
    width, panels = heads * size, pointer_like(scratch, qkv)
    factor = ONE / math.sqrt(number_like(size, qkv))
    for item in range(begin, end):
        start = item // heads * steps * 3 * width + item % heads * size
        query, dquery = shift(qkv, start), shift(dqkv, start)
        found = shift(do, item // heads * steps * width + item % heads * size)
        shares, slopes = shift(p, item * steps * steps), shift(ds, item * steps * steps)
        pack_columns(panels, shift(query, 2 * width), 3 * width, size, steps)
        times_panels(steps, steps, size, found, width, 1, panels, slopes, steps)
        for i in range(steps):
            softmax_back(shift(shares, i * steps), shift(slopes, i * steps), steps, factor)
        pack_rows(panels, shift(query, width), 3 * width, steps, size)
        times_panels(steps, size, steps, slopes, steps, 1, panels, dquery, 3 * width)
        pack_rows(panels, query, 3 * width, steps, size)
        times_panels(steps, size, steps, slopes, 1, steps, panels, shift(dquery, width), 3 * width)
        pack_rows(panels, found, width, steps, size)
        times_panels(steps, size, steps, shares, 1, steps, panels, shift(dquery, 2 * width), 3 * width)


@device
def softmax_back(p: Any, slopes: Any, steps: int, factor: Any) -> None:
    """The gradient of a row of shares to that of its scores, in place."""
    mean = p[0] * slopes[0]
    for j in range(1, steps):
        mean += p[j] * slopes[j]
    for j in range(steps):
        slopes[j] = p[j] * (slopes[j] - mean) * factor


forward = pair(attend_heads, attend_grid, name="attention.forward")
backward = pair(attend_heads_back, attend_back_grid, name="attention.backward")
