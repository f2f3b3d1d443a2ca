"""Depthwise and separable convolution: sums by hand, their kinship with conv2d, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.conv2d import Conv2D
from kernels.ops.depthwise_conv2d import DepthwiseConv2D
from kernels.ops.separable_conv2d import SeparableConv2D
from kernels.tensor import TensorSpec, both, window
from tests.kernels.harness import bind

LARGE = [
    Example(DepthwiseConv2D(3, padding="same"), TensorSpec((4, 14, 14, 70))),
    Example(DepthwiseConv2D(5, strides=2, padding="same", depth_multiplier=2), TensorSpec((2, 15, 14, 33))),
]


def test_every_channel_has_its_own_filter() -> None:
    bound = bind(DepthwiseConv2D((1, 2)), TensorSpec((1, 1, 2, 2)))
    bound.put("x", np.array([1, 2, 3, 4]).reshape(1, 1, 2, 2))
    bound.put("w", np.array([10, 100, 1, 5]).reshape(1, 2, 2, 1))
    bound.put("b", np.array([0.5, 0]))
    assert bound.forward().ravel().tolist() == [1 * 10 + 3 * 1 + 0.5, 2 * 100 + 4 * 5]
    bound.put("dy", np.array([2, 3]).reshape(1, 1, 1, 2))
    gradients = bound.backward()
    assert gradients["dx"].ravel().tolist() == [20, 300, 2, 15]
    assert gradients["dw"].ravel().tolist() == [2, 6, 6, 12]
    assert gradients["db"].tolist() == [2, 3]


def test_a_multiplier_gives_every_channel_several_outputs() -> None:
    bound = bind(DepthwiseConv2D(1, depth_multiplier=2, use_bias=False), TensorSpec((1, 1, 1, 2)))
    bound.put("x", np.array([3, 5]).reshape(1, 1, 1, 2))
    bound.put("w", np.array([1, 10, 2, 20]).reshape(1, 1, 2, 2))
    assert bound.forward().ravel().tolist() == [3, 30, 10, 100]


def test_it_is_a_convolution_with_a_group_for_every_channel() -> None:
    x = TensorSpec((2, 6, 7, 5))
    alone, grouped = bind(DepthwiseConv2D(3, strides=2), x), bind(Conv2D(5, 3, strides=2, groups=5), x)
    grouped.put("w", alone.host("w").transpose(0, 1, 3, 2))
    grouped.put("b", alone.host("b"))
    grouped.put("dy", alone.host("dy"))
    assert np.allclose(alone.forward(), grouped.forward(), atol=1e-5)
    ours, theirs = alone.backward(), grouped.backward()
    assert np.allclose(ours["dx"], theirs["dx"], atol=1e-5)
    assert np.allclose(ours["dw"], theirs["dw"].transpose(0, 1, 3, 2), atol=1e-5)


def test_separable_is_depthwise_and_then_one_by_one() -> None:
    x = TensorSpec((2, 6, 7, 5))
    both_at_once = bind(SeparableConv2D(4, 3, padding="same", depth_multiplier=2), x)
    filters = bind(DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False), x)
    filters.put("x", both_at_once.host("x"))
    filters.put("w", both_at_once.host("d"))
    mixer = bind(Conv2D(4, 1), TensorSpec((2, 6, 7, 10)))
    mixer.put("x", filters.forward())
    mixer.put("w", both_at_once.host("p"))
    mixer.put("b", both_at_once.host("b"))
    mixer.put("dy", both_at_once.host("dy"))
    assert np.allclose(both_at_once.forward(), mixer.forward(), atol=1e-5)
    mixed = mixer.backward()
    filters.put("dy", mixed["dx"])
    expected = {"dx": filters.backward()["dx"], "dd": filters.host("dw"), "dp": mixed["dw"], "db": mixed["db"]}
    for name, found in both_at_once.backward().items():
        assert np.allclose(found, expected[name], atol=1e-4), name


@pytest.mark.parametrize("layer", [DepthwiseConv2D(9), SeparableConv2D(4, 9)], ids=lambda layer: layer.type)
def test_a_window_larger_than_the_image_is_refused(layer: DepthwiseConv2D | SeparableConv2D) -> None:
    with pytest.raises(
        ShapeError, match=f"{layer.type}'s window reaches over 9 x 9 cells, but its input is only 8 x 8"
    ):
        layer.infer(TensorSpec((1, 8, 8, 3)))


@pytest.mark.peers
@pytest.mark.parametrize("example", [*DepthwiseConv2D.examples(), *LARGE], ids=lambda e: f"{e.operator} of {e.x.shape}")
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind(example.operator, example.x)
    assert isinstance(layer, DepthwiseConv2D)
    r, s, c, m = bound.host("w").shape
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), dtype=torch.float64, requires_grad=True)
    w = bound.host("w").transpose(2, 3, 0, 1).reshape(c * m, 1, r, s)
    w = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    sizes = zip(example.x.shape[1:3], (r, s), both(layer.strides), both(layer.dilation_rate), strict=True)
    high, wide = (window(*size, layer.padding) for size in sizes)
    padded = torch.nn.functional.pad(x, (wide.before, wide.after, high.before, high.after))
    y = torch.nn.functional.conv2d(padded, w, None, both(layer.strides), 0, both(layer.dilation_rate), c)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2), dtype=torch.float64))
    dw = w.grad.reshape(c, m, r, s).permute(2, 3, 0, 1)
    peers = {"y": y.detach().permute(0, 2, 3, 1), "dx": x.grad.permute(0, 2, 3, 1), "dw": dw}
    ours = {"y": bound.forward(), **bound.backward()}
    if layer.use_bias:
        ours["y"] = ours["y"] - bound.host("b")
    for name, peer in peers.items():
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * np.abs(peer.numpy()).max(), name
