"""The matrix product on the CPU: hand-computed numbers, every transpose, every block boundary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.gemm import DEPTH, HEIGHT, WIDTH, matmul
from tests.kernels.harness import Array

SIZES = [
    (1, 1, 1), (2, 3, 4), (1, 40, 9), (1, 33, 300), (7, 1, 5), (11, 45, 20), (12, 45, 20), (HEIGHT + 5, 17, 31),
    (25, WIDTH + 40, 19), (30, 30, DEPTH + 3), (100, 64, 2 * DEPTH),
]  # fmt: skip


def product(
    a: Array, b: Array, bias: Array | None = None, turn_a: bool = False, turn_b: bool = False, threads: int = 1
) -> Array:
    """a @ b + bias, the operands stored transposed where asked."""
    (m, k), n, cpu = a.shape, b.shape[1], CpuBackend(threads)
    c = cpu.array(np.full((m, n), np.nan, a.dtype))
    left, right = (cpu.array(np.ascontiguousarray(x.T if turn else x)) for x, turn in ((a, turn_a), (b, turn_b)))
    given = None if bias is None else cpu.array(bias)
    cpu.program([matmul(left, right, c, m, n, k, transpose_a=turn_a, transpose_b=turn_b, bias=given)]).run()
    return cpu.get(c)


def test_two_by_two_by_hand() -> None:
    a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([[5, 6], [7, 8]], np.float32)
    assert product(a, b).tolist() == [[19, 22], [43, 50]]
    assert product(a, b, np.array([100, 200], np.float32)).tolist() == [[119, 222], [143, 250]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_transpose_and_bias_gives_the_product(size: tuple[int, int, int], dtype: str) -> None:
    (m, n, k), rng = size, np.random.default_rng(0)
    a, b, bias = (rng.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n), (n,)))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    tolerance = {"float32": 3e-7, "float64": 1e-15}[dtype] * np.sqrt(k) * 10
    for turn_a, turn_b, added in itertools.product((False, True), (False, True), (None, bias)):
        expected = exact if added is None else exact + added
        error = np.abs(product(a, b, added, turn_a, turn_b) - expected).max()
        assert error <= tolerance * max(1, np.abs(expected).max()), (turn_a, turn_b, added is not None)


@pytest.mark.parametrize("size", [(1, 300, 70), (300, 70, 33), (70, 300, 600)], ids=str)
@pytest.mark.parametrize("turn", [(False, False), (False, True), (True, False)], ids=str)
def test_the_number_of_threads_changes_no_bit(
    size: tuple[int, int, int], turn: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    (m, n, k), rng = size, np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n)))
    assert product(a, b, None, *turn, threads=1).tobytes() == product(a, b, None, *turn, threads=2).tobytes()


def test_neighbouring_numbers_that_are_not_numbers_do_no_harm() -> None:
    # Columns beyond the matrix are read as part of the next row, or as packed zeros; neither may count.
    a, b = np.ones((13, 2), np.float32), np.ones((2, 5), np.float32)
    b[1, 4] = np.nan
    c = product(a, b)
    assert (c[:, :4] == 2).all()
    assert np.isnan(c[:, 4]).all()
