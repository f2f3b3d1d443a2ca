"""The CUDA twin of the matrix product: C = op(A)·op(B) + bias in strict float32."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from kernels.launch import Grid, device
from kernels.tiled import Cut, Factor, product


def matmul_grid(
    items: int,
    m: int,
    n: int,
    k: int,
    transpose_a: int,
    transpose_b: int,
    has_bias: int,
    cut: Cut | None = None,
) -> Grid:
    """C (m, n) = op(A) (m, k) · op(B) (k, n) + bias (n); a transposed factor lies as (k, m) or (n, k).

    `items` is the CPU twin's share and means nothing here. The kernel takes (a, b, bias, c).
    """
    a = matrix(m, k, along="outer" if transpose_a else "inner")
    b = matrix(n, k, along="inner" if transpose_b else "outer")
    return product(m, n, k, a, b, bool(has_bias), cut)


def matrix(outer: int, inner: int, along: Literal["outer", "inner"]) -> Factor:
    """A contiguous matrix whose rows lie `along` the inner or the outer index."""
    outer_stride, inner_stride = (inner, 1) if along == "inner" else (1, outer)

    def locate(i: int, k: int) -> Any:
        return np.int32(i * outer_stride + k * inner_stride) if i < outer and k < inner else np.int32(-1)

    return Factor(device(locate), along, wide=(inner if along == "inner" else outer) % 4 == 0)
