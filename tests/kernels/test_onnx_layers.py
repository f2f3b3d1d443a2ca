"""Layers whose ONNX form needs more than a name and attributes: other inputs, channels moved, numbers at rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.operator import Example
from kernels.tensor import window
from tests.kernels.harness import Array, Bound, bind, every_example
from tests.kernels.test_onnx import pair_of, runtime

Peer = Callable[[Any, Bound], Array]
"""A layer and its bound arrays to what ONNX Runtime makes of them."""


def first(x: Array) -> Array:
    """Channels second, as ONNX wants them."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def last(x: Array) -> Array:
    """Channels last, as we have them."""
    return np.moveaxis(x, 1, -1)


def bias(bound: Bound) -> list[Array]:
    """The bias, where there is one."""
    return [bound.host("b")] if "b" in bound.params else []


def conv1d(layer: Any, bound: Bound) -> Array:
    """Conv over one axis, its zeros counted here."""
    wide = layer._window(bound_spec(bound))
    attributes = {"strides": [layer.strides], "dilations": [layer.dilation_rate], "pads": [wide.before, wide.after]}
    weights = bound.host("w").transpose(2, 1, 0)
    inputs = [first(bound.host("x")), np.ascontiguousarray(weights), *bias(bound)]
    return last(runtime("Conv", {**attributes, "group": layer.groups}, inputs))


def bound_spec(bound: Bound) -> Any:
    """What shape rules see of x: its shape."""
    return bound.frame.x


def conv2d_transpose(layer: Any, bound: Bound) -> Array:
    """ConvTranspose: surplus rows are `output_padding`, or zeros taken off where they are fewer than none."""
    v = layer._convolution(bound_spec(bound))
    surplus = []
    for made, length, size, stride, dilation in (
        (v.h, v.p, v.r, v.stride_h, v.dilation_h),
        (v.w, v.q, v.s, v.stride_w, v.dilation_w),
    ):
        surplus.append(made - ((length - 1) * stride + (size - 1) * dilation + 1))
    before = [v.pad_top, v.pad_left]
    # The end is cut off by what is left; where nothing is cut, rows are added.
    after = [max(0, -extra - begin) for extra, begin in zip(surplus, before, strict=True)]
    added = [extra + begin + end for extra, begin, end in zip(surplus, before, after, strict=True)]
    attributes = {
        "strides": pair_of(layer.strides), "dilations": pair_of(layer.dilation_rate), "pads": before + after,
        "output_padding": added,
    }  # fmt: skip
    weights = np.ascontiguousarray(bound.host("w").transpose(3, 2, 0, 1))
    return last(runtime("ConvTranspose", attributes, [first(bound.host("x")), weights, *bias(bound)]))


def depthwise_conv2d(layer: Any, bound: Bound) -> Array:
    """Conv with a group for every channel."""
    r, s, c, m = bound.host("w").shape
    x, zeros = bound.host("x"), []
    sizes = zip(x.shape[1:3], (r, s), pair_of(layer.strides), pair_of(layer.dilation_rate), strict=True)
    for length, size, stride, dilation in sizes:
        found = window(length, size, stride, dilation, layer.padding)
        zeros.append((found.before, found.after if layer.padding == "same" else 0))
    attributes = {
        "strides": pair_of(layer.strides), "dilations": pair_of(layer.dilation_rate), "group": c,
        "pads": [before for before, _ in zeros] + [after for _, after in zeros],
    }  # fmt: skip
    weights = np.ascontiguousarray(bound.host("w").transpose(2, 3, 0, 1).reshape(c * m, 1, r, s))
    return last(runtime("Conv", attributes, [first(x), weights, *bias(bound)]))


def upsampling(layer: Any, bound: Bound) -> Array:
    """Resize with half-pixel centres, or by the floor of the quotient."""
    x = bound.host("x")
    sizes = [layer.size] if x.ndim == 3 else pair_of(layer.size)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if getattr(layer, "interpolation", "nearest") == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = np.array([1, 1, *sizes], np.float32)
    return last(runtime("Resize", how, [first(x), np.zeros(0, np.float32), scales]))


