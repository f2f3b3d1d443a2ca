"""The innermost loops, tile by tile, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.launch import Deferred, Grid, pair

multiply: Any = Deferred("kernels.microkernel", "multiply")
panel_width: Any = Deferred("kernels.microkernel", "panel_width")
transpose_block: Any = Deferred("kernels.microkernel", "transpose_block")
vector_width: Any = Deferred("kernels.microkernel", "vector_width")


def no_grid(*_numbers: float) -> Grid:
    """These words exist on the CPU alone."""
    raise AssertionError("a word of CPU kernels was asked for its CUDA twin")


def multiply_tile(
    begin: int, end: int, scratch: Any, a: Any, b: Any, base: Any, c: Any, rows: int, columns: int, depth: int,
    hops: int, base_row: int, has_base: int, c_row: int,
) -> None:  # fmt: skip
    multiply(rows, columns, depth, hops, a, depth * hops, 1, depth, b, panel_width(a), depth * panel_width(a),
             base, base_row, has_base, c, c_row)  # fmt: skip


def widths(begin: int, end: int, scratch: Any, model: Any, out: Any) -> None:
    out[0] = panel_width(model)
    out[1] = vector_width(model)


def transpose(begin: int, end: int, scratch: Any, target: Any, source: Any) -> None:
    transpose_block(target, vector_width(target) + 1, source, vector_width(target) + 2)


TILE, WIDTHS, TRANSPOSE = (pair(function, no_grid) for function in (multiply_tile, widths, transpose))
CPU = CpuBackend()


def run(kernel: pair, *args: Any) -> None:
    """Run one item of a kernel."""
    CPU.program([kernel.over(1, *args, work=1)]).run()


def width_of(dtype: str) -> tuple[int, int]:
    """Columns of a panel and of a vector."""
    out = CPU.zeros((2,), "int64")
    run(WIDTHS, CPU.zeros((1,), dtype), out)
    return int(out[0]), int(out[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [*range(1, 18), 31])
def test_a_tile_of_any_height_and_width_is_the_sum_over_both_loops_and_nothing_beside_it(rows: int, dtype: str) -> None:
    rng, (panel, _) = np.random.default_rng(rows), width_of(dtype)
    a, b = rng.normal(size=(rows, 2 * 5)).astype(dtype), rng.normal(size=(2 * 5, panel)).astype(dtype)
    for columns in range(1, panel + 1):
        c = np.full((rows, panel + 3), np.nan, dtype)
        run(TILE, a, b, c, c, rows, columns, 5, 2, 0, 0, panel + 3)
        assert np.allclose(c[:, :columns], a @ b[:, :columns], rtol=1e-5, atol=1e-5)
        assert np.isnan(c[:, columns:]).all()


@pytest.mark.parametrize("columns", [1, 3, 4])
def test_a_tile_starts_from_a_row_or_from_itself(columns: int) -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((3, width_of("float32")[0]), np.float32)
    bias, c = np.arange(4, dtype=np.float32), np.full((2, 4), 10, np.float32)
    run(TILE, a, b, bias, c, 2, columns, 3, 1, 0, 1, 4)
    assert c[:, :columns].tolist() == [[3.0, 4, 5, 6][:columns]] * 2
    run(TILE, a, b, c, c, 2, columns, 3, 1, 4, 1, 4)
    assert c[:, :columns].tolist() == [[6.0, 7, 8, 9][:columns]] * 2
    assert (c[:, columns:] == 10).all()


def test_a_tile_of_empty_sums_is_zero() -> None:
    a = b = np.full(64, np.nan, np.float32)
    c = np.full((3, 4), np.nan, np.float32)
    run(TILE, a, b, c, c, 3, 4, 0, 0, 0, 0, 4)
    assert (c == 0).all()


def test_nan_and_infinity_reach_the_result() -> None:
    a, b = np.array([[np.nan], [np.inf], [1]], np.float32), np.ones((1, width_of("float32")[0]), np.float32)
    c = np.zeros((3, 2), np.float32)
    run(TILE, a, b, c, c, 3, 2, 1, 1, 0, 0, 2)
    assert np.isnan(c[0]).all()
    assert np.isinf(c[1]).all()
    assert (c[2] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_block_is_transposed(dtype: str) -> None:
    _, lanes = width_of(dtype)
    source = np.arange(lanes * (lanes + 2), dtype=dtype).reshape(lanes, lanes + 2)
    target = np.full((lanes, lanes + 1), -1, dtype)
    run(TRANSPOSE, target, source)
    assert (target[:, :lanes] == source[:, :lanes].T).all()
    assert (target[:, lanes] == -1).all()
