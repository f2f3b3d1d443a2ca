"""Matrix product: packed panels and a register-blocked micro-kernel on the CPU, kernels.gemm_grid on CUDA."""

from __future__ import annotations

from typing import Any

from kernels.gemm_grid import matmul_grid
from kernels.launch import Deferred, Launch, device, pair

copy_panel: Any = Deferred("kernels.microkernel", "copy_panel")
multiply: Any = Deferred("kernels.microkernel", "multiply")
number_like: Any = Deferred("kernels.microkernel", "number_like")
panel_width: Any = Deferred("kernels.microkernel", "panel_width")
pointer_like: Any = Deferred("kernels.microkernel", "pointer_like")
shift: Any = Deferred("kernels.microkernel", "shift")
strip_width: Any = Deferred("kernels.microkernel", "strip_width")
transpose_block: Any = Deferred("kernels.microkernel", "transpose_block")
vector_width: Any = Deferred("kernels.microkernel", "vector_width")

DEPTH, WIDTH, HEIGHT = 256, 256, 96
"""Blocks of k, n and m: a packed DEPTH x WIDTH block of b stays in the second-level cache."""

FEW = 11
"""Rows of a up to which packing b would cost more than it saves."""

ROW_UNIT, COLUMN_UNIT = 24, 32
"""Items of the product: whole tiles for every processor (24 = 3 x 8 = 4 x 6; a panel has 4 to 32 columns)."""