def pooling1d(name: str) -> Peer:
    """MaxPool or AveragePool over one axis."""

    def run(layer: Any, bound: Bound) -> Array:
        attributes: dict[str, Any] = {"kernel_shape": [layer.pool_size], "strides": [layer.strides or layer.pool_size]}
        attributes |= {"auto_pad": "SAME_UPPER"} if layer.padding == "same" else {"ceil_mode": int(layer.ceil_mode)}
        return last(runtime(name, attributes, [first(bound.host("x"))]))

    return run


def globally(name: str) -> Peer:
    """GlobalMaxPool or GlobalAveragePool."""
    return lambda layer, bound: last(runtime(name, {}, [first(bound.host("x"))])).reshape(bound.frame.y.shape)


def scale_and_offset(bound: Bound) -> list[Array]:
    """gamma and beta, or what stands for them."""
    c = bound.frame.x.shape[-1]
    kinds = {"gamma": np.ones, "beta": np.zeros}
    return [bound.host(n) if n in bound.params else make(c, np.float32) for n, make in kinds.items()]


def batch_normalization(layer: Any, bound: Bound) -> Array:
    """At rest, with the moving averages."""
    moments = [bound.host("moving_mean"), bound.host("moving_variance")]
    inputs = [first(bound.host("x")), *scale_and_offset(bound), *moments]
    return last(runtime("BatchNormalization", {"epsilon": layer.epsilon}, inputs))


def layer_normalization(layer: Any, bound: Bound) -> Array:
    """Over the last axis."""
    attributes = {"epsilon": layer.epsilon, "axis": -1}
    return runtime("LayerNormalization", attributes, [bound.host("x"), *scale_and_offset(bound)])


def several(name: str, attributes: Callable[[Any], dict[str, Any]]) -> Peer:
    """An operator of all inputs, channels where they are."""
    return lambda layer, bound: runtime(name, attributes(layer), [bound.host(x) for x in bound.inputs])


def multiply(layer: Any, bound: Bound) -> Array:
    """Mul takes two: one product after another."""
    result = bound.host("x0")
    for name in bound.inputs[1:]:
        result = runtime("Mul", {}, [result, bound.host(name)])
    return result


def zero_padding2d(layer: Any, bound: Bound) -> Array:
    """Pad, channels where they are."""
    (top, bottom), (left, right) = layer._sides
    return runtime("Pad", {}, [bound.host("x"), np.array([0, top, left, 0, 0, bottom, right, 0])])


def cropping1d(layer: Any, bound: Bound) -> Array:
    """Slice along the axis of time."""
    first, last = layer._ends
    x = bound.host("x")
    return runtime("Slice", {}, [x, *(np.array([n]) for n in (first, x.shape[1] - last, 1))])


PEERS: dict[str, Peer] = {
    "add": several("Sum", lambda layer: {}),
    "average_pooling1d": pooling1d("AveragePool"),
    "batch_normalization": batch_normalization,
    "concatenate": several("Concat", lambda layer: {"axis": layer.axis}),
    "conv1d": conv1d,
    "conv2d_transpose": conv2d_transpose,
    "cropping1d": cropping1d,
    "depthwise_conv2d": depthwise_conv2d,
    "global_average_pooling1d": globally("GlobalAveragePool"),
    "global_average_pooling2d": globally("GlobalAveragePool"),
    "global_max_pooling1d": globally("GlobalMaxPool"),
    "global_max_pooling2d": globally("GlobalMaxPool"),
    "layer_normalization": layer_normalization,
    "max_pooling1d": pooling1d("MaxPool"),
    "multiply": multiply,
    "reshape": lambda layer, bound: runtime("Reshape", {}, [bound.host("x"), np.array([0, *layer.target_shape])]),
    "subtract": several("Sub", lambda layer: {}),
    "upsampling1d": upsampling,
    "upsampling2d": upsampling,
    "zero_padding2d": zero_padding2d,
}
EXAMPLES = {name: example for name, example in every_example() if example.operator.type in PEERS}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_onnx_runtime_computes_the_same(example: Example) -> None:
    bound = bind(example.operator, example.xs, inputs=example.inputs, training=False)
    ours = bound.forward()
    theirs = PEERS[example.operator.type](example.operator, bound)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())


def test_the_layers_of_the_line_are_all_compared() -> None:
    assert {example.operator.type for example in EXAMPLES.values()} == set(PEERS)
