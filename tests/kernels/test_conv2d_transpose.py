"""Conv2DTranspose: a filter painted by hand, Keras's shapes, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.conv2d import Conv2D
from kernels.ops.conv2d_transpose import Conv2DTranspose
from kernels.tensor import TensorSpec, both
from tests.kernels.harness import bind

LARGE = [
    Example(Conv2DTranspose(16, 3, strides=2, padding="same"), TensorSpec((3, 14, 14, 32))),
    Example(Conv2DTranspose(1, 3, padding="same"), TensorSpec((3, 28, 28, 16))),
]


def test_every_cell_paints_its_filter() -> None:
    bound = bind(Conv2DTranspose(1, 2), TensorSpec((1, 1, 2, 1)))
    bound.put("x", np.array([1, 10]).reshape(1, 1, 2, 1))
    bound.put("w", np.array([1, 2, 3, 4]).reshape(2, 2, 1, 1))
    bound.put("b", np.array([0.5]))
    assert bound.forward()[0, :, :, 0].tolist() == [[1.5, 12.5, 20.5], [3.5, 34.5, 40.5]]
    bound.put("dy", np.array([[1, 0, 0], [0, 0, 2]]).reshape(1, 2, 3, 1))
    gradients = bound.backward()
    assert gradients["dx"].ravel().tolist() == [1, 2 * 4]
    assert gradients["dw"].ravel().tolist() == [1 * 1, 0, 0, 10 * 2]
    assert gradients["db"].tolist() == [3]


def test_it_is_the_gradient_of_the_convolution_that_goes_the_other_way() -> None:
    there = bind(Conv2D(3, 3, strides=2, padding="same", use_bias=False), TensorSpec((2, 8, 6, 4)))
    back = bind(Conv2DTranspose(4, 3, strides=2, padding="same", use_bias=False), TensorSpec((2, 4, 3, 3)))
    there.forward()
    back.put("x", there.host("dy"))
    back.put("w", there.host("w"))
    assert back.forward().tobytes() == there.backward()["dx"].tobytes()


@pytest.mark.parametrize(
    ("layer", "output"),
    [
        (Conv2DTranspose(8, 3), (4, 9, 10, 8)),
        (Conv2DTranspose(8, 3, padding="same"), (4, 7, 8, 8)),
        (Conv2DTranspose(8, 3, strides=2), (4, 15, 17, 8)),
        (Conv2DTranspose(8, 3, strides=2, padding="same"), (4, 14, 16, 8)),
        (Conv2DTranspose(8, 2, strides=(3, 2)), (4, 21, 16, 8)),
        (Conv2DTranspose(8, 3, strides=2, output_padding=1), (4, 16, 18, 8)),
        (Conv2DTranspose(8, 3, strides=2, padding="same", output_padding=0), (4, 13, 15, 8)),
        (Conv2DTranspose(8, 3, dilation_rate=2), (4, 11, 12, 8)),
    ],
    ids=str,
)
def test_the_output_has_keras_shape(layer: Conv2DTranspose, output: tuple[int, ...]) -> None:
    assert layer.infer(TensorSpec((4, 7, 8, 3))).output.shape == output


def test_a_surplus_as_large_as_the_stride_is_refused() -> None:
    with pytest.raises(ShapeError, match="output_padding 2 is not below the stride 2; use a smaller one"):
        Conv2DTranspose(8, 3, strides=2, output_padding=2).infer(TensorSpec((1, 4, 4, 3)))


def test_a_flat_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"channels\), got \(8, 64\); add a reshape"):
        Conv2DTranspose(8, 3).infer(TensorSpec((8, 64)))


@pytest.mark.peers
@pytest.mark.parametrize("example", [*Conv2DTranspose.examples(), *LARGE], ids=lambda e: f"{e.operator} of {e.x.shape}")
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind(example.operator, example.x)
    assert isinstance(layer, Conv2DTranspose)
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), dtype=torch.float64, requires_grad=True)
    w = torch.tensor(bound.host("w").transpose(3, 2, 0, 1), dtype=torch.float64, requires_grad=True)
    b = torch.tensor(bound.host("b"), dtype=torch.float64, requires_grad=True) if layer.use_bias else None
    v = layer._convolution(example.x)
    # Everything that is painted, and rows of zeros behind it: the output is a window of that.
    full = torch.nn.functional.conv_transpose2d(x, w, None, both(layer.strides), dilation=both(layer.dilation_rate))
    full = torch.nn.functional.pad(full, (0, v.w, 0, v.h))
    y = full[:, :, v.pad_top : v.pad_top + v.h, v.pad_left : v.pad_left + v.w]
    y = y if b is None else y + b.reshape(1, -1, 1, 1)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2), dtype=torch.float64))
    peers = {"y": y.detach().permute(0, 2, 3, 1), "dx": x.grad.permute(0, 2, 3, 1), "dw": w.grad.permute(2, 3, 1, 0)}
    if b is not None:
        peers["db"] = b.grad
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * np.abs(peer.numpy()).max(), name
