"""Pooling along a sequence: the largest value, or the mean, beneath each window."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.pool import Pooling
from kernels.pool_max import pool, unpool
from kernels.pool_mean import mean, spread
from kernels.tensor import TensorSpec, window

Size = Annotated[int, Ge(1)]


class _Pooling1D(Operator):
    """What both share: a sequence is an image of one row."""

    pool_size: int
    strides: int | None
    padding: str
    ceil_mode: bool

    def numbers(self, x: TensorSpec) -> Pooling:
        """Slide the window over x (n, time, c); raises ShapeError where it does not fit."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"{self.type} expects (batch, time, features), got {x.shape}; add a reshape layer before it"
            )
        (n, t, c), stride = x.shape, self.strides or self.pool_size
        wide = window(t, self.pool_size, stride, 1, self.padding, self.ceil_mode)
        if wide.output < 1:
            raise ShapeError(
                f"{self.type} looks at {self.pool_size} steps, but its input has only {t}; "
                'use a smaller pool_size or padding "same"'
            )
        return Pooling(n, 1, t, c, 1, self.pool_size, 1, wide.output, 1, stride, 0, wide.before)

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[Example]:
        """Windows apart and overlapping, both paddings, ceil mode."""

    def flops(self, x: TensorSpec) -> int:
        """An operation per tap and output."""
        v = self.numbers(x)
        return v.n * v.q * v.c * v.s


@final
@dataclass(frozen=True)
class MaxPooling1D(_Pooling1D):
    """The largest value beneath each window: y[n,q,c] = max over s of x[n, q·stride + s − pad, c].

    x (n, time, c), y (n, q, c). `strides` is the window's size unless given. Padding counts as −∞.
    With `ceil_mode` a last window may hang over the edge. Of equal values the first one passes the gradient on.
    """

    type: ClassVar[str] = "max_pooling1d"
    aliases: ClassVar[tuple[str, ...]] = ("MaxPooling1D", "MaxPool1D")

    pool_size: Size = 2
    strides: Size | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, time, c) → (n, q, c)."""
        v = self.numbers(x)
        output = x.with_shape(v.n, v.q, v.c)
        index = TensorSpec(output.shape, "uint8" if v.s <= 256 else "int32")
        return Signature(output, saved={"index": index})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Maxima, and which tap each came from."""
        v = self.numbers(TensorSpec(f.x.shape))
        yield pool.over(v.n, f.x, f.y, f.index, *astuple(v), work=v.q * v.c * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers from the windows it won."""
        if f.dx is not None:
            v = self.numbers(TensorSpec(f.x.shape))
            yield unpool.over(v.n, f.dy, f.index, f.dx, *astuple(v), work=v.w * v.c)

    @classmethod
    def examples(cls) -> list[Example]:
        """Windows apart and overlapping, both paddings, ceil mode, one feature, a very long window."""
        cases = [
            (cls(), (2, 6, 3)),
            (cls(3, strides=2), (2, 9, 5)),
            (cls(ceil_mode=True), (1, 5, 1)),
            (cls(3, strides=1, padding="same"), (2, 4, 17)),
            (cls(300, strides=2), (1, 304, 1)),
        ]
        return [Example(layer, TensorSpec(shape), "distinct") for layer, shape in cases]


@final
@dataclass(frozen=True)
class AveragePooling1D(_Pooling1D):
    """The mean beneath each window: y[n,q,c] = (1 / steps) Σ_s x[n, q·stride + s − pad, c].

    x (n, time, c), y (n, q, c). `strides` is the window's size unless given. Only real steps count: neither padding
    nor what a last window of `ceil_mode` has beyond the edge.
    """

    type: ClassVar[str] = "average_pooling1d"
    aliases: ClassVar[tuple[str, ...]] = ("AveragePooling1D", "AvgPool1D")

    pool_size: Size = 2
    strides: Size | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, time, c) → (n, q, c)."""
        v = self.numbers(x)
        return Signature(x.with_shape(v.n, v.q, v.c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Means."""
        v = self.numbers(TensorSpec(f.x.shape))
        yield mean.over(v.n, f.x, f.y, *astuple(v), work=v.q * v.c * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers its share of the windows that cover it."""
        if f.dx is not None:
            v = self.numbers(TensorSpec(f.x.shape))
            yield spread.over(v.n, f.dy, f.dx, *astuple(v), work=v.w * v.c * 2)

    @classmethod
    def examples(cls) -> list[Example]:
        """Windows apart and overlapping, both paddings, ceil mode, one feature."""
        cases = [
            (cls(), (2, 6, 3)),
            (cls(3, strides=2), (2, 9, 5)),
            (cls(ceil_mode=True), (1, 5, 1)),
            (cls(3, strides=1, padding="same"), (2, 4, 17)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]
