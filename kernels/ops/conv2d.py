"""Conv2D: filters slide over an image; each output is a weighted sum of the patch beneath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from kernels.conv_grid import Convolution
from kernels.grouped import check_groups, group_scratch, grouped_backward, grouped_forward
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec, Window, both, window

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class Conv2D(Operator):
    """Slides filters over an image: y[n,p,q,k] = b[k] + Σ_rsc x[n, p·stride + r·dilation − pad, …, c] · w[r,s,c,k].

    x (n, h, w, c), w (r, s, c, filters), b (filters), y (n, p, q, filters). This is the cross-correlation that every
    framework calls convolution: the filter is not flipped. `same` keeps ceil(h / stride) rows, its surplus zero
    at the end; `valid` adds none. Strides and dilation may be combined. With `groups`, group g of the filters sees
    group g of the channels alone (Krizhevsky, Sutskever & Hinton 2012), and w is (r, s, c / groups, filters).
    """

    type: ClassVar[str] = "conv2d"
    aliases: ClassVar[tuple[str, ...]] = ("Conv2D",)
    takes_activation: ClassVar[bool] = True

    filters: Annotated[int, Ge(1)]
    kernel_size: Size | tuple[Size, Size]
    strides: Size | tuple[Size, Size] = 1
    padding: Literal["valid", "same"] = "valid"
    dilation_rate: Size | tuple[Size, Size] = 1
    groups: Size = 1
    use_bias: bool = True
    kernel_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, h, w, c) → (n, p, q, filters)."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"conv2d expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
            )
        (r, s), (high, wide) = both(self.kernel_size), self._windows(x)
        if high.output < 1 or wide.output < 1:
            raise ShapeError(
                f"conv2d's window reaches over {high.extent} x {wide.extent} cells, but its input is only "
                f'{high.length} x {wide.length}; use a smaller kernel_size or dilation_rate, or padding "same"'
            )
        n, _, _, c = x.shape
        check_groups(self.type, c, self.filters, self.groups)
        fan_in, fan_out = r * s * c // self.groups, r * s * self.filters // self.groups
        weights = TensorSpec((r, s, c // self.groups, self.filters))
        params = {"w": Param(weights, self.kernel_initializer, fan_in, fan_out)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((self.filters,)), self.bias_initializer, fan_in, fan_out)
        output = x.with_shape(n, high.output, wide.output, self.filters)
        return Signature(output, params, scratch=group_scratch(x, output, weights, self.groups))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One convolution, or one per group."""
        v = self._convolution(f)
        if self.groups > 1:
            yield from grouped_forward(f, v, self.groups)
        else:
            yield conv_forward(f.x, f.w, f.b if self.use_bias else f.y, f.y, v)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The input's gradient (if anyone needs it), the weights' and the bias's."""
        v = self._convolution(f)
        if self.groups > 1:
            yield from grouped_backward(f, v, self.groups)
        else:
            if f.dx is not None:
                yield conv_input_gradient(f.dy, f.w, f.dx, v)
            yield conv_weight_gradient(f.x, f.dy, f.dw, v)
        if self.use_bias:
            yield column_sums(f.dy, f.db, v.n * v.p * v.q, v.k)

    @classmethod
    def examples(cls) -> list[Example]:
        """Odd sizes, strides, dilation, both paddings, 1 x 1 and even kernels, one channel or row, groups, no bias."""
        cases = [
            (cls(3, 3), (2, 7, 7, 1)),
            (cls(5, 3, padding="same"), (2, 6, 9, 3)),
            (cls(8, (3, 2), strides=2), (1, 9, 8, 5)),
            (cls(7, 3, strides=2, padding="same"), (2, 8, 7, 9)),
            (cls(4, 3, dilation_rate=2, padding="same"), (2, 9, 7, 10)),
            (cls(6, (2, 3), dilation_rate=(2, 3)), (1, 8, 11, 2)),
            (cls(17, 1), (3, 4, 5, 13)),
            (cls(2, 1, strides=2), (2, 5, 5, 4)),
            (cls(5, 4, padding="same", use_bias=False), (2, 5, 6, 3)),
            (cls(3, (2, 3), strides=(3, 2), dilation_rate=(2, 3), padding="same"), (2, 10, 9, 3)),
            (cls(2, 2, strides=(1, 3), kernel_initializer="he_normal", bias_initializer="ones"), (1, 4, 8, 1)),
            (cls(33, 3, padding="same"), (1, 5, 5, 26)),
            (cls(6, 3, strides=2, groups=2), (2, 7, 6, 4)),
            (cls(3, (1, 2), groups=3, use_bias=False), (1, 3, 4, 3)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per tap, channel and output, and the bias."""
        taps = self.infer(x).params["w"].fan_in
        return self.infer(x).output.size * (2 * taps + int(self.use_bias))

    def _windows(self, x: TensorSpec) -> tuple[Window, Window]:
        sizes = zip(x.shape[1:3], both(self.kernel_size), both(self.strides), both(self.dilation_rate), strict=True)
        high, wide = (window(*size, self.padding) for size in sizes)
        return high, wide

    def _convolution(self, f: Frame) -> Convolution:
        high, wide = self._windows(TensorSpec(f.x.shape))
        n, h, w, c = f.x.shape
        return Convolution(
            n, h, w, c, self.filters, *both(self.kernel_size), high.output, wide.output, *both(self.strides),
            *both(self.dilation_rate), high.before, wide.before, int(self.use_bias),
        )  # fmt: skip
