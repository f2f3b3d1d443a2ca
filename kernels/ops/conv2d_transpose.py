"""Conv2DTranspose: every input cell paints its filter into a larger image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.columns import add_bias
from kernels.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from kernels.conv_grid import Convolution
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec, both, window

Size = Annotated[int, Ge(1)]
Surplus = Annotated[int, Ge(0)]


@final
@dataclass(frozen=True)
class Conv2DTranspose(Operator):
    """The gradient of conv2d as a layer: y[n, p·stride + r·dilation − pad, …, k] = b[k] + Σ x[n,p,q,c] · w[r,s,k,c].

    x (n, h, w, c), w (r, s, filters, c), b (filters), y (n, H, W, filters): every input cell adds its filter, scaled,
    to a larger image (Zeiler et al. 2010; Dumoulin & Visin, "A guide to convolution arithmetic", 2016). `same` makes
    h · stride rows; `valid` (h − 1) · stride + extent of the filter, at least h · stride. `output_padding` sets the
    surplus of rows and columns instead: (h − 1) · stride + extent + output_padding for `valid`, and for `same`
    (h − 1) · stride + extent mod 2 + output_padding.
    """

    type: ClassVar[str] = "conv2d_transpose"
    aliases: ClassVar[tuple[str, ...]] = ("Conv2DTranspose", "Convolution2DTranspose")
    takes_activation: ClassVar[bool] = True

    filters: Annotated[int, Ge(1)]
    kernel_size: Size | tuple[Size, Size]
    strides: Size | tuple[Size, Size] = 1
    padding: Literal["valid", "same"] = "valid"
    output_padding: Surplus | tuple[Surplus, Surplus] | None = None
    dilation_rate: Size | tuple[Size, Size] = 1
    use_bias: bool = True
    kernel_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, H, W, filters)."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"conv2d_transpose expects (batch, height, width, channels), got {x.shape}; "
                "add a reshape layer before it"
            )
        (r, s), (n, _, _, c) = both(self.kernel_size), x.shape
        # Keras scales by the fans of the array as it lies: filters is its last but one axis.
        fan_in, fan_out = r * s * self.filters, r * s * c
        params = {"w": Param(TensorSpec((r, s, self.filters, c)), self.kernel_initializer, fan_in, fan_out)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((self.filters,)), self.bias_initializer, fan_in, fan_out)
        v = self._convolution(x)
        return Signature(x.with_shape(n, v.h, v.w, self.filters), params)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """The input gradient of the convolution that goes the other way, and the bias."""
        yield conv_input_gradient(f.x, f.w, f.y, self._convolution(TensorSpec(f.x.shape)))
        if self.use_bias:
            yield add_bias(f.b, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """That convolution of dy, and its weight gradient with x and dy in each other's place."""
        v = self._convolution(TensorSpec(f.x.shape))
        if f.dx is not None:
            yield conv_forward(f.dy, f.w, f.dx, f.dx, v)
        yield conv_weight_gradient(f.dy, f.x, f.dw, v)
        if self.use_bias:
            yield column_sums(f.dy, f.db, v.n * v.h * v.w, self.filters)

    @classmethod
    def examples(cls) -> list[Example]:
        """Strides larger and smaller than the filter, both paddings, surplus rows, dilation, odd sizes, no bias."""
        cases = [
            (cls(3, 3), (2, 4, 5, 2)),
            (cls(5, 3, strides=2, padding="same"), (2, 4, 3, 7)),
            (cls(1, (2, 3), strides=(3, 2)), (2, 3, 4, 5)),
            (cls(4, 4, strides=2, padding="same", use_bias=False), (1, 3, 5, 33)),
            (cls(2, 3, strides=2, output_padding=1), (2, 3, 4, 3)),
            (cls(2, 3, strides=(2, 3), padding="same", output_padding=(1, 0)), (2, 3, 4, 3)),
            (cls(3, 3, dilation_rate=2, padding="same"), (1, 6, 5, 2)),
            (cls(33, 2, kernel_initializer="he_normal", bias_initializer="ones"), (1, 2, 2, 9)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per input, tap and filter, and the bias."""
        r, s = both(self.kernel_size)
        return 2 * x.size * r * s * self.filters + int(self.use_bias) * self.infer(x).output.size

    def _length(self, length: int, size: int, stride: int, dilation: int, surplus: int | None) -> int:
        """Rows (or columns) of the output."""
        extent = (size - 1) * dilation + 1
        if surplus is None:
            return length * stride if self.padding == "same" else (length - 1) * stride + max(extent, stride)
        if surplus >= stride:
            raise ShapeError(f"output_padding {surplus} is not below the stride {stride}; use a smaller one")
        made = (length - 1) * stride + (extent if self.padding == "valid" else extent % 2) + surplus
        if made < 1:
            raise ShapeError("conv2d_transpose would make no rows; use a larger output_padding")
        return made

    def _convolution(self, x: TensorSpec) -> Convolution:
        """The convolution that leads from the output's shape back to x's."""
        (r, s), (down, right) = both(self.kernel_size), both(self.strides)
        dilation_h, dilation_w = both(self.dilation_rate)
        surplus = (None, None) if self.output_padding is None else both(self.output_padding)
        n, p, q, k = x.shape
        h, w = self._length(p, r, down, dilation_h, surplus[0]), self._length(q, s, right, dilation_w, surplus[1])
        top = window(h, r, down, dilation_h, self.padding).before
        left = window(w, s, right, dilation_w, self.padding).before
        return Convolution(n, h, w, self.filters, k, r, s, p, q, down, right, dilation_h, dilation_w, top, left, 0)
