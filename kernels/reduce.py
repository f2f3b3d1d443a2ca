"""Deterministic sums: every result is added up in one fixed order, whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.launch import Grid, Launch, cuda, pair

COLUMNS = 64
"""Columns of one item on the CPU: a few vectors of sums that stay in registers or the first-level cache."""

LANES, LINES = 32, 8
"""On CUDA a block sums 32 neighbouring columns by 8 lines of threads, each over every eighth row."""


def column_sums(x: Any, out: Any, rows: int, columns: int) -> Launch:
    """out[j] = sum over i of x[i, j] for x (rows, columns): the gradient of a bias."""
    items = -(-columns // COLUMNS)
    return sums.over(items, x, out, rows, columns, work=rows * min(columns, COLUMNS))


def sum_columns(begin: int, end: int, scratch: Any, x: Any, out: Any, rows: int, columns: int) -> None:
    """The CPU twin: row after row is added to a slice of columns."""
    first, last = begin * COLUMNS, min(columns, end * COLUMNS)
    for j in range(first, last):
        out[j] = 0
    for i in range(rows):
        for j in range(first, last):
            out[j] += x[i * columns + j]


def sum_columns_grid(items: int, rows: int, columns: int) -> Grid:
    """The CUDA twin: each line of threads sums its rows, then the lines are added as a tree in shared memory."""
    rows_, columns_ = np.int32(rows), np.int32(columns)

    def kernel(x: Any, out: Any) -> None:
        partial = cuda.shared.array((LINES, LANES), np.float32)
        lane, line = np.int32(cuda.threadIdx.x) % np.int32(LANES), np.int32(cuda.threadIdx.x) // np.int32(LANES)
        column = np.int32(cuda.blockIdx.x) * np.int32(LANES) + lane
        total = np.float32(0)
        if column < columns_:
            i = line
            while i < rows_:
                total += x[i * columns_ + column]
                i += np.int32(LINES)
        partial[line, lane] = total
        cuda.syncthreads()
        half = np.int32(LINES // 2)
        while half > np.int32(0):
            if line < half:
                partial[line, lane] += partial[line + half, lane]
            cuda.syncthreads()
            half >>= np.int32(1)
        if line == np.int32(0) and column < columns_:
            out[column] = partial[np.int32(0), lane]

    return Grid(kernel, (-(-columns // LANES), 1, 1), LANES * LINES)


sums = pair(sum_columns, sum_columns_grid, name="reduce.column_sums")
