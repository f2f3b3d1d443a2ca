"""Embedding: rows looked up by hand, tokens that do not exist, and PyTorch's gradient."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.embedding import Embedding
from kernels.simulator import SimulatedBackend
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind

TOKENS = TensorSpec((1, 4), "int32")


def test_rows_by_hand() -> None:
    bound = bind(Embedding(3, 2), TOKENS)
    bound.put("x", np.array([[2, 0, 2, 1]]))
    bound.put("w", np.array([[1, 2], [3, 4], [5, 6]]))
    bound.put("dy", np.array([[[1, 10], [2, 20], [4, 40], [8, 80]]]))
    assert bound.forward().tolist() == [[[5, 6], [1, 2], [5, 6], [3, 4]]]
    assert bound.backward()["dw"].tolist() == [[2, 20], [8, 80], [5, 50]]


@pytest.mark.parametrize("simulated", [False, True], ids=["cpu", "simulated gpu"])
@pytest.mark.parametrize("token", [-1, 3, -(2**31), 2**31 - 1])
def test_a_token_without_a_row_is_not_a_number_and_changes_no_row(token: int, simulated: bool) -> None:
    bound = bind(Embedding(3, 2), TOKENS, SimulatedBackend() if simulated else None)
    bound.put("x", np.array([[1, token, 0, token]]))
    y, w, dy = bound.forward(), bound.host("w"), bound.host("dy")
    assert np.isnan(y[0, [1, 3]]).all()
    assert (y[0, [0, 2]] == w[[1, 0]]).all()
    assert (bound.backward()["dw"] == np.array([dy[0, 2], dy[0, 0], [0, 0]])).all()


def test_the_table_has_a_row_for_every_token() -> None:
    signature = Embedding(1000, 16).infer(TensorSpec((8, 50), "int32"))
    assert signature.params["w"].spec.shape == (1000, 16)
    assert signature.params["w"].initializer == "random_uniform"
    assert (signature.output.shape, signature.output.dtype) == ((8, 50, 16), "float32")


def test_numbers_that_are_no_tokens_are_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"expects whole numbers \(batch, time\), got float32 \(8, 50\); make it the"):
        Embedding(10, 4).infer(TensorSpec((8, 50)))


@pytest.mark.peers
def test_pytorch_computes_the_same() -> None:
    torch = pytest.importorskip("torch")
    bound = bind(Embedding(50, 24), TensorSpec((32, 40), "int32"))
    tokens = np.random.default_rng(3).integers(0, 50, (32, 40)).astype(np.int32)
    bound.put("x", tokens)
    w = torch.tensor(bound.host("w"), dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.embedding(torch.tensor(tokens, dtype=torch.int64), w)
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    assert np.array_equal(bound.forward(), y.detach().numpy().astype(np.float32))
    assert np.allclose(bound.backward()["dw"], w.grad.numpy(), rtol=1e-5, atol=1e-5)
