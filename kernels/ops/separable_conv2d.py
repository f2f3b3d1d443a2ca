"""SeparableConv2D: every channel is filtered on its own, then channels are mixed cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.depthwise import depthwise, depthwise_forward, depthwise_input_gradient, depthwise_weight_gradient
from kernels.depthwise_grid import Depthwise
from kernels.gemm import matmul
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class SeparableConv2D(Operator):
    """A depthwise convolution and a 1 x 1 convolution in one: z = x ∗ d (every channel by itself), y = z · p + b.

    x (n, h, w, c), d (r, s, c, m), z (n, p, q, c·m), p (1, 1, c·m, filters), b (filters), y (n, p, q, filters), m being
    the `depth_multiplier` (Chollet, "Xception", 2016). Nothing happens between the two.
    """

    type: ClassVar[str] = "separable_conv2d"
    aliases: ClassVar[tuple[str, ...]] = ("SeparableConv2D", "SeparableConvolution2D")
    takes_activation: ClassVar[bool] = True

    filters: Annotated[int, Ge(1)]
    kernel_size: Size | tuple[Size, Size]
    strides: Size | tuple[Size, Size] = 1
    padding: Literal["valid", "same"] = "valid"
    dilation_rate: Size | tuple[Size, Size] = 1
    depth_multiplier: Size = 1
    use_bias: bool = True
    depthwise_initializer: str = "glorot_uniform"
    pointwise_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, filters)."""
        v = self._numbers(x)
        middle = TensorSpec((v.n, v.p, v.q, v.c * v.m))
        taps, mix = TensorSpec((v.r, v.s, v.c, v.m)), TensorSpec((1, 1, v.c * v.m, self.filters))
        params = {
            "d": Param(taps, self.depthwise_initializer, v.r * v.s * v.c, v.r * v.s * v.m),
            "p": Param(mix, self.pointwise_initializer, v.c * v.m, self.filters),
        }
        if self.use_bias:
            params["b"] = Param(TensorSpec((self.filters,)), self.bias_initializer, v.c * v.m, self.filters)
        output = x.with_shape(v.n, v.p, v.q, self.filters)
        return Signature(output, params, saved={"z": middle}, scratch={"dz": middle})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Taps, then one product."""
        v = self._numbers(TensorSpec(f.x.shape))
        yield depthwise_forward(f.x, f.d, f.z, v)
        bias = f.b if self.use_bias else None
        yield matmul(f.z, f.p, f.y, v.n * v.p * v.q, self.filters, v.c * v.m, bias=bias)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Back through the product, then through the taps."""
        v = self._numbers(TensorSpec(f.x.shape))
        rows, middle = v.n * v.p * v.q, v.c * v.m
        yield matmul(f.dy, f.p, f.dz, rows, middle, self.filters, transpose_b=True)
        yield matmul(f.z, f.dy, f.dp, middle, self.filters, rows, transpose_a=True)
        if self.use_bias:
            yield column_sums(f.dy, f.db, rows, self.filters)
        if f.dx is not None:
            yield depthwise_input_gradient(f.dz, f.d, f.dx, v)
        yield depthwise_weight_gradient(f.x, f.dz, f.dd, v)

    @classmethod
    def examples(cls) -> list[Example]:
        """Strides, dilation, both paddings, multipliers, one filter and many, no bias."""
        cases = [
            (cls(4, 3), (2, 5, 6, 3)),
            (cls(7, 3, strides=2, padding="same"), (2, 5, 6, 4)),
            (cls(1, (2, 1), depth_multiplier=2, use_bias=False), (2, 4, 4, 3)),
            (cls(33, 2, dilation_rate=(1, 2)), (1, 4, 5, 9)),
            (cls(2, 1, depthwise_initializer="he_normal", pointwise_initializer="he_normal"), (1, 2, 2, 2)),
            (cls(2, 1, bias_initializer="ones"), (1, 2, 3, 1)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per tap and middle number, and per middle channel and output; the bias."""
        v = self._numbers(x)
        middle, output = v.n * v.p * v.q * v.c * v.m, v.n * v.p * v.q * self.filters
        return 2 * middle * v.r * v.s + output * (2 * v.c * v.m + int(self.use_bias))

    def _numbers(self, x: TensorSpec) -> Depthwise:
        sizes = self.kernel_size, self.strides, self.padding, self.dilation_rate
        return depthwise(self.type, x, *sizes, self.depth_multiplier)
