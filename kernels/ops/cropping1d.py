"""Cropping1D: steps are taken off the ends of a sequence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec

Count = Annotated[int, Ge(0)]
ZERO = np.float32(0)


@each
def cut(i: int, j: int, x: Any, y: Any, whole: int, begin: int, kept: int) -> None:
    """Number j of what is kept of row i."""
    y[i * kept + j] = x[i * whole + begin + j]


@each
def put_back(i: int, j: int, dy: Any, dx: Any, whole: int, begin: int, kept: int) -> None:
    """Number j of row i: dy where it was kept, 0 where it was cut off."""
    dx[i * whole + j] = dy[i * kept + j - begin] if begin <= j < begin + kept else ZERO


@final
@dataclass(frozen=True)
class Cropping1D(Operator):
    """A sequence without its ends: y[n, t, c] = x[n, t + first, c] for t below time − first − last.

    x (n, time, c), y (n, time − first − last, c). `cropping` is one number for both ends, or (first, last): (95, 0)
    leaves the last of 96 steps. dx is dy where a step was kept, and 0 where it was cut off.
    """

    type: ClassVar[str] = "cropping1d"
    aliases: ClassVar[tuple[str, ...]] = ("Cropping1D",)

    cropping: Count | tuple[Count, Count] = 1

    def infer(self, x: TensorSpec) -> Signature:
        """(n, time, c) → (n, time − first − last, c)."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"cropping1d expects (batch, time, features), got {x.shape}; add a reshape layer before it"
            )
        n, time, c = x.shape
        left = time - sum(self._ends)
        if left < 1:
            first, last = self._ends
            raise ShapeError(f"cropping1d takes {first} and {last} steps off {time}; leave at least one")
        return Signature(x.with_shape(n, left, c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per sequence."""
        yield cut.over((f.y.shape[0], self._numbers(f)[-1]), f.x, f.y, *self._numbers(f))

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per sequence."""
        if f.dx is not None:
            yield put_back.over((f.y.shape[0], self._numbers(f)[0]), f.dy, f.dx, *self._numbers(f))

    @classmethod
    def examples(cls) -> list[Example]:
        """Both ends alike, the last step alone, nothing at all."""
        cases = [(cls(), (3, 4, 2)), (cls((3, 0)), (2, 4, 3)), (cls((0, 0)), (2, 2, 1))]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0

    @property
    def _ends(self) -> tuple[int, int]:
        return self.cropping if isinstance(self.cropping, tuple) else (self.cropping, self.cropping)

    def _numbers(self, f: Frame) -> tuple[int, int, int]:
        _, time, c = map(int, f.x.shape)
        first, last = self._ends
        return time * c, first * c, (time - first - last) * c
