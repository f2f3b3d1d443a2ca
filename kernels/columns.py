"""Moving neighbouring columns between matrices, and adding a row to each row: what layers do around a product."""

from __future__ import annotations

from typing import Any

from kernels.launch import Launch, each


@each
def take(i: int, j: int, source: Any, target: Any, width: int, total: int, offset: int) -> None:
    """target (rows, width) = columns offset… of source (rows, total)."""
    target[i * width + j] = source[i * total + offset + j]


@each
def put(i: int, j: int, source: Any, target: Any, width: int, total: int, offset: int) -> None:
    """Columns offset… of target (rows, total) = source (rows, width)."""
    target[i * total + offset + j] = source[i * width + j]


@each
def add(i: int, j: int, bias: Any, y: Any, columns: int) -> None:
    """y[i, j] += bias[j]."""
    y[i * columns + j] += bias[j]


@each
def copy(i: int, source: Any, target: Any) -> None:
    """target = source."""
    target[i] = source[i]


def take_columns(source: Any, target: Any, rows: int, width: int, total: int, offset: int) -> Launch:
    """Copy `width` columns of a matrix of `total` columns, from column `offset` on, to a matrix of their own."""
    return take.over((rows, width), source, target, width, total, offset)


def put_columns(source: Any, target: Any, rows: int, width: int, total: int, offset: int) -> Launch:
    """Copy a matrix of `width` columns into a matrix of `total` columns, from column `offset` on."""
    return put.over((rows, width), source, target, width, total, offset)


def add_bias(bias: Any, y: Any) -> Launch:
    """y[…, k] += bias[k]."""
    columns = int(y.shape[-1])
    return add.over((y.size // columns, columns), bias, y, columns)
