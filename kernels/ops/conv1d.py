"""Conv1D: filters slide along a sequence; each output is a weighted sum of the stretch beneath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, final

from annotated_types import Ge

from kernels.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from kernels.conv_grid import Convolution
from kernels.grouped import check_groups, group_scratch, grouped_backward, grouped_forward
from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec, Window, window

Size = Annotated[int, Ge(1)]


@final
@dataclass(frozen=True)
class Conv1D(Operator):
    """Slides filters along a sequence: y[n,q,k] = b[k] + Σ_sc x[n, q·stride + s·dilation − pad, c] · w[s,c,k].

    x (n, time, c), w (s, c / groups, filters), b (filters), y (n, q, filters). As in conv2d the filter is not flipped.
    `valid` adds no zeros, `same` keeps ceil(time / stride) steps, its surplus zero at the end. `causal` puts all zeros
    before the first step, so no output depends on a later input (van den Oord et al., "WaveNet", 2016). With `groups`,
    group g of the filters sees group g of the channels alone.
    """

    type: ClassVar[str] = "conv1d"
    aliases: ClassVar[tuple[str, ...]] = ("Conv1D", "Convolution1D")
    takes_activation: ClassVar[bool] = True

    filters: Annotated[int, Ge(1)]
    kernel_size: Size
    strides: Size = 1
    padding: Literal["valid", "same", "causal"] = "valid"
    dilation_rate: Size = 1
    groups: Size = 1
    use_bias: bool = True
    kernel_initializer: str = "glorot_uniform"
    bias_initializer: str = "zeros"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, time, c) → (n, q, filters)."""
        if len(x.shape) != 3:
            raise ShapeError(f"conv1d expects (batch, time, features), got {x.shape}; add a reshape layer before it")
        wide, (n, _, c) = self._window(x), x.shape
        check_groups(self.type, c, self.filters, self.groups)
        if wide.output < 1:
            raise ShapeError(
                f"conv1d's window reaches over {wide.extent} steps, but its input has only {wide.length}; "
                'use a smaller kernel_size or dilation_rate, or padding "same"'
            )
        fan_in, fan_out = self.kernel_size * c // self.groups, self.kernel_size * self.filters // self.groups
        weights = TensorSpec((self.kernel_size, c // self.groups, self.filters))
        params = {"w": Param(weights, self.kernel_initializer, fan_in, fan_out)}
        if self.use_bias:
            params["b"] = Param(TensorSpec((self.filters,)), self.bias_initializer, fan_in, fan_out)
        output = x.with_shape(n, wide.output, self.filters)
        return Signature(output, params, scratch=group_scratch(x, output, weights, self.groups))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One convolution over images of one row."""
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
            # The same sum, but as one tall image whose rows are the sequences: longer sums in registers.
            yield conv_weight_gradient(f.x, f.dy, f.dw, replace(v, n=1, h=v.n, p=v.n))
        if self.use_bias:
            yield column_sums(f.dy, f.db, v.n * v.q, v.k)

    @classmethod
    def examples(cls) -> list[Example]:
        """Every padding, stride and dilation, odd sizes, one channel, many channels, groups, no bias."""
        cases = [
            (cls(3, 3), (2, 9, 1)),
            (cls(5, 3, padding="same"), (3, 8, 3)),
            (cls(6, 2, padding="causal"), (2, 7, 4)),
            (cls(4, 3, padding="causal", dilation_rate=2), (2, 9, 5)),
            (cls(7, 4, strides=2, padding="same"), (2, 11, 9)),
            (cls(2, 5, strides=3), (1, 17, 26)),
            (cls(33, 1, use_bias=False), (3, 4, 13)),
            (cls(6, 3, groups=2, padding="same"), (2, 6, 4)),
            (
                cls(2, 3, strides=2, padding="causal", kernel_initializer="he_normal", bias_initializer="ones"),
                (2, 8, 2),
            ),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A multiply-add per tap, channel and output, and the bias."""
        taps = self.infer(x).params["w"].fan_in
        return self.infer(x).output.size * (2 * taps + int(self.use_bias))

    def _window(self, x: TensorSpec) -> Window:
        length = x.shape[1]
        if self.padding != "causal":
            return window(length, self.kernel_size, self.strides, self.dilation_rate, self.padding)
        extent = (self.kernel_size - 1) * self.dilation_rate + 1
        return Window(length, (length - 1) // self.strides + 1, extent - 1, 0, extent)

    def _convolution(self, f: Frame) -> Convolution:
        (n, t, c), wide = f.x.shape, self._window(TensorSpec(f.x.shape))
        return Convolution(
            n, 1, t, c, self.filters, 1, self.kernel_size, 1, wide.output, 1, self.strides, 1, self.dilation_rate, 0,
            wide.before, int(self.use_bias),
        )  # fmt: skip
