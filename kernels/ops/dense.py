"""Dense: every output is a weighted sum of every input, plus a bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from annotated_types import Ge

from kernels.gemm import matmul
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class Dense(Operator):
    """A fully connected layer: y = x·w + b.

    x (n, in), w (in, units), b (units), y (n, units). dx = dy·wᵀ, dw = xᵀ·dy, db = column sums of dy.
    A sequence (n, t, in) becomes (n, t, units): every step goes through the same weights (Keras's TimeDistributed).
    """

    type: ClassVar[str] = "dense"
    aliases: ClassVar[tuple[str, ...]] = ("Dense",)
    takes_activation: ClassVar[bool] = True

    units: Annotated[int, Ge(1)]
    use_bias: bool = True
    kernel_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, in) → (n, units), (n, t, in) → (n, t, units)."""
        if len(x.shape) not in {2, 3}:
            raise ShapeError(
                f"dense expects (batch, features) or (batch, time, features), got {x.shape}; "
                f"add a flatten layer before it"
            )
        fan_in = x.shape[-1]
        params = {"w": Param(TensorSpec((fan_in, self.units)), self.kernel_initializer, fan_in, self.units)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((self.units,)), self.bias_initializer, fan_in, self.units)
        return Signature(x.with_shape(*x.shape[:-1], self.units), params)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One product."""
        n, k = self._rows(f), f.x.shape[-1]
        yield matmul(f.x, f.w, f.y, n, self.units, k, bias=f.b if self.use_bias else None)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Two products and the column sums."""
        n, k = self._rows(f), f.x.shape[-1]
        if f.dx is not None:
            yield matmul(f.dy, f.w, f.dx, n, k, self.units, transpose_b=True)
        yield matmul(f.x, f.dy, f.dw, k, self.units, n, transpose_a=True)
        if self.use_bias:
            yield column_sums(f.dy, f.db, n, self.units)

    @classmethod
    def examples(cls) -> list[Example]:
        """Odd sizes, one row, one unit, whole tiles, no bias, sequences."""
        cases = [
            (cls(10), (4, 7)),
            (cls(3), (1, 5)),
            (cls(1), (6, 2)),
            (cls(64), (16, 48)),
            (cls(33, use_bias=False), (9, 17)),
            (cls(5, kernel_initializer="he_normal", bias_initializer="ones"), (2, 300)),
            (cls(4, use_bias=False), (2, 3, 5)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per weight and row, and the bias."""
        return x.size // x.shape[-1] * self.units * (2 * x.shape[-1] + int(self.use_bias))

    def _rows(self, f: Frame) -> int:
        return int(f.x.size // f.x.shape[-1])
