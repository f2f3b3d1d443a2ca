"""Max pooling: the largest value beneath each window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, Any, ClassVar, Literal, final

from annotated_types import Ge

from kernels.launch import Deferred, Launch
from kernels.operator import Example, Frame, Operator, Signature
from kernels.pool import Pooling, pooling
from kernels.pool_max import pool, unpool
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class MaxPooling2D(Operator):
    """The largest value beneath each window: y[n,p,q,c] = max over r, s of x[n, p·stride + r − pad, …, c].

    x (n, h, w, c), y (n, p, q, c). `strides` is the window's size unless given. Padding counts as −∞.
    With `ceil_mode` a last window may hang over the edge. Of equal values the first one passes the gradient on.
    """

    type: ClassVar[str] = "max_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("MaxPooling2D", "MaxPool2D")

    pool_size: Size | tuple[Size, Size] = 2
    strides: Size | tuple[Size, Size] | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, c)."""
        v = self._pooling(x)
        output = x.with_shape(v.n, v.p, v.q, v.c)
        index = TensorSpec(output.shape, "uint8" if v.r * v.s <= 256 else "int32")
        return Signature(output, saved={"index": index})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Maxima, and which tap each came from."""
        v = self._pooling(TensorSpec(f.x.shape))
        yield pool.over(v.n * v.p, f.x, f.y, f.index, *astuple(v), work=v.q * v.c * v.r * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers from the windows it won."""
        if f.dx is not None:
            v = self._pooling(TensorSpec(f.x.shape))
            yield unpool.over(v.n * v.h, f.dy, f.index, f.dx, *astuple(v), work=v.w * v.c)

    @classmethod
    def examples(cls) -> list[Example]:
        """Windows apart and overlapping, both paddings, ceil mode, odd sizes, one channel, one row."""
        cases = [
            (cls(), (2, 6, 6, 3)),
            (cls(), (2, 7, 5, 17)),
            (cls(ceil_mode=True), (1, 5, 5, 1)),
            (cls(3, strides=2), (2, 9, 8, 5)),
            (cls(3, strides=2, ceil_mode=True), (1, 8, 7, 4)),
            (cls((2, 3), strides=(1, 2), padding="same"), (2, 5, 6, 2)),
            (cls(2, strides=3), (2, 8, 8, 3)),
            (cls(17, strides=1), (1, 18, 18, 2)),
        ]
        return [Example(layer, TensorSpec(shape), "distinct") for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A comparison per tap and output."""
        v = self._pooling(x)
        return v.n * v.p * v.q * v.c * v.r * v.s

    def _pooling(self, x: TensorSpec) -> Pooling:
        return pooling(self.type, x, self.pool_size, self.strides, self.padding, self.ceil_mode)
