"""Concatenate: several inputs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, final

from kernels.columns import put_columns, take_columns
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class Concatenate(Operator):
    """Several inputs side by side along one axis: y[…, offset_m + j, …] = x_m[…, j, …]; dx_m is that part of dy.

    All other axes must agree. `axis` counts the batch as 0, or from the end: −1 joins channels (U-Net: Ronneberger,
    Fischer & Brox 2015). Rows of the batch are never joined.
    """

    type: ClassVar[str] = "concatenate"
    aliases: ClassVar[tuple[str, ...]] = ("Concatenate",)
    arity: ClassVar[int | None] = None

    axis: int = -1

    def infer(self, *xs: TensorSpec) -> Signature:
        """The inputs' shape, but for the axis, whose lengths add up."""
        if len(xs) < 2:
            raise ShapeError(f"concatenate needs two inputs or more, got {len(xs)}; name them in `inputs`")
        shapes, rank = ", ".join(str(x.shape) for x in xs), len(xs[0].shape)
        axis = self.axis % rank if -rank <= self.axis < rank else 0
        if axis == 0:
            raise ShapeError(f"concatenate has no axis {self.axis} to join {shapes} along; choose 1 to {rank - 1}")
        if len({(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}) > 1 or any(len(x.shape) != rank for x in xs):
            raise ShapeError(f"concatenate joins along axis {axis}, but other axes of {shapes} differ; make them equal")
        first = xs[0].shape
        return Signature(xs[0].with_shape(*first[:axis], sum(x.shape[axis] for x in xs), *first[axis + 1 :]))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Each input into its columns."""
        rows, total, parts = self._columns(f)
        for x, (width, offset) in zip(f.xs, parts, strict=True):
            yield put_columns(x, f.y, rows, width, total, offset)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Each input's columns out of dy."""
        rows, total, parts = self._columns(f)
        for dx, (width, offset) in zip(f.dxs, parts, strict=True):
            if dx is not None:
                yield take_columns(f.dy, dx, rows, width, total, offset)

    @classmethod
    def examples(cls) -> list[Example]:
        """Vectors of two lengths, three images along channels, two along rows."""
        cases: list[tuple[Concatenate, list[tuple[int, ...]]]] = [
            (cls(), [(3, 4), (3, 2)]),
            (cls(), [(2, 3, 2, 1), (2, 3, 2, 5), (2, 3, 2, 2)]),
            (cls(axis=1), [(2, 1, 3, 2), (2, 4, 3, 2)]),
            (cls(axis=-2), [(2, 3, 4), (2, 2, 4)]),
        ]
        made = [(layer, [TensorSpec(shape) for shape in shapes]) for layer, shapes in cases]
        return [Example(layer, xs[0], more=tuple(xs[1:])) for layer, xs in made]

    def flops(self, *xs: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0

    def _columns(self, f: Frame) -> tuple[int, int, list[tuple[int, int]]]:
        """Everything as matrices: rows, columns of y, and each input's columns and offset."""
        shape = f.y.shape
        axis = self.axis % len(shape)
        rows = math.prod(shape[:axis])
        widths: list[int] = [x.size // rows for x in f.xs]
        return rows, f.y.size // rows, list(zip(widths, [0, *accumulate(widths[:-1])], strict=True))
