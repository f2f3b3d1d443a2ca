"""The tiled CUDA kernel, simulated: every tile and every cut of the sum, at the edges, against float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from kernels.conv_grid import (
    Convolution,
    conv_forward_grid,
    conv_input_gradient_grid,
    conv_weight_gradient_grid,
)
from kernels.gemm_grid import matmul_grid
from kernels.launch import Grid, pair
from kernels.simulator import SimulatedBackend
from kernels.source import cuda_sources
from kernels.tiled import LARGE, NARROW, SMALL, Cut, cut_for

CUTS = {"large": Cut(LARGE), "small": Cut(SMALL), "narrow": Cut(NARROW), "small, 3 parts": Cut(SMALL, 3)}
each_cut = pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())


def unused(begin: int, end: int, scratch: Any, *_: Any) -> None:
    """A grid on trial has no CPU twin."""


def run(grid: Grid, *arrays: Any) -> np.ndarray[Any, Any]:
    """The last array after the grid ran over all of them; it starts as NaN."""
    backend = SimulatedBackend()
    bound = [backend.array(np.asarray(array, np.float32)) for array in arrays]
    bound[-1][...] = np.nan
    backend.program([pair(unused, lambda _: grid).over(1, *bound, work=1)]).run()
    return backend.get(bound[-1])


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def stored(matrix: np.ndarray[Any, Any], transposed: int) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(matrix.T if transposed else matrix)


@each_cut
@pytest.mark.parametrize(("m", "n", "k"), [(5, 7, 3), (8, 12, 16), (33, 20, 41)], ids=str)
@pytest.mark.parametrize(("a_lies", "b_lies"), [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
def test_a_product_of_any_tile_and_cut_is_the_product(
    m: int, n: int, k: int, a_lies: int, b_lies: int, cut: Cut
) -> None:
    a, b, bias = normal(m, k), normal(k, n), normal(n)
    grid = matmul_grid(1, m, n, k, a_lies, b_lies, 1, cut)
    c = run(grid, stored(a, a_lies), stored(b, b_lies), bias, np.zeros((m, n)))
    np.testing.assert_allclose(c, a.astype(np.float64) @ b + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_without_a_bias_the_bias_is_not_read(parts: int) -> None:
    a, b = normal(9, 33), normal(33, 6)
    c = run(matmul_grid(1, 9, 6, 33, 0, 0, 0, Cut(NARROW, parts)), a, b, np.full(6, np.nan), np.zeros((9, 6)))
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)


CONVOLUTIONS = {
    "one channel": Convolution(2, 7, 7, 1, 1, 3, 3, 5, 5, 1, 1, 1, 1, 0, 0, 1),
    "strides, dilation and padding that differ": Convolution(2, 6, 5, 3, 4, 3, 2, 3, 4, 2, 1, 1, 2, 1, 0, 1),
    "wide channels": Convolution(2, 5, 4, 4, 20, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1),
    "pointwise": Convolution(2, 4, 4, 8, 8, 1, 1, 4, 4, 1, 1, 1, 1, 0, 0, 1),
}
each_convolution = pytest.mark.parametrize("v", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
each_short_cut = pytest.mark.parametrize("cut", [Cut(SMALL), Cut(NARROW), Cut(NARROW, 3)], ids=str)


def numbers(v: Convolution) -> tuple[int, ...]:
    return tuple(getattr(v, name) for name in v.__slots__)


def contributions(v: Convolution) -> list[tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]]:
    """(place in x, in w, in y) of every product in the definition of the convolution, padding left out."""
    found = []
    for p, q, r, s in np.ndindex(v.p, v.q, v.r, v.s):
        i, j = p * v.stride_h + r * v.dilation_h - v.pad_top, q * v.stride_w + s * v.dilation_w - v.pad_left
        if 0 <= i < v.h and 0 <= j < v.w:
            found.append(((slice(None), i, j), (r, s), (slice(None), p, q)))
    return found


@each_short_cut
@each_convolution
def test_a_convolution_is_its_definition(v: Convolution, cut: Cut) -> None:
    x, w, b = normal(v.n, v.h, v.w, v.c), normal(v.r, v.s, v.c, v.k), normal(v.k)
    expected = np.zeros((v.n, v.p, v.q, v.k)) + b
    for of_x, of_w, of_y in contributions(v):
        expected[of_y] += x[of_x].astype(np.float64) @ w[of_w]
    y = run(conv_forward_grid(1, *numbers(v), cut=cut), x, w, b, np.zeros(expected.shape))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@each_short_cut
@each_convolution
def test_its_input_gradient_sends_every_output_back(v: Convolution, cut: Cut) -> None:
    dy, w = normal(v.n, v.p, v.q, v.k), normal(v.r, v.s, v.c, v.k)
    expected = np.zeros((v.n, v.h, v.w, v.c))
    for of_x, of_w, of_y in contributions(v):
        expected[of_x] += dy[of_y].astype(np.float64) @ w[of_w].T
    dx = run(conv_input_gradient_grid(1, *numbers(v), cut=cut), dy, w, np.zeros(expected.shape))
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)


@each_short_cut
@each_convolution
def test_its_weight_gradient_sums_over_every_position(v: Convolution, cut: Cut) -> None:
    x, dy = normal(v.n, v.h, v.w, v.c), normal(v.n, v.p, v.q, v.k)
    expected = np.zeros((v.r, v.s, v.c, v.k))
    for of_x, of_w, of_y in contributions(v):
        expected[of_w] += x[of_x].T.astype(np.float64) @ dy[of_y]
    dw = run(conv_weight_gradient_grid(1, *numbers(v), cut=cut), x, dy, np.zeros(expected.shape))
    np.testing.assert_allclose(dw, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("rows", "columns", "inner", "expected"),
    [
        (4096, 4096, 4096, Cut(LARGE, 1)),
        (128, 512, 784, Cut(SMALL, 3)),
        (128, 10, 256, Cut(NARROW, 2)),
        (25, 6, 100352, Cut(NARROW, 256)),
        (4, 10, 7, Cut(NARROW, 1)),
    ],
    ids=["square", "first layer", "last layer", "gradient of a filter", "tiny"],
)
def test_a_cut_fills_the_device_but_keeps_parts_long(rows: int, columns: int, inner: int, expected: Cut) -> None:
    assert cut_for(rows, columns, inner) == expected


def test_a_second_kernel_runs_only_where_the_sum_is_cut() -> None:
    arrays = [np.zeros(1, np.float32)] * 4
    for parts in (1, 4):
        trial = pair(unused, partial(matmul_grid, cut=Cut(NARROW, parts)))
        launch = trial.over(1, *arrays, 9, 6, 200, 0, 0, 0, work=1)
        assert len(cuda_sources(launch, lambda word: word)) == (1 if parts == 1 else 2)
