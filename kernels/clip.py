"""Gradient clipping over the flat gradient: by value, by each parameter's norm, or by the norm of all of them.

Sums are taken in blocks of a fixed size and the blocks added in order, so the bits never depend on the split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from kernels.launch import Launch, each

ZERO, ONE = np.float32(0), np.float32(1)

BLOCK = 1024
"""Elements of a gradient that one item adds up."""

Zeros = Callable[[tuple[int, ...], str], Any]
"""A backend's `zeros`: shape and element type to a new array."""

Segment = tuple[int, int]
"""Where a parameter begins in the flat gradient, and its length."""


@each
def clamp(i: int, dw: Any, limit: Any) -> None:
    """dw into −limit … limit; NaN stays."""
    g = dw[i]
    dw[i] = -limit if g < -limit else (limit if g > limit else g)


@each
def add_squares(i: int, dw: Any, sums: Any, begin: int, length: int, first: int) -> None:
    """Block i of a segment: the sum of its squares."""
    total = ZERO
    for k in range(begin + i * BLOCK, begin + min((i + 1) * BLOCK, length)):
        total += dw[k] * dw[k]
    sums[first + i] = total


@each
def find_factor(i: int, sums: Any, factors: Any, slot: int, first: int, blocks: int, limit: Any) -> None:
    """The factor that brings the norm of a segment down to the limit; 1 where it is below already."""
    total = ZERO
    for k in range(first, first + blocks):
        total += sums[k]
    norm = math.sqrt(total)
    factors[slot] = limit / norm if norm > limit else ONE


@each
def shrink(i: int, dw: Any, factors: Any, begin: int, slot: int) -> None:
    """dw · the segment's factor."""
    dw[begin + i] *= factors[slot]


def clip(
    dw: Any,
    segments: Sequence[Segment],
    zeros: Zeros,
    *,
    clipvalue: float | None = None,
    clipnorm: float | None = None,
    global_clipnorm: float | None = None,
) -> Iterator[Launch]:
    """Launches that clip a flat gradient in place; none where nothing is to be clipped. Names and meaning are Keras's.

    `segments` are the parameters' places. `clipvalue` bounds every element; `clipnorm` the Euclidean
    norm of every parameter's gradient, and `global_clipnorm` that of all together: g ← g · limit / max(limit, ‖g‖)
    (Pascanu, Mikolov & Bengio 2013). At most one of the three.
    """
    if sum(limit is not None for limit in (clipvalue, clipnorm, global_clipnorm)) > 1:
        raise ValueError("give only one of clipvalue, clipnorm and global_clipnorm")
    if clipvalue is not None:
        yield clamp.over(dw.size, dw, float(clipvalue), work=2)
    elif clipnorm is not None:
        yield from _clip_groups(dw, [[segment] for segment in segments], zeros, float(clipnorm))
    elif global_clipnorm is not None:
        yield from _clip_groups(dw, [list(segments)], zeros, float(global_clipnorm))


def _clip_groups(dw: Any, groups: Sequence[Sequence[Segment]], zeros: Zeros, limit: float) -> Iterator[Launch]:
    blocks = [[-(-length // BLOCK) for _, length in group] for group in groups]
    dtype = np.dtype(dw.dtype).name
    sums = zeros((max(1, sum(map(sum, blocks))),), dtype)
    factors = zeros((max(1, len(groups)),), dtype)
    first = 0
    for slot, (group, counts) in enumerate(zip(groups, blocks, strict=True)):
        begins = accumulate(counts, initial=first)
        for (begin, length), count, block in zip(group, counts, begins, strict=False):
            yield add_squares.over(count, dw, sums, begin, length, block, work=2 * BLOCK)
        yield find_factor.over(1, sums, factors, slot, first, sum(counts), limit, work=sum(counts))
        for begin, length in group:
            yield shrink.over(length, dw, factors, begin, slot)
        first += sum(counts)
