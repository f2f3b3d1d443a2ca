"""The forward pass of every layer that ONNX knows too, against ONNX Runtime on all of the layer's examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kernels.operator import Example
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind_example, every_example

Array = npt.NDArray[np.float32]
Translation = tuple[str, dict[str, Any]]
"""An ONNX operator and its attributes."""

Translate = Callable[[Any, TensorSpec], Translation]


def pair_of(value: Any) -> list[int]:
    """A size given once or twice, as ONNX wants it."""
    return [value, value] if isinstance(value, int) else list(value)


def sliding(layer: Any, size: Any, strides: Any) -> dict[str, Any]:
    """The attributes that convolution and pooling share."""
    padding = {"auto_pad": "SAME_UPPER" if layer.padding == "same" else "VALID"}
    if getattr(layer, "ceil_mode", False):
        padding = {"ceil_mode": 1}
    return {"kernel_shape": pair_of(size), "strides": pair_of(strides), **padding}


def conv(layer: Any, x: TensorSpec) -> Translation:
    """Conv with dilation. ONNX Runtime knows no automatic padding under dilation, so the zeros are counted here."""
    attributes = {**sliding(layer, layer.kernel_size, layer.strides), "dilations": pair_of(layer.dilation_rate)}
    attributes["group"] = layer.groups
    if layer.padding == "same" and attributes["dilations"] != [1, 1]:
        zeros = []
        triples = zip(attributes["kernel_shape"], attributes["strides"], attributes["dilations"], strict=True)
        for length, (size, stride, dilation) in zip(x.shape[1:3], triples, strict=True):
            zeros.append(max(0, (-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length))
        pads = [*(z // 2 for z in zeros), *(z - z // 2 for z in zeros)]
        attributes = {**attributes, "auto_pad": "NOTSET", "pads": pads}
    return "Conv", attributes


def pool(name: str) -> Translate:
    """MaxPool or AveragePool."""
    return lambda layer, x: (name, sliding(layer, layer.pool_size, layer.strides or layer.pool_size))


TRANSLATIONS: dict[str, Translate] = {
    "average_pooling2d": pool("AveragePool"),
    "conv2d": conv,
    "dense": lambda layer, x: ("Gemm" if len(x.shape) == 2 else "MatMul", {}),
    "elu": lambda layer, x: ("Elu", {"alpha": layer.alpha}),
    "flatten": lambda layer, x: ("Flatten", {"axis": 1}),
    "gelu": lambda layer, x: ("Gelu", {"approximate": "tanh" if layer.approximate else "none"}),
    "leaky_relu": lambda layer, x: ("LeakyRelu", {"alpha": layer.negative_slope}),
    "linear": lambda layer, x: ("Identity", {}),
    "max_pooling2d": pool("MaxPool"),
    "relu": lambda layer, x: ("Relu", {}),
    "sigmoid": lambda layer, x: ("Sigmoid", {}),
    "softmax": lambda layer, x: ("Softmax", {"axis": -1}),
    "tanh": lambda layer, x: ("Tanh", {}),
}
IMAGES = {"Conv", "MaxPool", "AveragePool"}
"""ONNX operators whose channels come second; ours come last."""

EXAMPLES = {name: example for name, example in every_example() if example.operator.type in TRANSLATIONS}


def runtime(name: str, attributes: dict[str, Any], inputs: list[Array]) -> Array:
    """What ONNX Runtime computes; the first input is fed, the others are constants."""
    names = [f"input{k}" for k in range(len(inputs))]
    constants = [numpy_helper.from_array(a, n) for a, n in zip(inputs[1:], names[1:], strict=True)]
    fed = helper.make_tensor_value_info(names[0], TensorProto.FLOAT, inputs[0].shape)
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(name, names, ["output"], **attributes)], "one", [fed], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result = session.run(None, {names[0]: inputs[0]})[0]
    assert isinstance(result, np.ndarray)
    return result


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_onnx_runtime_computes_the_same(example: Example) -> None:
    bound = bind_example(example)
    ours, params = bound.forward(), [bound.host(name) for name in bound.params]
    name, attributes = TRANSLATIONS[example.operator.type](example.operator, example.x)
    x = bound.host("x")
    if name in IMAGES:
        x, params = x.transpose(0, 3, 1, 2), [p.transpose(3, 2, 0, 1) if p.ndim == 4 else p for p in params]
    theirs = runtime(name, attributes, [np.ascontiguousarray(a) for a in (x, *params)])
    theirs = theirs.transpose(0, 2, 3, 1) if name in IMAGES else theirs
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())


def test_the_layers_of_the_line_are_all_compared() -> None:
    assert {example.operator.type for example in EXAMPLES.values()} == set(TRANSLATIONS)
