"""The CUDA twins of recurrence: one block takes one row of the batch through all steps.

The state stays in shared memory. Forward, a thread owns columns of the recurrent weights; backward, a warp owns
rows of them and adds up its lanes' shares in a fixed order. Arrays and numbers as in kernels.recurrent_sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kernels.launch import Body, Grid, cuda, device

WARP, MOST = 32, 512
"""Threads of a warp, and of the largest block."""

EVERYONE = 0xFFFFFFFF
ZERO = np.float32(0)


@final
@dataclass(frozen=True, slots=True)
class GridCell:
    """One unit of a cell at one step, as one CUDA thread computes it.

    `step(sums, at, hidden, j, units, kept, kept_at, kept_before, before)` reads its sums in `hidden` (and, where
    those of the input lie apart, in `sums` from `at` on), writes gates and kept, and returns the new state.
    `back(e, j, units, carry, sums, at, before, kept, kept_at, kept_before, dsums, dhidden, d)` writes the gradients
    of the sums (`d`: those that go through the recurrent weights), and returns what remains of the state's.
    """

    step: device
    back: device


def threads_for(columns: int) -> int:
    """A thread for every column, in whole warps, up to a limit."""
    return min(MOST, -(-columns // WARP) * WARP)


def forward_grid(gates: int, split: bool, cell: GridCell) -> Callable[..., Grid]:
    """The maker of forward grids of one cell."""

    def grid(
        items: int, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int, has_bias: int,
        has_first: int,
    ) -> Grid:  # fmt: skip
        kernel = _forward(
            cell.step, gates * units, split, steps, units, reverse, y_row, y_first, y_step, has_bias, has_first
        )
        return Grid(kernel, (items, 1, 1), threads_for(gates * units))

    return grid


def backward_grid(gates: int, split: bool, cell: GridCell) -> Callable[..., Grid]:
    """The maker of backward grids of one cell."""

    def grid(items: int, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int) -> Grid:
        kernel = _backward(cell.back, gates * units, steps, units, reverse, y_row, y_first, y_step)
        return Grid(kernel, (items, 1, 1), threads_for(gates * units))

    return grid


def _forward(
    step: device, many: int, split: bool, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int,
    has_bias: int, has_first: int,
) -> Body:  # fmt: skip
    threads, biased, begun = threads_for(many), split and bool(has_bias), bool(has_first)

    def kernel(
        sums: Any, u: Any, bias: Any, before: Any, kept: Any, first: Any, first_kept: Any, y: Any
    ) -> None:  # fmt: skip
        state = cuda.shared.array(units, np.float32)
        hidden = cuda.shared.array(many, np.float32)
        thread, row = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.x)
        for j in range(thread, units, threads):
            state[j] = ZERO
            if begun:
                state[j] = first[np.int32(row * units + j)]
        for s in range(steps):
            t = np.int32(steps - 1 - s if reverse else s)
            at = np.int32(row * steps + t)
            cuda.syncthreads()
            for j in range(thread, many, threads):
                total = ZERO
                if biased:
                    total = bias[np.int32(j)]
                if not split:
                    total = sums[np.int32(at * many + j)]
                for k in range(units):
                    total += state[k] * u[np.int32(k * many + j)]
                hidden[j] = total
            cuda.syncthreads()
            for j in range(thread, units, threads):
                earlier = ZERO
                if begun:
                    earlier = first_kept[np.int32(row * units + j)]
                if s > 0:
                    earlier = kept[np.int32((at + (1 if reverse else -1)) * units + j)]
                before[np.int32(at * units + j)] = state[j]
                made = step(sums, np.int32(at * many), hidden, j, units, kept, np.int32(at * units + j), earlier,
                            state[j])  # fmt: skip
                state[j] = made
                y[np.int32(row * y_row + y_first + s * y_step + j)] = made

    return kernel


def _backward(
    back: device, many: int, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int
) -> Body:
    threads = threads_for(many)
    warps = threads // WARP

    def kernel(dy: Any, sums: Any, u: Any, before: Any, kept: Any, dsums: Any, dhidden: Any) -> None:
        dstate = cuda.shared.array(units, np.float32)
        carry = cuda.shared.array(units, np.float32)
        d = cuda.shared.array(many, np.float32)
        thread, row = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.x)
        lane, warp = np.int32(thread % WARP), np.int32(thread // WARP)
        for j in range(thread, units, threads):
            dstate[j] = ZERO
            carry[j] = ZERO
        for back_s in range(steps):
            s = np.int32(steps - 1 - back_s)
            t = np.int32(steps - 1 - s if reverse else s)
            at = np.int32(row * steps + t)
            cuda.syncthreads()
            for j in range(thread, units, threads):
                e, earlier = dstate[j], ZERO
                if y_step != 0 or back_s == 0:
                    e += dy[np.int32(row * y_row + y_first + s * y_step + j)]
                if s > 0:
                    earlier = kept[np.int32((at + (1 if reverse else -1)) * units + j)]
                dstate[j] = back(e, j, units, carry, sums, np.int32(at * many), before[np.int32(at * units + j)],
                                 kept, np.int32(at * units + j), earlier, dsums, dhidden, d)  # fmt: skip
            cuda.syncthreads()
            for j in range(warp, units, warps):
                total = ZERO
                for k in range(lane, many, WARP):
                    total += d[k] * u[np.int32(j * many + k)]
                total += cuda.shfl_down_sync(EVERYONE, total, 16)
                total += cuda.shfl_down_sync(EVERYONE, total, 8)
                total += cuda.shfl_down_sync(EVERYONE, total, 4)
                total += cuda.shfl_down_sync(EVERYONE, total, 2)
                total += cuda.shfl_down_sync(EVERYONE, total, 1)
                if lane == 0:
                    dstate[j] += total

    return kernel
