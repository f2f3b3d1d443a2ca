"""GRU: gates by hand, PyTorch's and ONNX Runtime's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.ops.gru import GRU
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind
from tests.kernels.recurrent_peers import compare
from tests.kernels.test_onnx import runtime


def sigmoid(x: float) -> float:
    """1 / (1 + e^−x)."""
    return 1 / (1 + math.exp(-x))


def test_two_steps_of_one_unit_by_hand() -> None:
    w, u, b, c, inputs = (0.5, -1.0, 2.0), (0.3, 0.6, -0.4), (0.1, 1.0, 0.2), (-0.3, 0.4, 0.7), (1.5, -0.5)
    h, states = 0.0, []
    for x in inputs:
        z, r = (sigmoid(w[k] * x + b[k] + u[k] * h + c[k]) for k in (0, 1))
        g = math.tanh(w[2] * x + b[2] + r * (u[2] * h + c[2]))
        h = z * h + (1 - z) * g
        states.append(h)
    bound = bind(GRU(1, return_sequences=True), TensorSpec((1, 2, 1)))
    for name, values in (("x", inputs), ("w", w), ("u", u), ("b", b), ("c", c)):
        bound.put(name, np.array(values).reshape(bound.host(name).shape))
    assert bound.forward().ravel() == pytest.approx(states, abs=1e-6)


def test_an_open_update_gate_keeps_the_state_and_a_closed_one_takes_the_new_one() -> None:
    bound = bind(GRU(1, activation="linear", recurrent_activation="hard_sigmoid"), TensorSpec((1, 2, 1)))
    bound.put("x", np.array([[[5], [7]]]))
    bound.put("u", np.zeros((1, 3)))
    bound.put("c", np.zeros(3))
    bound.put("b", np.zeros(3))
    bound.put("dy", np.array([[1]]))
    for update, state, dx in ((0.0, 0.5 * 2.5 + 0.5 * 7, [0.25, 0.5]), (-9, 7, [0, 1]), (9, 0, [0, 0])):
        bound.put("w", np.array([[update, 0, 1]]))
        assert bound.forward().tolist() == [[state]]
        assert bound.backward()["dx"].ravel().tolist() == dx


def test_both_shares_have_a_bias_as_in_keras_with_reset_after() -> None:
    params = GRU(6).infer(TensorSpec((4, 9, 3))).params
    assert {name: p.spec.shape for name, p in params.items()} == {"w": (3, 18), "u": (6, 18), "b": (18,), "c": (18,)}
    assert list(GRU(6, use_bias=False).infer(TensorSpec((4, 9, 3))).params) == ["w", "u"]


def test_onnx_runtime_computes_the_same() -> None:
    bound = bind(GRU(7), TensorSpec((3, 6, 4)))
    bias = np.concatenate([bound.host("b"), bound.host("c")])[None]
    inputs = [bound.host("x").transpose(1, 0, 2), bound.host("w").T[None], bound.host("u").T[None], bias]
    attributes = {"hidden_size": 7, "linear_before_reset": 1}
    theirs = runtime("GRU", attributes, [np.ascontiguousarray(a) for a in inputs])
    assert np.abs(bound.forward() - theirs[-1, 0]).max() <= 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (GRU(37), (9, 13, 5)),
        (GRU(64, return_sequences=True), (32, 20, 16)),
        (GRU(8, return_sequences=True, go_backwards=True), (3, 7, 4)),
        (GRU(8, return_sequences=True, bidirectional="concat"), (3, 7, 4)),
        (GRU(8, bidirectional="sum"), (3, 7, 4)),
    ],
    ids=str,
)
def test_pytorch_computes_the_same(layer: GRU, shape: tuple[int, ...]) -> None:
    pytest.importorskip("torch")
    bound = bind(layer, TensorSpec(shape))
    bound.put("u", bound.host("u") / np.sqrt(np.float32(layer.units)))
    compare(bound, layer)
