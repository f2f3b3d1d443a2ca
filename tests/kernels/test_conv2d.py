"""Conv2D: the course's example, hand-computed gradients, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.conv2d import Conv2D
from kernels.ops.flatten import Flatten
from kernels.ops.max_pooling import MaxPooling2D
from kernels.tensor import TensorSpec, both
from tests.kernels.harness import Array, bind

FILTER = "001 100 011"
COURSE = {
    "second row 0100010": (
        "0000000 0100010 0000000 0001000 0100010 0011100 0000000",
        "01000 01110 10021 14210 00121",
        "110 421 021",
        [1, 1, 0, 4, 2, 1, 0, 2, 1],
    ),
    "second row 0010100, as printed": (
        "0000000 0010100 0000000 0001000 0100010 0011100 0000000",
        "00101 11200 10021 14210 00121",
        "121 421 021",
        [1, 2, 1, 4, 2, 1, 0, 2, 1],
    ),
}
LARGE = [
    Example(Conv2D(32, 3, padding="same"), TensorSpec((3, 28, 28, 1))),
    Example(Conv2D(32, 3, padding="same"), TensorSpec((2, 28, 28, 32))),
    Example(Conv2D(64, 5, strides=2, padding="same"), TensorSpec((2, 14, 14, 32))),
    Example(Conv2D(6, 3, padding="same"), TensorSpec((1, 120, 130, 20))),
    Example(Conv2D(40, 3, strides=3, dilation_rate=2), TensorSpec((2, 20, 19, 70))),
]


def picture(rows: str) -> Array:
    """Digits in rows to an image of one channel."""
    return np.array([[float(digit) for digit in row] for row in rows.split()])[None, :, :, None]


@pytest.mark.parametrize("case", COURSE.values(), ids=COURSE.keys())
def test_the_courses_example_comes_out_as_printed(case: tuple[str, str, str, list[int]]) -> None:
    image, feature_map, pooled, flat = case
    convolution = bind(Conv2D(1, 3, use_bias=False), TensorSpec((1, 7, 7, 1)))
    convolution.put("x", picture(image))
    convolution.put("w", picture(FILTER).reshape(3, 3, 1, 1))
    features = convolution.forward()
    assert (features == picture(feature_map)).all()
    pooling = bind(MaxPooling2D(2, strides=2, ceil_mode=True), TensorSpec(features.shape))
    pooling.put("x", features)
    maxima = pooling.forward()
    assert (maxima == picture(pooled)).all()
    flatten = bind(Flatten(), TensorSpec(maxima.shape))
    flatten.put("x", maxima)
    assert flatten.forward().tolist() == [flat]


def test_gradients_of_one_window_by_hand() -> None:
    bound = bind(Conv2D(1, 2), TensorSpec((1, 2, 2, 1)))
    bound.put("x", np.array([1, 2, 3, 4]).reshape(1, 2, 2, 1))
    bound.put("w", np.array([5, 6, 7, 8]).reshape(2, 2, 1, 1))
    bound.put("b", np.array([0.5]))
    bound.put("dy", np.array([2]).reshape(1, 1, 1, 1))
    assert bound.forward().item() == 1 * 5 + 2 * 6 + 3 * 7 + 4 * 8 + 0.5
    gradients = bound.backward()
    assert gradients["dx"].ravel().tolist() == [10, 12, 14, 16]
    assert gradients["dw"].ravel().tolist() == [2, 4, 6, 8]
    assert gradients["db"].tolist() == [2]


def test_same_padding_puts_the_surplus_zero_at_the_end() -> None:
    bound = bind(Conv2D(1, 2, padding="same", use_bias=False), TensorSpec((1, 1, 3, 1)))
    bound.put("x", np.array([1, 2, 3]).reshape(1, 1, 3, 1))
    bound.put("w", np.array([10, 1, 0, 0]).reshape(2, 2, 1, 1))
    assert bound.forward().ravel().tolist() == [12, 23, 30]


@pytest.mark.parametrize(
    ("layer", "output"),
    [
        (Conv2D(8, 3), (4, 26, 24, 8)),
        (Conv2D(8, 3, padding="same"), (4, 28, 26, 8)),
        (Conv2D(8, 3, strides=2, padding="same"), (4, 14, 13, 8)),
        (Conv2D(8, (5, 3), strides=(2, 3)), (4, 12, 8, 8)),
        (Conv2D(8, 3, dilation_rate=2), (4, 24, 22, 8)),
    ],
    ids=str,
)
def test_the_output_has_keras_shape(layer: Conv2D, output: tuple[int, ...]) -> None:
    assert layer.infer(TensorSpec((4, 28, 26, 3))).output.shape == output


def test_a_flat_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, height, width, channels\), got \(8, 64\); add a reshape"):
        Conv2D(8, 3).infer(TensorSpec((8, 64)))


def test_a_window_larger_than_the_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(ShapeError, match=r"over 9 x 9 cells, but its input is only 8 x 10; use a smaller kernel_size"):
        Conv2D(8, 5, dilation_rate=2).infer(TensorSpec((1, 8, 10, 3)))


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match="conv2d cannot split 3 channels and 8 filters into 2 equal groups"):
        Conv2D(8, 3, groups=2).infer(TensorSpec((1, 8, 10, 3)))


def test_a_group_of_filters_sees_only_its_channels() -> None:
    bound = bind(Conv2D(2, 1, groups=2, use_bias=False), TensorSpec((1, 1, 1, 4)))
    bound.put("x", np.array([1, 2, 3, 4]).reshape(1, 1, 1, 4))
    bound.put("w", np.array([[10, 20], [1, 2]]).reshape(1, 1, 2, 2))
    assert bound.forward().ravel().tolist() == [1 * 10 + 2 * 1, 3 * 20 + 4 * 2]


def test_the_fans_count_the_window() -> None:
    param = Conv2D(8, (3, 5)).infer(TensorSpec((1, 9, 9, 4))).params["w"]
    assert (param.spec.shape, param.fan_in, param.fan_out) == ((3, 5, 4, 8), 60, 120)


@pytest.mark.peers
@pytest.mark.parametrize("example", [*Conv2D.examples(), *LARGE], ids=lambda e: f"{e.operator} of {e.x.shape}")
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind(example.operator, example.x)
    assert isinstance(layer, Conv2D)
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), dtype=torch.float64, requires_grad=True)
    w = torch.tensor(bound.host("w").transpose(3, 2, 0, 1), dtype=torch.float64, requires_grad=True)
    b = torch.tensor(bound.host("b"), dtype=torch.float64, requires_grad=True) if layer.use_bias else None
    high, wide = layer._windows(example.x)
    padded = torch.nn.functional.pad(x, (wide.before, wide.after, high.before, high.after))
    y = torch.nn.functional.conv2d(padded, w, b, both(layer.strides), 0, both(layer.dilation_rate), layer.groups)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2), dtype=torch.float64))
    peers = {"y": y.detach().permute(0, 2, 3, 1), "dx": x.grad.permute(0, 2, 3, 1), "dw": w.grad.permute(2, 3, 1, 0)}
    if b is not None:
        peers["db"] = b.grad
    ours = {"y": bound.forward(), **bound.backward()}
    assert set(ours) == set(peers)
    for name, peer in peers.items():
        assert np.abs(ours[name] - peer.numpy()).max() <= 1e-5 * np.abs(peer.numpy()).max(), name
