"""The CPU's program counter: one compiled function that runs a table of kernel calls, step after step.

A program is a table of int64 rows (kernel address, argument row address, items, parts). Kernels are called by
address, so nothing is compiled per network and no Python stands between two steps. Each launch is cut into
`parts` equal ranges of items; since an item's value never depends on the cut, neither do the bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
import numpy.typing as npt
from numba import njit, prange, types

from kernels.compiler import OPTIONS, call_kernel

# workqueue comes with Numba itself; it needs no OpenMP library and survives a fork of an idle parent.
numba.config.THREADING_LAYER = "workqueue"

Table = npt.NDArray[np.int64]
Run = Callable[[Table, int, int, int], None]
_SIGNATURE = types.void(types.int64[:, ::1], types.int64, types.int64, types.int64)


@njit(_SIGNATURE, cache=True, **OPTIONS)
def run_serial(table: Table, steps: int, scratch: int, _stride: int) -> None:
    """Run the whole table `steps` times on the calling thread. `scratch` is an address, `_stride` unused."""
    for _ in range(steps):
        for row in range(table.shape[0]):
            call_kernel(table[row, 0], table[row, 1], 0, table[row, 2], scratch)


def _run_parallel(table: Table, steps: int, scratch: int, stride: int) -> None:
    """Run the whole table `steps` times, each launch in its own number of parts, `stride` scratch bytes apart."""
    for _ in range(steps):
        for row in range(table.shape[0]):
            items, parts = table[row, 2], table[row, 3]
            if parts == 1:
                call_kernel(table[row, 0], table[row, 1], 0, items, scratch)
            else:
                # Many items are cut between whole vectors: every item then goes through the same instructions,
                # for a vector loop and the scalar loop behind it may round differently.
                unit = 64 if items >= 256 * parts else 1
                for part in prange(parts):
                    begin = items // unit * part // parts * unit
                    end = items if part == parts - 1 else items // unit * (part + 1) // parts * unit
                    call_kernel(table[row, 0], table[row, 1], begin, end, scratch + part * stride)


@cache
def run_parallel() -> Run:
    """The runner of parallel programs. Made on first use: making it starts Numba's threads, and a process that has
    threads should not fork trainers."""
    made: Run = njit(_SIGNATURE, cache=True, parallel=True, **OPTIONS)(_run_parallel)
    return made


def use_threads(count: int) -> None:
    """How many threads parallel programs of this process use."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
