"""DepthwiseConv2D: every channel is filtered on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.columns import add_bias
from kernels.depthwise import depthwise, depthwise_forward, depthwise_input_gradient, depthwise_weight_gradient
from kernels.depthwise_grid import Depthwise
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class DepthwiseConv2D(Operator):
    """Filters every channel on its own: y[n,p,q,c·m+j] = b + Σ_rs x[n, p·stride + r·dilation − pad, …, c] · w[r,s,c,j].

    x (n, h, w, c), w (r, s, c, m), b (c·m), y (n, p, q, c·m), m being the `depth_multiplier`: no sum runs over
    channels, which is what a 1 x 1 convolution behind it is for (Howard et al., "MobileNets", 2017).
    """

    type: ClassVar[str] = "depthwise_conv2d"
    aliases: ClassVar[tuple[str, ...]] = ("DepthwiseConv2D",)
    takes_activation: ClassVar[bool] = True

    kernel_size: Size | tuple[Size, Size]
    strides: Size | tuple[Size, Size] = 1
    padding: Literal["valid", "same"] = "valid"
    depth_multiplier: Size = 1
    dilation_rate: Size | tuple[Size, Size] = 1
    use_bias: bool = True
    depthwise_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, c·m)."""
        v = self._numbers(x)
        features = v.c * v.m
        # Keras scales by the fans of the array as it lies.
        fans = v.r * v.s * v.c, v.r * v.s * v.m
        params = {"w": Param(TensorSpec((v.r, v.s, v.c, v.m)), self.depthwise_initializer, *fans)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((features,)), self.bias_initializer, *fans)
        return Signature(x.with_shape(v.n, v.p, v.q, features), params)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Taps, then the bias."""
        yield depthwise_forward(f.x, f.w, f.y, self._numbers(TensorSpec(f.x.shape)))
        if self.use_bias:
            yield add_bias(f.b, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The input's gradient (if anyone needs it), the weights' and the bias's."""
        v = self._numbers(TensorSpec(f.x.shape))
        if f.dx is not None:
            yield depthwise_input_gradient(f.dy, f.w, f.dx, v)
        yield depthwise_weight_gradient(f.x, f.dy, f.dw, v)
        if self.use_bias:
            yield column_sums(f.dy, f.db, v.n * v.p * v.q, v.c * v.m)

    @classmethod
    def examples(cls) -> list[Example]:
        """Strides, dilation, both paddings, multipliers, one channel and many, enough positions for several parts."""
        cases = [
            (cls(3), (2, 5, 6, 3)),
            (cls(3, padding="same"), (3, 9, 11, 5)),
            (cls((2, 3), strides=2, depth_multiplier=2), (2, 6, 7, 3)),
            (cls(3, dilation_rate=2, padding="same", use_bias=False), (1, 6, 5, 35)),
            (cls((1, 2), strides=(2, 1), depth_multiplier=3), (2, 4, 3, 1)),
            (cls(2, depthwise_initializer="he_normal", bias_initializer="ones"), (1, 3, 3, 33)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per tap and output, and the bias."""
        v = self._numbers(x)
        return v.n * v.p * v.q * v.c * v.m * (2 * v.r * v.s + int(self.use_bias))

    def _numbers(self, x: TensorSpec) -> Depthwise:
        sizes = self.kernel_size, self.strides, self.padding, self.dilation_rate
        return depthwise(self.type, x, *sizes, self.depth_multiplier)
