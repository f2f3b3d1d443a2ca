"""Average pooling: the mean of the values beneath each window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated, Any, ClassVar, Literal, final

from annotated_types import Ge

from kernels.launch import Deferred, Launch
from kernels.operator import Example, Frame, Operator, Signature
from kernels.pool import Pooling, pooling
from kernels.pool_mean import mean, spread
from kernels.tensor import TensorSpec

number_like: Any = Deferred("kernels.microkernel", "number_like")

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class AveragePooling2D(Operator):
    """The mean beneath each window: y[n,p,q,c] = (1 / cells) Σ_rs x[n, p·stride + r − pad, …, c].

    x (n, h, w, c), y (n, p, q, c). `strides` is the window's size unless given. Only real cells count: neither
    padding nor what a last window of `ceil_mode` has beyond the edge.
    """

    type: ClassVar[str] = "average_pooling2d"
    aliases: ClassVar[tuple[str, ...]] = ("AveragePooling2D", "AvgPool2D")

    pool_size: Size | tuple[Size, Size] = 2
    strides: Size | tuple[Size, Size] | None = None
    padding: Literal["valid", "same"] = "valid"
    ceil_mode: bool = False

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, c)."""
        v = self._pooling(x)
        return Signature(x.with_shape(v.n, v.p, v.q, v.c))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Means."""
        v = self._pooling(TensorSpec(f.x.shape))
        yield mean.over(v.n * v.p, f.x, f.y, *astuple(v), work=v.q * v.c * v.r * v.s)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gathers its share of the windows that cover it."""
        if f.dx is not None:
            v = self._pooling(TensorSpec(f.x.shape))
            yield spread.over(v.n * v.h, f.dy, f.dx, *astuple(v), work=v.w * v.c * 2)

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
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """An addition per tap and output, and a multiplication."""
        v = self._pooling(x)
        return v.n * v.p * v.q * v.c * (v.r * v.s + 1)

    def _pooling(self, x: TensorSpec) -> Pooling:
        return pooling(self.type, x, self.pool_size, self.strides, self.padding, self.ceil_mode)