def matmul(
    a: Any, b: Any, c: Any, m: int, n: int, k: int, *,
    transpose_a: bool = False, transpose_b: bool = False, bias: Any = None,
) -> Launch:  # fmt: skip
    """c (m, n) = op(a) (m, k) @ op(b) (k, n) + bias (n) over the rows; a transposed operand lies as (k, m) or (n, k).

    The launch carries arrays (a, b, bias, c) and numbers (m, n, k, transpose_a, transpose_b, has_bias); without a
    bias, c stands in its place.
    """
    units = -(-m // ROW_UNIT) if by_rows(m, n) else -(-n // COLUMN_UNIT)
    flags = int(transpose_a), int(transpose_b), int(bias is not None)
    width = min(-(-n // COLUMN_UNIT) * COLUMN_UNIT, WIDTH)
    scratch = min(k, DEPTH) * (width + HEIGHT)
    return product.over(
        units, a, b, c if bias is None else bias, c, m, n, k, *flags, work=-(-2 * m * n * k // units), scratch=scratch
    )


@device
def by_rows(m: int, n: int) -> bool:
    """Whether the product is cut into bands of rows, or else of columns: whichever gives more pieces."""
    return (m + 23) // 24 >= (n + 31) // 32


@device
def pack_rows(target: Any, source: Any, row: int, rows: int, columns: int) -> None:
    """Panels of a (rows, columns) block whose rows lie `row` apart: target[panel][row][column], zeros to the right."""
    width = panel_width(target)
    for left in range(0, columns, width):
        to, of = shift(target, left * rows), shift(source, left)
        for i in range(rows):
            if left + width <= columns:
                copy_panel(shift(to, i * width), shift(of, i * row))
            else:
                for j in range(columns - left):
                    to[i * width + j] = of[i * row + j]
                for j in range(columns - left, width):
                    to[i * width + j] = 0


@device
def pack_columns(target: Any, source: Any, column: int, rows: int, columns: int) -> None:
    """The same panels of a block that lies transposed: its columns are contiguous and lie `column` apart."""
    width, lanes = panel_width(target), vector_width(target)
    for left in range(0, columns, lanes):
        to, of = shift(target, left // width * width * rows + left % width), shift(source, left * column)
        whole = rows // lanes * lanes if left + lanes <= columns else 0
        for i in range(0, whole, lanes):
            transpose_block(shift(to, i * width), width, shift(of, i), column)
        for i in range(whole, rows):
            for j in range(min(lanes, columns - left)):
                to[i * width + j] = of[j * column + i]
            for j in range(columns - left, lanes):
                to[i * width + j] = 0


@device
def pack_transposed(target: Any, source: Any, row: int, rows: int, columns: int) -> None:
    """A (rows, columns) block with rows `row` apart, copied to rows HEIGHT apart: short strides spare cache and TLB."""
    for i in range(rows):
        to, of = shift(target, i * HEIGHT), shift(source, i * row)
        for j in range(columns):
            to[j] = of[j]


def multiply_blocks(
    begin: int, end: int, scratch: Any, a: Any, b: Any, bias: Any, c: Any, m: int, n: int, k: int, transpose_a: int,
    transpose_b: int, has_bias: int,
) -> None:  # fmt: skip
    """The CPU twin: bands of rows or columns, cut into blocks that fit the caches.

    The sum over k runs in order for every element, whatever the cut.
    """
    top, bottom, left, right = 0, m, begin * COLUMN_UNIT, min(n, end * COLUMN_UNIT)
    if by_rows(m, n):
        top, bottom, left, right = begin * ROW_UNIT, min(m, end * ROW_UNIT), 0, n
    if m == 1 and transpose_b:
        dot_rows(a, b, bias, c, left, right, k, has_bias)
        return
    if m == 1:
        left = multiply_strips(a, b, bias, c, left, right, n, k, has_bias)
    panels, packed = pointer_like(scratch, a), m > FEW or transpose_b
    band = shift(panels, min(k, DEPTH) * min((n + COLUMN_UNIT - 1) // COLUMN_UNIT * COLUMN_UNIT, WIDTH))
    for j in range(left, right, WIDTH):
        columns = min(WIDTH, right - j)
        bare = 0 if packed else columns // panel_width(a) * panel_width(a)
        for s in range(0, k, DEPTH):
            depth = min(DEPTH, k - s)
            if transpose_b:
                pack_columns(panels, shift(b, j * k + s), k, depth, columns)
            else:
                pack_rows(shift(panels, bare * depth), shift(b, s * n + j + bare), n, depth, columns - bare)
            for i in range(top, bottom, HEIGHT):
                rows, block, block_row, step = min(HEIGHT, bottom - i), shift(a, i * k + s), k, 1
                if transpose_a:
                    pack_transposed(band, shift(a, s * m + i), m, depth, rows)
                    block, block_row, step = band, 1, HEIGHT
                base, base_row, has_base = (shift(bias, j), 0, has_bias) if s == 0 else (shift(c, i * n + j), n, 1)
                multiply_panels(rows, columns, bare, depth, block, block_row, step, panels, shift(b, s * n + j), n,
                                base, base_row, has_base, shift(c, i * n + j))  # fmt: skip


@device
def multiply_panels(
    rows: int, columns: int, bare: int, depth: int, a: Any, a_row: int, a_step: int, panels: Any, b: Any, n: int,
    base: Any, base_row: int, has_base: int, c: Any,
) -> None:  # fmt: skip
    """c = base + a @ b for one block, panel after panel; the first `bare` columns of b are read where they lie."""
    width = panel_width(a)
    for left in range(0, columns, width):
        panel, row = (shift(b, left), n) if left < bare else (shift(panels, left * depth), width)
        multiply(rows, min(width, columns - left), depth, 1, a, a_row, a_step, 0, panel, row, 0,
                 shift(base, left), base_row, has_base, shift(c, left), n)  # fmt: skip


@device
def multiply_strips(a: Any, b: Any, bias: Any, c: Any, left: int, right: int, n: int, k: int, has_bias: int) -> int:
    """One row times b, read where it lies, in strips; returns the first column that is left over."""
    width = strip_width(a)
    while left + width <= right:
        multiply(1, width, k, 1, a, 1, 1, 0, shift(b, left), n, 0, shift(bias, left), 0, has_bias, shift(c, left), n)
        left += width
    return left


@device
def dot_rows(a: Any, b: Any, bias: Any, c: Any, left: int, right: int, k: int, has_bias: int) -> None:
    """One row times a transposed matrix: each output is a dot product of two contiguous vectors."""
    for j in range(left, right):
        row, total = shift(b, j * k), number_like(0, a)
        for s in range(k):
            total += a[s] * row[s]
        c[j] = total + bias[j] if has_bias else total


product = pair(multiply_blocks, matmul_grid, name="gemm.matmul")
