"""Means and variances over the rows of a matrix, column by column, and the two sums that their gradients need.

Rows are cut into blocks of a fixed height; every block is summed on its own, twice over while it is in the cache
(the second time about the block's own mean), and the blocks are merged in ascending order (Chan, Golub & LeVeque
1979). So no digit is lost to a large mean, and the bits do not depend on the number of threads. Only rows that count
are summed: those of the batch's valid rows, `spatial` rows of the matrix to each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.launch import Deferred, Launch, each, pair
from kernels.moments_grid import block_moments_grid, block_sums_grid, merge_moments_grid

number_like: Any = Deferred("kernels.microkernel", "number_like")
shift: Any = Deferred("kernels.microkernel", "shift")

ONE = np.float32(1)

BLOCK = 8192
"""Elements of a block: they stay in the first- or second-level cache between the two sums."""

MOST = 256
"""Blocks at most: enough for every processor of a GPU, few enough to merge in one go."""


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """A matrix (rows, columns) in blocks of `high` rows; `spatial` rows belong to one row of the batch."""

    rows: int
    columns: int
    spatial: int

    @property
    def high(self) -> int:
        """Rows of a block."""
        return max(8, BLOCK // self.columns, -(-self.rows // MOST))

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.rows // self.high)

    @property
    def scratch(self) -> tuple[int, int]:
        """Shape of the array that keeps two sums for every block and column."""
        return self.blocks, 2 * self.columns


def cut(shape: tuple[int, ...]) -> Cut:
    """Everything but the last axis is rows."""
    columns, spatial = shape[-1], math.prod(shape[1:-1])
    return Cut(shape[0] * spatial, columns, spatial)


def block_moments(x: Any, clock: Any, partial: Any, v: Cut) -> Launch:
    """For every block and column: the sum, and the sum of squares about the block's mean."""
    work = 4 * v.high * v.columns
    return block_moments_.over(v.blocks, x, clock, partial, v.columns, v.spatial, v.high, work=work)


def merge_moments(
    partial: Any, clock: Any, mean: Any, inverse: Any, moving_mean: Any, moving_variance: Any, v: Cut, epsilon: float,
    momentum: float,
) -> Launch:  # fmt: skip
    """Mean and 1/√(variance + epsilon) of every column; the moving averages move 1 − momentum of the way there."""
    numbers = v.columns, v.spatial, v.high, v.blocks, float(epsilon), float(momentum)
    return merge_moments_.over(
        v.columns, partial, clock, mean, inverse, moving_mean, moving_variance, *numbers, work=8 * v.blocks
    )


def block_sums(x: Any, dy: Any, clock: Any, mean: Any, inverse: Any, partial: Any, v: Cut, by_row: bool) -> Launch:
    """For every block and column: the sum of dy, and of dy · (x − mean) · inverse; moments by row or by column."""
    numbers = v.columns, v.spatial, v.high, int(by_row)
    return block_sums_.over(v.blocks, x, dy, clock, mean, inverse, partial, *numbers, work=6 * v.high * v.columns)


@each
def share_out(k: int, totals: Any, dbeta: Any, dgamma: Any, columns: int, centred: int, scaled: int) -> None:
    """The gradients of offset and scale, where there are any, are the two sums themselves."""
    if centred:
        dbeta[k] = totals[k]
    if scaled:
        dgamma[k] = totals[columns + k]


def moments_of_blocks(
    begin: int, end: int, scratch: Any, x: Any, clock: Any, partial: Any, columns: int, spatial: int, high: int
) -> None:
    """The CPU twin: an item is a block; columns are the inner loop."""
    valid = clock[2] * spatial
    for block in range(begin, end):
        first, last = block * high, min(block * high + high, valid)
        sums = shift(partial, block * 2 * columns)
        squares = shift(sums, columns)
        for k in range(columns):
            sums[k] = 0
            squares[k] = 0
        for i in range(first, last):
            row = shift(x, i * columns)
            for k in range(columns):
                sums[k] += row[k]
        share = number_like(1, x) / number_like(max(1, last - first), x)
        for i in range(first, last):
            row = shift(x, i * columns)
            for k in range(columns):
                d = row[k] - sums[k] * share
                squares[k] += d * d


def merge_columns(
    begin: int, end: int, scratch: Any, partial: Any, clock: Any, mean: Any, inverse: Any, moving_mean: Any,
    moving_variance: Any, columns: int, spatial: int, high: int, blocks: int, epsilon: Any, momentum: Any,
) -> None:  # fmt: skip
    """The CPU twin: block after block is merged into a slice of columns; `inverse` holds the squares meanwhile."""
    valid = clock[2] * spatial
    one = number_like(1, mean)
    for k in range(begin, end):
        mean[k] = 0
        inverse[k] = 0
    for block in range(blocks):
        sums = shift(partial, block * 2 * columns)
        for k in range(begin, end):
            mean[k] += sums[k]
    share = one / number_like(valid, mean)
    for k in range(begin, end):
        mean[k] *= share
    for block in range(min(blocks, (valid + high - 1) // high)):
        sums = shift(partial, block * 2 * columns)
        squares = shift(sums, columns)
        count = number_like(min(high, valid - block * high), mean)
        for k in range(begin, end):
            d = sums[k] / count - mean[k]
            inverse[k] += squares[k] + count * d * d
    for k in range(begin, end):
        variance = inverse[k] * share
        inverse[k] = one / math.sqrt(variance + epsilon)
        moving_mean[k] += (mean[k] - moving_mean[k]) * (one - momentum)
        moving_variance[k] += (variance - moving_variance[k]) * (one - momentum)


def sums_of_blocks(
    begin: int, end: int, scratch: Any, x: Any, dy: Any, clock: Any, mean: Any, inverse: Any, partial: Any,
    columns: int, spatial: int, high: int, by_row: int,
) -> None:  # fmt: skip
    """The CPU twin: an item is a block; columns are the inner loop."""
    valid = clock[2] * spatial
    for block in range(begin, end):
        sums = shift(partial, block * 2 * columns)
        products = shift(sums, columns)
        for k in range(columns):
            sums[k] = 0
            products[k] = 0
        for i in range(block * high, min(block * high + high, valid)):
            row, slope = shift(x, i * columns), shift(dy, i * columns)
            if by_row:
                middle, scale = mean[i], inverse[i]
                for k in range(columns):
                    sums[k] += slope[k]
                    products[k] += slope[k] * ((row[k] - middle) * scale)
            else:
                for k in range(columns):
                    sums[k] += slope[k]
                    products[k] += slope[k] * ((row[k] - mean[k]) * inverse[k])


block_moments_ = pair(moments_of_blocks, block_moments_grid, name="moments.block_moments")
merge_moments_ = pair(merge_columns, merge_moments_grid, name="moments.merge_moments")
block_sums_ = pair(sums_of_blocks, block_sums_grid, name="moments.block_sums")
