"""Dense: hand-computed numbers, and PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.dense import Dense
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind


def test_one_row_by_hand() -> None:
    bound = bind(Dense(2), TensorSpec((1, 3)))
    bound.put("x", np.array([[1, 2, 3]]))
    bound.put("w", np.array([[1, 10], [2, 20], [3, 30]]))
    bound.put("b", np.array([0.5, -1]))
    bound.put("dy", np.array([[1, 2]]))
    assert bound.forward().tolist() == [[14.5, 139]]
    gradients = bound.backward()
    assert gradients["dx"].tolist() == [[21, 42, 63]]
    assert gradients["dw"].tolist() == [[1, 2], [2, 4], [3, 6]]
    assert gradients["db"].tolist() == [1, 2]


def test_every_step_of_a_sequence_goes_through_the_same_weights() -> None:
    bound = bind(Dense(1), TensorSpec((2, 2, 2)))
    bound.put("x", np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]))
    bound.put("w", np.array([[1], [10]]))
    bound.put("b", np.array([0.5]))
    bound.put("dy", np.array([[[1], [2]], [[3], [4]]]))
    assert bound.forward().tolist() == [[[21.5], [43.5]], [[65.5], [87.5]]]
    gradients = bound.backward()
    assert gradients["dx"].tolist() == [[[1, 10], [2, 20]], [[3, 30], [4, 40]]]
    assert gradients["dw"].tolist() == [[50], [60]]
    assert gradients["db"].tolist() == [10]


def test_without_a_bias_there_is_none() -> None:
    signature = Dense(4, use_bias=False).infer(TensorSpec((2, 3)))
    assert list(signature.params) == ["w"]
    assert (signature.params["w"].fan_in, signature.params["w"].fan_out) == (3, 4)


def test_an_image_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"features\), got \(32, 5, 5, 16\); add a flatten layer"):
        Dense(10).infer(TensorSpec((32, 5, 5, 16)))


def test_a_multiply_add_counts_as_two_operations() -> None:
    assert Dense(10).flops(TensorSpec((4, 7))) == 4 * 10 * (2 * 7 + 1)
    assert Dense(10).flops(TensorSpec((4, 3, 7))) == 4 * 3 * 10 * (2 * 7 + 1)


@pytest.mark.peers
@pytest.mark.parametrize(
    "shape", [(64, 784, 128), (1, 784, 128), (64, 128, 10), (1, 128, 10), (130, 300, 270)], ids=str
)
def test_pytorch_computes_the_same(shape: tuple[int, int, int]) -> None:
    torch = pytest.importorskip("torch")
    n, features, units = shape
    bound = bind(Dense(units), TensorSpec((n, features)))
    x, w, b = (torch.tensor(bound.host(name), dtype=torch.float64, requires_grad=True) for name in "xwb")
    y = x @ w + b
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    assert np.allclose(bound.forward(), y.detach().numpy(), rtol=1e-5, atol=1e-4)
    gradients = bound.backward()
    for name, peer in (("dx", x), ("dw", w), ("db", b)):
        assert np.allclose(gradients[name], peer.grad.numpy(), rtol=1e-5, atol=1e-4), name
