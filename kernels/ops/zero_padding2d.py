"""ZeroPadding2D: rows and columns of zeros around an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge

from kernels.conv_grid import quotient
from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec

Count = Annotated[int, Ge(0)]
ZERO = np.float32(0)


@each
def surround(i: int, j: int, x: Any, y: Any, h: int, w: int, c: int, top: int, left: int, high: int, wide: int) -> None:
    """Element j of output row i: x where the image lies, 0 around it."""
    image, column = quotient(i, high), quotient(j, c)
    row, of = i - image * high - top, column - left
    inside = row >= 0 and row < h and of >= 0 and of < w
    y[i * wide * c + j] = x[((image * h + row) * w + of) * c + j - column * c] if inside else ZERO


@each
def cut_out(
    i: int, j: int, dy: Any, dx: Any, h: int, w: int, c: int, top: int, left: int, high: int, wide: int
) -> None:
    """Element j of input row i: dy from beneath the image."""
    image = quotient(i, h)
    dx[i * w * c + j] = dy[((image * high + i - image * h + top) * wide + left) * c + j]


@final
@dataclass(frozen=True)
class ZeroPadding2D(Operator):
    """Zeros around an image: y[n, i + top, j + left, c] = x[n, i, j, c], and 0 elsewhere.

    x (n, h, w, c), y (n, h + top + bottom, w + left + right, c). `padding` is one number, (rows, columns), or
    ((top, bottom), (left, right)). dx is what lies beneath the image in dy.
    """

    type: ClassVar[str] = "zero_padding2d"
    aliases: ClassVar[tuple[str, ...]] = ("ZeroPadding2D",)

    padding: Count | tuple[Count, Count] | tuple[tuple[Count, Count], tuple[Count, Count]] = 1

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, h + top + bottom, w + left + right, c)."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"zero_padding2d expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
            )
        (top, bottom), (left, right) = self._sides
        n, h, w, c = x.shape
        return Signature(x.with_shape(n, h + top + bottom, w + left + right, c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per row of outputs."""
        n, high, wide, c = f.y.shape
        yield surround.over((n * high, wide * c), f.x, f.y, *self._numbers(f), work=2)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of inputs."""
        n, h, w, c = f.x.shape
        if f.dx is not None:
            yield cut_out.over((n * h, w * c), f.dy, f.dx, *self._numbers(f))

    @classmethod
    def examples(cls) -> list[Example]:
        """One number, one for each axis, one for each side."""
        cases = [(cls(), (2, 3, 4, 3)), (cls((0, 2)), (1, 2, 2, 1)), (cls(((1, 0), (2, 3))), (2, 1, 3, 5))]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0

    @property
    def _sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right))."""
        rows, columns = self.padding if isinstance(self.padding, tuple) else (self.padding, self.padding)
        return (
            rows if isinstance(rows, tuple) else (rows, rows),
            columns if isinstance(columns, tuple) else (columns, columns),
        )

    def _numbers(self, f: Frame) -> tuple[int, ...]:
        (top, _), (left, _) = self._sides
        return (*map(int, f.x.shape[1:]), top, left, int(f.y.shape[1]), int(f.y.shape[2]))
