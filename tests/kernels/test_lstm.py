"""LSTM: gates by hand, the start of the forget gate, PyTorch's and ONNX Runtime's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.lstm import LSTM
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind
from tests.kernels.recurrent_peers import compare
from tests.kernels.test_onnx import runtime


def sigmoid(x: float) -> float:
    """1 / (1 + e^−x)."""
    return 1 / (1 + math.exp(-x))


def test_two_steps_of_one_unit_by_hand() -> None:
    w, u, b, inputs = (0.5, -1.0, 2.0, 0.25), (0.3, 0.6, -0.4, 0.9), (0.1, 1.0, 0.0, -0.2), (1.5, -0.5)
    c = h = 0.0
    states = []
    for x in inputs:
        i, f, g, o = (w[k] * x + u[k] * h + b[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * math.tanh(g)
        h = sigmoid(o) * math.tanh(c)
        states.append(h)
    bound = bind(LSTM(1, return_sequences=True), TensorSpec((1, 2, 1)))
    for name, values in (("x", inputs), ("w", w), ("u", u), ("b", b)):
        bound.put(name, np.array(values).reshape(bound.host(name).shape))
    assert bound.forward().ravel() == pytest.approx(states, abs=1e-6)


def test_open_gates_add_up_and_closed_ones_forget() -> None:
    bound = bind(LSTM(1, activation="linear", recurrent_activation="hard_sigmoid"), TensorSpec((1, 3, 1)))
    bound.put("x", np.array([[[1], [10], [100]]]))
    bound.put("w", np.array([[0, 0, 1, 0]]))
    bound.put("u", np.zeros((1, 4)))
    bound.put("dy", np.array([[1]]))
    for forget, total, dx in ((3, 111, [1, 1, 1]), (-3, 100, [0, 0, 1])):
        bound.put("b", np.array([3, forget, 0, 3]))
        assert bound.forward().tolist() == [[total]]
        assert bound.backward()["dx"].ravel().tolist() == dx


def test_the_forget_gate_starts_open_unless_told_otherwise() -> None:
    spec = TensorSpec((4, 9, 3))
    assert LSTM(6).infer(spec).params["b"].initializer == "unit_forget"
    assert LSTM(6, unit_forget_bias=False).infer(spec).params["b"].initializer == "zeros"
    with pytest.raises(ShapeError, match="not by 'he_normal'; set unit_forget_bias: false"):
        LSTM(6, bias_initializer="he_normal").infer(spec)


def test_parameters_have_keras_shapes_and_fans() -> None:
    params = LSTM(6, bidirectional="sum").infer(TensorSpec((4, 9, 3))).params
    shapes = {name: param.spec.shape for name, param in params.items()}
    one = {"w": (3, 24), "u": (6, 24), "b": (24,)}
    assert shapes == {**one, **{f"backward_{name}": shape for name, shape in one.items()}}
    assert (params["w"].fan_in, params["w"].fan_out) == (3, 24)


def test_onnx_runtime_computes_the_same() -> None:
    bound = bind(LSTM(7), TensorSpec((3, 6, 4)))

    def reordered(values: np.ndarray) -> np.ndarray:
        i, f, g, o = np.split(values, 4, axis=-1)
        return np.concatenate([i, o, f, g], axis=-1)

    bias = np.concatenate([reordered(bound.host("b")), np.zeros(28, np.float32)])[None]
    weights = [reordered(bound.host(name)).T[None] for name in "wu"]
    inputs = [bound.host("x").transpose(1, 0, 2), *weights, bias]
    theirs = runtime("LSTM", {"hidden_size": 7}, [np.ascontiguousarray(a) for a in inputs])
    assert np.abs(bound.forward() - theirs[-1, 0]).max() <= 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LSTM(37), (9, 13, 5)),
        (LSTM(128, return_sequences=True), (32, 64, 16)),
        (LSTM(8, return_sequences=True, go_backwards=True), (3, 7, 4)),
        (LSTM(8, return_sequences=True, bidirectional="concat"), (3, 7, 4)),
        (LSTM(8, bidirectional="concat"), (3, 7, 4)),
        (LSTM(8, return_sequences=True, bidirectional="ave"), (3, 7, 4)),
    ],
    ids=str,
)
def test_pytorch_computes_the_same(layer: LSTM, shape: tuple[int, ...]) -> None:
    pytest.importorskip("torch")
    bound = bind(layer, TensorSpec(shape))
    bound.put("u", bound.host("u") / np.sqrt(np.float32(layer.units)))
    compare(bound, layer)
