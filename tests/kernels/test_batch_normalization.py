"""Batch normalisation: hand-computed moments, moving averages, padding rows, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.batch_normalization import BatchNormalization
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind

SHAPES = [(6, 5), (3, 4, 4, 3), (128, 32), (20, 30, 64), (64, 14, 14, 16), (5, 7, 1)]


def bound_to(layer: BatchNormalization, columns: list[list[float]], **how: bool) -> Bound:
    """Rows of one or more channels with gamma 1, beta 0, moving mean 0 and moving variance 1."""
    values = np.array(columns)
    bound = bind(layer, TensorSpec(values.shape), **how)
    for name, number in {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}.items():
        bound.put(name, np.full(values.shape[-1], number))
    bound.put("x", values)
    return bound


def test_every_channel_gets_mean_zero_and_variance_one() -> None:
    bound = bound_to(BatchNormalization(epsilon=1e-12), [[1, 10], [3, 10.5], [5, 9.5], [7, 10]])
    y = bound.forward()
    assert y.mean(0) == pytest.approx([0, 0], abs=1e-6)
    assert y.var(0) == pytest.approx([1, 1], rel=1e-5)
    assert y[:, 0] == pytest.approx(np.array([-3, -1, 1, 3]) / np.sqrt(5), rel=1e-6)


def test_the_moving_averages_go_their_share_of_the_way() -> None:
    bound = bound_to(BatchNormalization(momentum=0.75), [[1], [3], [5], [7]])
    bound.forward()
    assert bound.host("moving_mean").tolist() == [0.25 * 4]
    assert bound.host("moving_variance").tolist() == [0.75 * 1 + 0.25 * 5]


def test_at_rest_the_moving_averages_stand_in_for_the_batch_and_stay() -> None:
    bound = bound_to(BatchNormalization(epsilon=1.0), [[1], [3], [5]], training=False)
    bound.put("moving_mean", np.array([1.0]))
    bound.put("moving_variance", np.array([3.0]))
    bound.put("gamma", np.array([4.0]))
    bound.put("beta", np.array([0.5]))
    assert bound.forward().ravel().tolist() == [0.5, 4.5, 8.5]
    assert (bound.host("moving_mean"), bound.host("moving_variance")) == (1, 3)


def test_a_constant_channel_is_no_trouble() -> None:
    bound = bound_to(BatchNormalization(), [[7.0], [7.0], [7.0]])
    assert bound.forward().ravel().tolist() == [0, 0, 0]
    assert np.isfinite(bound.backward()["dx"]).all()


def test_a_large_mean_costs_no_digits() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4000, 3)).astype(np.float32)
    bound = bound_to(BatchNormalization(epsilon=1e-12), (noise + np.float32(1000)).tolist())
    x = bound.host("x").astype(np.float64)
    assert bound.forward() == pytest.approx((x - x.mean(0)) / x.std(0), abs=1e-3)


@pytest.mark.parametrize("shape", [(7, 5), (5, 6, 3), (40, 9, 9, 8)], ids=str)
def test_padding_rows_count_for_nothing_and_get_no_gradient(shape: tuple[int, ...]) -> None:
    layer, rows = BatchNormalization(), shape[0] - 2
    padded, alone = bind(layer, TensorSpec(shape), valid=rows), bind(layer, TensorSpec((rows, *shape[1:])))
    for name in ("x", "dy", "gamma", "beta", "moving_mean", "moving_variance"):
        whole = padded.host(name)
        alone.put(name, whole[:rows] if name in {"x", "dy"} else whole)
    assert np.allclose(padded.forward()[:rows], alone.forward(), atol=1e-6)
    found, expected = padded.backward(), alone.backward()
    assert np.allclose(found["dx"][:rows], expected["dx"], atol=1e-6)
    assert (found["dx"][rows:] == 0).all()
    for name in ("dgamma", "dbeta"):
        assert np.allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for name in ("moving_mean", "moving_variance"):
        assert np.allclose(padded.host(name), alone.host(name), atol=1e-6)


def test_an_input_without_channels_is_refused() -> None:
    with pytest.raises(ShapeError, match="give it a channel axis"):
        BatchNormalization().infer(TensorSpec((4,)))


def test_what_is_learned_and_what_is_only_kept() -> None:
    signature = BatchNormalization(center=False).infer(TensorSpec((2, 3, 3, 8)))
    assert set(signature.params) == {"gamma"}
    assert {name: (p.spec.shape, p.initializer) for name, p in signature.state.items()} == {
        "moving_mean": ((8,), "zeros"),
        "moving_variance": ((8,), "ones"),
    }


@pytest.mark.peers
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pytorch_computes_the_same(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    example = Example(BatchNormalization(momentum=0.9, epsilon=1e-5), TensorSpec(shape))
    bound = bind(example.operator, example.x)
    names = ("x", "gamma", "beta")
    x, gamma, beta = (torch.tensor(bound.host(n), dtype=torch.float64, requires_grad=True) for n in names)
    mean, variance = (torch.tensor(bound.host(f"moving_{n}"), dtype=torch.float64) for n in ("mean", "variance"))
    count = int(np.prod(shape[:-1]))
    biased = 0.9 * variance + 0.1 * x.detach().reshape(count, -1).var(0, correction=0)
    y = torch.nn.functional.batch_norm(x.movedim(-1, 1), mean, variance, gamma, beta, True, 0.1, 1e-5).movedim(1, -1)
    y.backward(torch.tensor(bound.host("dy"), dtype=torch.float64))
    ours = {"y": bound.forward(), **bound.backward(), "mean": bound.host("moving_mean")}
    ours["variance"] = bound.host("moving_variance")
    peers = {"y": y.detach(), "dx": x.grad, "dgamma": gamma.grad, "dbeta": beta.grad, "mean": mean, "variance": biased}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        scale = max(1.0, float(peer.abs().max()))
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * scale, name
