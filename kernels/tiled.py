"""The one CUDA kernel behind matrix products and convolutions: C = A·B (+ bias), tile by tile.

A factor is an index map, not an array: `locate(outer, inner)` says where element (outer, inner) lies, or -1 where
it is zero. A plain matrix, a transposed one, and the patches of an image are then the same thing to the kernel.
Each block computes one tile of C: its threads carry slices of A and B through shared memory, twice buffered, and
multiply them from registers. Where tiles are few and sums long (the gradient of a filter sums over every position of
every image), blocks share a sum and a second kernel adds their parts. The order of every sum depends on shapes alone.
Scheme: V. Volkov, "Better performance at lower occupancy" (2010); NVIDIA CUTLASS, "Efficient GEMM in CUDA".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from kernels.launch import Body, Deferred, Grid, cuda, device
from kernels.source import THREADS_PER_BLOCK

load4: Any = Deferred("kernels.wide", "load4")
store4: Any = Deferred("kernels.wide", "store4")
tile4: Any = Deferred("kernels.wide", "tile4")
put4: Any = Deferred("kernels.wide", "put4")

FILLED = 96
"""Blocks from which a large tile pays: fewer would leave most processors of a large GPU without work."""

PLENTY = 256
"""Blocks up to which a sum is cut into parts: about two for every processor of a large GPU."""

SHORTEST = 16
"""Steps that a part has at least; shorter ones would not pay for the second kernel."""


@final
@dataclass(frozen=True, slots=True)
class Tile:
    """One block's share: `rows` × `columns` of C in steps of `inner`; each thread holds height × width of it."""

    rows: int
    columns: int
    inner: int
    height: int
    width: int

    @property
    def threads(self) -> int:
        """Threads of the block."""
        return (self.rows // self.height) * (self.columns // self.width)


LARGE = Tile(rows=128, columns=128, inner=8, height=8, width=8)
SMALL = Tile(rows=32, columns=32, inner=16, height=4, width=4)
NARROW = Tile(rows=64, columns=16, inner=8, height=4, width=4)


def tile_for(rows: int, columns: int) -> Tile:
    """The tile for a product of this shape: as large as still fills the device, narrow for few columns."""
    if -(-rows // LARGE.rows) * -(-columns // LARGE.columns) >= FILLED and columns > 2 * SMALL.columns:
        return LARGE
    return NARROW if columns <= NARROW.columns else SMALL


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of the product, as an index map.

    `locate(outer, inner)` is the element's place in the flat array, or -1 where the factor is zero; outer is the
    row of A or the column of B. Elements lie next to each other `along` one of the two. `wide`: four neighbours
    that start at a multiple of 4 always lie together, so they travel in one 128-bit access.
    """

    locate: device
    along: Literal["outer", "inner"]
    wide: bool


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """How a product is shared out: which tile a block computes, and into how many parts the sum over inner falls."""

    tile: Tile
    parts: int = 1


def cut_for(rows: int, columns: int, inner: int) -> Cut:
    """The cut for a product of this shape: where tiles alone would leave processors idle, the sum is cut as well."""
    tile = tile_for(rows, columns)
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns)
    return Cut(tile, max(1, min(PLENTY // blocks, inner // (SHORTEST * tile.inner))))


def product(
    rows: int, columns: int, inner: int, a: Factor, b: Factor, bias: bool | None, cut: Cut | None = None
) -> Grid:
    """C = A·B (+ bias along columns); C is contiguous, rows × columns.

    The kernel takes (a, b, bias, c); where `bias` is None it takes (a, b, c), where it is False it reads none.
    With more than one part, every part writes a C of its own to scratch memory and a second kernel adds them up.
    """
    cut = cut or cut_for(rows, columns, inner)
    tile, parts = cut.tile, cut.parts
    compute = _computer(rows, columns, inner, a, b, bool(bias) and parts == 1, cut)
    blocks = (-(-rows // tile.rows), -(-columns // tile.columns), parts)
    if parts == 1:
        return Grid(_entry(compute, bias is not None), blocks, tile.threads)
    add = _adder(rows, columns, bool(bias), parts)
    lines = (-(-rows * columns // THREADS_PER_BLOCK), 1, 1)
    then = Grid(_entry_with_scratch(add, bias is not None), lines, THREADS_PER_BLOCK)
    first = _entry_with_scratch(compute, bias is not None, to_scratch=True)
    return Grid(first, blocks, tile.threads, scratch=parts * rows * columns, then=then)


def _entry(compute: device, takes_bias: bool) -> Body:
    def with_bias(a: Any, b: Any, bias: Any, c: Any) -> None:
        compute(a, b, bias, c)

    def without_bias(a: Any, b: Any, c: Any) -> None:
        compute(a, b, b, c)

    return with_bias if takes_bias else without_bias


def _entry_with_scratch(work: device, takes_bias: bool, to_scratch: bool = False) -> Body:
    """The first kernel of a cut product, which computes into the scratch array, or the second, which adds."""

    def computes_with_bias(a: Any, b: Any, bias: Any, c: Any, scratch: Any) -> None:
        work(a, b, bias, scratch)

    def computes(a: Any, b: Any, c: Any, scratch: Any) -> None:
        work(a, b, b, scratch)

    def adds_with_bias(a: Any, b: Any, bias: Any, c: Any, scratch: Any) -> None:
        work(scratch, bias, c)

    def adds(a: Any, b: Any, c: Any, scratch: Any) -> None:
        work(scratch, b, c)

    if to_scratch:
        return computes_with_bias if takes_bias else computes
    return adds_with_bias if takes_bias else adds


def _adder(rows: int, columns: int, has_bias: bool, parts: int) -> device:
    """C = bias + the parts, in their order; a thread per element."""
    size = rows * columns

    def add(scratch: Any, bias: Any, c: Any) -> None:
        item = np.int32(cuda.blockIdx.x * THREADS_PER_BLOCK + cuda.threadIdx.x)
        if item < size:
            total = bias[item % columns] if has_bias else np.float32(0)
            for part in range(parts):
                total += scratch[part * size + item]
            c[item] = total

    return device(add)


def _computer(rows: int, columns: int, inner: int, a: Factor, b: Factor, has_bias: bool, cut: Cut) -> device:
    """One block's tile of C; with several parts, block z sums over its share of inner and writes the z-th C."""
    tile, parts = cut.tile, cut.parts
    steps, across = -(-inner // tile.inner), tile.columns // tile.width
    share, size = -(-steps // parts), rows * columns
    pitch_a, pitch_b = tile.rows + 4, tile.columns + 4
    count_a, count_b = tile.rows * tile.inner // tile.threads, tile.columns * tile.inner // tile.threads
    carry_a, put_a = _carrier(a, tile.rows, tile)
    carry_b, put_b = _carrier(b, tile.columns, tile)
    begin, multiply, finish = _beginner(columns, has_bias, tile), _multiplier(tile), _finisher(rows, columns, tile)
    block_rows, block_columns, slice_, height, width = tile.rows, tile.columns, tile.inner, tile.height, tile.width

    def compute(a: Any, b: Any, bias: Any, c: Any) -> None:
        tiles_a = cuda.shared.array((2, slice_, pitch_a), np.float32, alignment=16)
        tiles_b = cuda.shared.array((2, slice_, pitch_b), np.float32, alignment=16)
        held_a = cuda.local.array(count_a, np.float32)
        held_b = cuda.local.array(count_b, np.float32)
        sums = cuda.local.array((height, width), np.float32)
        thread, part = np.int32(cuda.threadIdx.x), np.int32(cuda.blockIdx.z if parts > 1 else 0)
        row, column = np.int32(cuda.blockIdx.x * block_rows), np.int32(cuda.blockIdx.y * block_columns)
        top, left = np.int32(thread // across * 4), np.int32(thread % across * 4)
        first, last = np.int32(part * share), np.int32(part * share + share)
        if last > steps:
            last = np.int32(steps)
        begin(bias, np.int32(column + left), sums)
        carry_a(a, row, np.int32(first * slice_), thread, held_a)
        carry_b(b, column, np.int32(first * slice_), thread, held_b)
        page = np.int32(0)
        for step in range(first + 1, last + 1):
            put_a(tiles_a, page, thread, held_a)
            put_b(tiles_b, page, thread, held_b)
            # One barrier is enough: the page written next was last read before the barrier of this round.
            cuda.syncthreads()
            carry_a(a, row, np.int32(step * slice_), thread, held_a)
            carry_b(b, column, np.int32(step * slice_), thread, held_b)
            multiply(tiles_a, tiles_b, page, top, left, sums)
            page = np.int32(1 - page)
        finish(c, np.int32(part * size), np.int32(row + top), np.int32(column + left), sums)

    return device(compute)


def _carrier(factor: Factor, extent: int, tile: Tile) -> tuple[device, device]:
    """Two functions: from global memory into registers, and from registers into shared memory."""
    wide, along_inner = factor.wide and extent * tile.inner % (4 * tile.threads) == 0, factor.along == "inner"
    group, threads, locate = 4 if wide else 1, tile.threads, factor.locate
    groups = extent * tile.inner // threads // group
    line = (tile.inner if along_inner else extent) // group

    def carry(source: Any, outer: int, inner: int, thread: int, held: Any) -> None:
        for g in range(groups):
            place = np.int32(thread + g * threads)
            i, j = place // line, place % line * group
            index = locate(np.int32(outer + (i if along_inner else j)), np.int32(inner + (j if along_inner else i)))
            if wide:
                p = q = r = s = np.float32(0)
                if index >= 0:
                    p, q, r, s = load4(source, index)
                held[4 * g], held[4 * g + 1], held[4 * g + 2], held[4 * g + 3] = p, q, r, s
            else:
                held[g] = source[index] if index >= 0 else np.float32(0)

    def put(tiles: Any, page: int, thread: int, held: Any) -> None:
        for g in range(groups):
            place = np.int32(thread + g * threads)
            i, j = np.int32(place // line), np.int32(place % line * group)
            if not wide:
                tiles[page, j if along_inner else i, i if along_inner else j] = held[g]
            elif along_inner:
                for e in range(4):
                    tiles[page, j + e, i] = held[4 * g + e]
            else:
                put4(tiles, page, i, j, held[4 * g], held[4 * g + 1], held[4 * g + 2], held[4 * g + 3])

    return device(carry), device(put)


def _multiplier(tile: Tile) -> device:
    """Adds the product of two slices in shared memory to a thread's sums; quads of columns lie `across` apart."""
    slice_, height, width, down, across = tile.inner, tile.height, tile.width, _down(tile), _across(tile)

    def multiply(tiles_a: Any, tiles_b: Any, page: int, top: int, left: int, sums: Any) -> None:
        a = cuda.local.array(height, np.float32)
        b = cuda.local.array(width, np.float32)
        for k in range(slice_):
            for i in range(0, height, 4):
                a[i], a[i + 1], a[i + 2], a[i + 3] = tile4(tiles_a, page, k, np.int32(top + i // 4 * down))
            for j in range(0, width, 4):
                b[j], b[j + 1], b[j + 2], b[j + 3] = tile4(tiles_b, page, k, np.int32(left + j // 4 * across))
            for i in range(height):
                for j in range(width):
                    sums[i, j] += a[i] * b[j]

    return device(multiply)


def _beginner(columns: int, has_bias: bool, tile: Tile) -> device:
    """Starts a thread's sums from the bias of their columns, or from zero."""
    height, width, across = tile.height, tile.width, _across(tile)

    def begin(bias: Any, left: int, sums: Any) -> None:
        for j in range(width):
            column = np.int32(left + j // 4 * across + j % 4)
            start = bias[column] if has_bias and column < columns else np.float32(0)
            for i in range(height):
                sums[i, j] = start

    return device(begin)


def _finisher(rows: int, columns: int, tile: Tile) -> device:
    """Writes a thread's sums to C, where C has such rows and columns."""
    height, quads, down, across = tile.height, tile.width // 4, _down(tile), _across(tile)
    wide = columns % 4 == 0

    def finish(c: Any, start: int, top: int, left: int, sums: Any) -> None:
        for i in range(height):
            row = np.int32(top + i // 4 * down + i % 4)
            for j in range(0, quads * 4, 4):
                column = np.int32(left + j // 4 * across)
                place = np.int32(start + row * columns + column)
                if wide:
                    if row < rows and column < columns:
                        store4(c, place, sums[i, j], sums[i, j + 1], sums[i, j + 2], sums[i, j + 3])
                else:
                    for e in range(4):
                        if row < rows and column + e < columns:
                            c[place + e] = sums[i, j + e]

    return device(finish)


def _down(tile: Tile) -> int:
    """Rows between two quads of rows of one thread: neighbouring threads hold neighbouring quads."""
    return tile.rows // (tile.height // 4)


def _across(tile: Tile) -> int:
    """Columns between two quads of columns of one thread."""
    return tile.columns // (tile.width // 4)
