"""The CUDA twins of kernels.moments: a block of threads sums 32 neighbouring columns by 8 lines of threads.

Every line sums each eighth row; the lines are then added as a tree in shared memory, so the order is fixed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.launch import Grid, cuda, device

LANES, LINES = 32, 8


@device
def add_lines(partial: Any, line: int, lane: int) -> Any:
    """The sum over the lines of one lane; every thread of the block must come here."""
    cuda.syncthreads()
    half = np.int32(LINES // 2)
    while half > np.int32(0):
        if line < half:
            partial[line, lane] += partial[line + half, lane]
        cuda.syncthreads()
        half >>= np.int32(1)
    total = partial[np.int32(0), lane]
    cuda.syncthreads()
    return total


@device
def place() -> Any:
    """Column, lane and line of the running thread."""
    thread = np.int32(cuda.threadIdx.x)
    lane, line = np.int32(thread % np.int32(LANES)), np.int32(thread // np.int32(LANES))
    return np.int32(cuda.blockIdx.x * LANES + lane), lane, line


def block_moments_grid(items: int, columns: int, spatial: int, high: int) -> Grid:
    """(x, clock, partial) → for every block and column the sum, and the sum of squares about the block's mean."""

    def kernel(x: Any, clock: Any, partial: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        column, lane, line = place()
        block = np.int32(cuda.blockIdx.y)
        first = np.int32(block * high)
        end = np.int32(clock[2] * spatial)
        last = np.int32(first + high if first + high < end else end)
        total = np.float32(0)
        if column < columns:
            for i in range(first + line, last, LINES):
                total += x[i * columns + column]
        shared[line, lane] = total
        total = add_lines(shared, line, lane)
        mean = total / np.float32(last - first if last > first else 1)
        squares = np.float32(0)
        if column < columns:
            for i in range(first + line, last, LINES):
                d = x[i * columns + column] - mean
                squares += d * d
        shared[line, lane] = squares
        squares = add_lines(shared, line, lane)
        if line == 0 and column < columns:
            partial[block * 2 * columns + column] = total
            partial[block * 2 * columns + columns + column] = squares

    return Grid(kernel, (-(-columns // LANES), items, 1), LANES * LINES)


def merge_moments_grid(
    items: int, columns: int, spatial: int, high: int, blocks: int, epsilon: float, momentum: float
) -> Grid:
    """(partial, clock, mean, inverse, moving mean, moving variance): the blocks merged, column by column."""
    epsilon_, rest = np.float32(epsilon), np.float32(1 - momentum)

    def kernel(partial: Any, clock: Any, mean: Any, inverse: Any, moving_mean: Any, moving_variance: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        column, lane, line = place()
        valid = np.int32(clock[2] * spatial)
        total = np.float32(0)
        if column < columns:
            for block in range(line, blocks, LINES):
                total += partial[block * 2 * columns + column]
        shared[line, lane] = total
        middle = add_lines(shared, line, lane) / np.float32(valid)
        squares = np.float32(0)
        if column < columns:
            for block in range(line, blocks, LINES):
                left = np.int32(valid - block * high)
                rows = np.int32(high if left > high else left)
                if rows > 0:
                    count = np.float32(rows)
                    d = partial[block * 2 * columns + column] / count - middle
                    squares += partial[block * 2 * columns + columns + column] + count * d * d
        shared[line, lane] = squares
        variance = add_lines(shared, line, lane) / np.float32(valid)
        if line == 0 and column < columns:
            mean[column] = middle
            inverse[column] = np.float32(1) / math.sqrt(variance + epsilon_)
            moving_mean[column] += (middle - moving_mean[column]) * rest
            moving_variance[column] += (variance - moving_variance[column]) * rest

    return Grid(kernel, (-(-columns // LANES), 1, 1), LANES * LINES)


def block_sums_grid(items: int, columns: int, spatial: int, high: int, by_row: int) -> Grid:
    """(x, dy, clock, mean, inverse, partial) → for every block and column Σ dy and Σ dy · (x − mean) · inverse."""

    def kernel(x: Any, dy: Any, clock: Any, mean: Any, inverse: Any, partial: Any) -> None:
        shared = cuda.shared.array((LINES, LANES), np.float32)
        column, lane, line = place()
        block = np.int32(cuda.blockIdx.y)
        first = np.int32(block * high)
        end = np.int32(clock[2] * spatial)
        last = np.int32(first + high if first + high < end else end)
        total = product = np.float32(0)
        if column < columns:
            for i in range(first + line, last, LINES):
                at = np.int32(i) if by_row else column
                slope = dy[i * columns + column]
                total += slope
                product += slope * ((x[i * columns + column] - mean[at]) * inverse[at])
        shared[line, lane] = total
        total = add_lines(shared, line, lane)
        shared[line, lane] = product
        product = add_lines(shared, line, lane)
        if line == 0 and column < columns:
            partial[block * 2 * columns + column] = total
            partial[block * 2 * columns + columns + column] = product

    return Grid(kernel, (-(-columns // LANES), items, 1), LANES * LINES)
