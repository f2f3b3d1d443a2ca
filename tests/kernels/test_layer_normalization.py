"""Layer normalisation: a row by hand, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.layer_normalization import LayerNormalization
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind


def test_every_row_gets_mean_zero_and_variance_one_then_scale_and_offset() -> None:
    bound = bind(LayerNormalization(epsilon=1e-12), TensorSpec((2, 4)))
    bound.put("x", np.array([[1, 3, 5, 7], [100, 102, 104, 106]]))
    bound.put("gamma", np.array([1, 1, 2, 1]))
    bound.put("beta", np.array([0, 0, 0, 1]))
    root = np.sqrt(5)
    expected = np.array([[-3 / root, -1 / root, 2 / root, 3 / root + 1]] * 2)
    assert bound.forward() == pytest.approx(expected, rel=1e-5)


def test_a_constant_row_is_no_trouble() -> None:
    bound = bind(LayerNormalization(center=False, scale=False), TensorSpec((1, 5)))
    bound.put("x", np.full((1, 5), 3.0))
    assert bound.forward().tolist() == [[0] * 5]
    assert np.isfinite(bound.backward()["dx"]).all()


def test_rows_know_nothing_of_each_other() -> None:
    bound = bind(LayerNormalization(), TensorSpec((6, 9)))
    before, x = bound.forward(), bound.host("x")
    x[3:] *= 7
    bound.put("x", x)
    assert bound.forward()[:3].tobytes() == before[:3].tobytes()


def test_an_input_without_features_is_refused() -> None:
    with pytest.raises(ShapeError, match="give it a feature axis"):
        LayerNormalization().infer(TensorSpec((4,)))


@pytest.mark.peers
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 40), (32, 50, 64), (2, 300)], ids=str)
def test_pytorch_computes_the_same(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    bound = bind(LayerNormalization(epsilon=1e-5), TensorSpec(shape))
    names = ("x", "gamma", "beta")
    x, gamma, beta = (torch.tensor(bound.host(n), dtype=torch.float64, requires_grad=True) for n in names)
    y = torch.nn.functional.layer_norm(x, shape[-1:], gamma, beta, 1e-5)
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    peers = {"y": y.detach(), "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad}
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * max(1, float(peer.abs().max())), name
