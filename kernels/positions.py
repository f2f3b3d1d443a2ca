"""The mean of a cost over the positions of each row: for losses of sequences and images of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.launch import Grid, cuda, device, pair

ZERO = np.float32(0)

THREADS = 128


def mean_over_positions(cost: device, name: str) -> pair:
    """A kernel over rows: loss[i] = Σ_p cost(x, t, i·positions + p, c) / positions, 0 from row clock[2] on.

    `over(n, x, t, loss, clock, positions, c)`. The positions of a row are added in their order on either backend; a
    GPU computes them all at once first, since a batch has far fewer rows than a GPU has threads.
    """

    def by_row(
        begin: int, end: int, scratch: Any, x: Any, t: Any, loss: Any, clock: Any, positions: int, c: int
    ) -> None:
        for i in range(begin, end):
            total = ZERO
            if i < clock[2]:
                for p in range(i * positions, (i + 1) * positions):
                    total += cost(x, t, p, c)
            loss[i] = total / np.float32(positions)

    def grid(n: int, positions: int, c: int) -> Grid:
        rows, length, classes = np.int32(n), np.int32(positions), np.int32(c)
        everything = np.int32(n * positions)

        def at_once(x: Any, t: Any, loss: Any, clock: Any, costs: Any) -> None:
            p = np.int32(cuda.blockIdx.x) * np.int32(THREADS) + np.int32(cuda.threadIdx.x)
            if p < everything:
                costs[p] = cost(x, t, p, classes) if p < clock[2] * length else ZERO

        def add(x: Any, t: Any, loss: Any, clock: Any, costs: Any) -> None:
            i = np.int32(cuda.blockIdx.x) * np.int32(THREADS) + np.int32(cuda.threadIdx.x)
            if i < rows:
                total = ZERO
                for p in range(length):
                    total += costs[i * length + np.int32(p)]
                loss[i] = total / np.float32(length)

        then = Grid(add, (-(-n // THREADS), 1, 1), THREADS, scratch=n * positions)
        return Grid(at_once, (-(-n * positions // THREADS), 1, 1), THREADS, scratch=n * positions, then=then)

    return pair(by_row, grid, name=name)
