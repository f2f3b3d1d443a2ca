"""Multi-head attention: shares by hand, what causality means, and PyTorch's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.multi_head_attention import MultiHeadAttention
from kernels.tensor import TensorSpec
from tests.kernels.harness import Array, Bound, bind


def one_head(causal: bool) -> Bound:
    """One feature, one head of one number: queries x, keys 2x, values 10x, y = found + 1."""
    bound = bind(MultiHeadAttention(1, 1, causal=causal), TensorSpec((1, 3, 1)))
    for name, values in (("w", [1, 2, 10]), ("b", [0, 0, 0]), ("o", [1]), ("c", [1]), ("x", [0, 1, -1])):
        bound.put(name, np.array(values, np.float32).reshape(bound.host(name).shape))
    return bound


def shared(scores: list[float], values: list[float]) -> float:
    """Values weighted by the softmax of the scores."""
    shares = [math.exp(score) for score in scores]
    return sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares)


def test_three_positions_by_hand() -> None:
    values = [0.0, 10.0, -10.0]
    expected = [1 + shared([query * key for key in (0, 2, -2)], values) for query in (0, 1, -1)]
    assert one_head(causal=False).forward().ravel() == pytest.approx(expected, abs=1e-5)


def test_a_causal_position_sees_itself_and_the_past_alone() -> None:
    expected = [1, 1 + shared([0, 2], [0, 10]), 1 + shared([0, -2, 2], [0, 10, -10])]
    assert one_head(causal=True).forward().ravel() == pytest.approx(expected, abs=1e-5)


def test_no_gradient_comes_back_from_what_a_position_cannot_see() -> None:
    bound = bind(MultiHeadAttention(2, 3, causal=True), TensorSpec((2, 6, 4)))
    dy = np.zeros((2, 6, 4))
    dy[:, 2] = 1
    bound.put("dy", dy)
    bound.forward()
    dx = bound.backward()["dx"]
    assert (dx[:, 3:] == 0).all()
    assert (dx[:, :3] != 0).all()


def test_large_scores_stay_finite() -> None:
    bound = one_head(causal=False)
    bound.put("x", np.array([[[100.0], [50], [-100]]]))
    assert bound.forward().ravel() == pytest.approx([1001, 1001, -999])


def test_parameters_and_their_fans() -> None:
    params = MultiHeadAttention(4, 8).infer(TensorSpec((2, 5, 16))).params
    assert {name: p.spec.shape for name, p in params.items()} == {
        "w": (16, 96), "b": (96,), "o": (32, 16), "c": (16,)
    }  # fmt: skip
    assert (params["w"].fan_in, params["w"].fan_out) == (16, 32)


def test_an_input_without_time_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, time, features\), got \(8, 64\); give it a sequence"):
        MultiHeadAttention(2, 4).infer(TensorSpec((8, 64)))


@pytest.mark.peers
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("shape", "heads"), [((3, 7, 12), 3), ((8, 64, 64), 4), ((2, 33, 40), 1)], ids=str)
def test_pytorch_computes_the_same(shape: tuple[int, int, int], heads: int, causal: bool) -> None:
    torch = pytest.importorskip("torch")
    t, features = shape[1:]
    bound = bind(MultiHeadAttention(heads, features // heads, causal=causal), TensorSpec(shape))
    for name in "wo":
        bound.put(name, bound.host(name) / np.sqrt(np.float32(features)))
    x = torch.tensor(bound.host("x"), dtype=torch.float64, requires_grad=True)
    peer = torch.nn.MultiheadAttention(features, heads, batch_first=True).double()
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.tensor(bound.host("w").T.copy()))
        peer.in_proj_bias.copy_(torch.tensor(bound.host("b")))
        peer.out_proj.weight.copy_(torch.tensor(bound.host("o").T.copy()))
        peer.out_proj.bias.copy_(torch.tensor(bound.host("c")))
    mask = torch.triu(torch.ones(t, t, dtype=torch.bool), 1) if causal else None
    y, _ = peer(x, x, x, attn_mask=mask, need_weights=False)
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    peers: dict[str, Array] = {"y": y.detach().numpy(), "dx": x.grad.numpy()}
    peers |= {"dw": peer.in_proj_weight.grad.numpy().T, "db": peer.in_proj_bias.grad.numpy()}
    peers |= {"do": peer.out_proj.weight.grad.numpy().T, "dc": peer.out_proj.bias.grad.numpy()}
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, expected in peers.items():
        assert np.abs(ours[name] - expected).max() <= 2e-5 * max(1, np.abs(expected).max()), name
