"""SimpleRNN: steps by hand, the ways through a sequence, PyTorch's and ONNX Runtime's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.simple_rnn import SimpleRNN
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind
from tests.kernels.recurrent_peers import compare
from tests.kernels.test_onnx import runtime


def one_unit(layer: SimpleRNN, *inputs: float) -> Bound:
    """One unit over one sequence: w = 2, u = 3, b = 1."""
    bound = bind(layer, TensorSpec((1, len(inputs), 1)))
    bound.put("x", np.array(inputs).reshape(1, -1, 1))
    bound.put("w", np.array([[2]]))
    bound.put("u", np.array([[3]]))
    bound.put("b", np.array([1]))
    return bound


def test_two_linear_steps_and_their_gradient_by_hand() -> None:
    bound = one_unit(SimpleRNN(1, activation="linear"), 5, 7)
    bound.put("dy", np.array([[1]]))
    assert bound.forward().tolist() == [[2 * 7 + 3 * (2 * 5 + 1) + 1]]
    gradients = {name: values.ravel().tolist() for name, values in bound.backward().items()}
    assert gradients == {"dx": [6, 2], "dw": [7 + 3 * 5], "du": [2 * 5 + 1], "db": [1 + 3]}


def test_two_steps_of_tanh_by_hand() -> None:
    first = math.tanh(2 * 0.1 + 1)
    second = math.tanh(2 * -0.7 + 3 * first + 1)
    bound = one_unit(SimpleRNN(1, return_sequences=True), 0.1, -0.7)
    assert bound.forward().ravel() == pytest.approx([first, second], abs=1e-6)


def test_going_backwards_returns_the_states_in_the_order_in_which_they_were_made() -> None:
    bound = one_unit(SimpleRNN(1, activation="linear", return_sequences=True, go_backwards=True), 5, 7)
    assert bound.forward().ravel().tolist() == [15, 2 * 5 + 3 * 15 + 1]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [("concat", [[11, 56], [48, 15]]), ("sum", [67, 63]), ("ave", [33.5, 31.5]), ("mul", [616, 720])],
)
def test_both_directions_are_merged_at_their_inputs_times(merge: str, expected: list[float]) -> None:
    layer = SimpleRNN(1, activation="linear", return_sequences=True, bidirectional=merge)  # type: ignore[arg-type]
    bound = one_unit(layer, 5, 7)
    for name, value in (("w", 2), ("u", 3), ("b", 1)):
        bound.put(f"backward_{name}", np.full(bound.host(name).shape, value))
    assert bound.forward()[0].squeeze().tolist() == expected


def test_parameters_have_keras_shapes_and_starts() -> None:
    params = SimpleRNN(6).infer(TensorSpec((4, 9, 3))).params
    shapes = {name: (param.spec.shape, param.initializer) for name, param in params.items()}
    assert shapes == {"w": ((3, 6), "glorot_uniform"), "u": ((6, 6), "orthogonal"), "b": ((6,), "zeros")}


@pytest.mark.parametrize(
    ("layer", "output"),
    [
        (SimpleRNN(6), (4, 6)),
        (SimpleRNN(6, return_sequences=True), (4, 9, 6)),
        (SimpleRNN(6, bidirectional="concat"), (4, 12)),
        (SimpleRNN(6, bidirectional="ave", return_sequences=True), (4, 9, 6)),
    ],
    ids=str,
)
def test_the_output_has_keras_shape(layer: SimpleRNN, output: tuple[int, ...]) -> None:
    assert layer.infer(TensorSpec((4, 9, 3))).output.shape == output


def test_an_input_without_time_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"simple_rnn expects \(batch, time, features\), got \(8, 64\); give it a seq"):
        SimpleRNN(8).infer(TensorSpec((8, 64)))


def test_going_backwards_in_both_directions_is_refused() -> None:
    with pytest.raises(ShapeError, match="goes both ways already; leave go_backwards out"):
        SimpleRNN(8, go_backwards=True, bidirectional="sum").infer(TensorSpec((8, 6, 4)))


def test_onnx_runtime_computes_the_same() -> None:
    bound = bind(SimpleRNN(7), TensorSpec((3, 6, 4)))
    bias = np.concatenate([bound.host("b"), np.zeros(7, np.float32)])[None]
    inputs = [bound.host("x").transpose(1, 0, 2), bound.host("w").T[None], bound.host("u").T[None], bias]
    theirs = runtime("RNN", {"hidden_size": 7}, [np.ascontiguousarray(a) for a in inputs])
    assert np.abs(bound.forward() - theirs[-1, 0]).max() <= 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (SimpleRNN(37), (9, 13, 5)),
        (SimpleRNN(64, return_sequences=True), (32, 20, 16)),
        (SimpleRNN(8, return_sequences=True, go_backwards=True, use_bias=True), (3, 7, 4)),
        (SimpleRNN(8, return_sequences=True, bidirectional="concat"), (3, 7, 4)),
        (SimpleRNN(8, bidirectional="mul"), (3, 7, 4)),
    ],
    ids=str,
)
def test_pytorch_computes_the_same(layer: SimpleRNN, shape: tuple[int, ...]) -> None:
    pytest.importorskip("torch")
    bound = bind(layer, TensorSpec(shape))
    bound.put("u", bound.host("u") / np.sqrt(np.float32(layer.units)))
    compare(bound, layer)
