"""Max pooling: hand-computed maxima and gradients, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.max_pooling import MaxPooling2D
from kernels.tensor import TensorSpec, both
from tests.kernels.harness import Bound, bind, bind_example


def pooled(layer: MaxPooling2D, rows: list[list[float]]) -> Bound:
    """One image of one channel, bound."""
    image = np.array(rows, float)
    bound = bind(layer, TensorSpec((1, *image.shape, 1)))
    bound.put("x", image[None, :, :, None])
    return bound


def test_each_window_gives_its_largest_value_and_sends_the_gradient_back_to_it() -> None:
    bound = pooled(MaxPooling2D(), [[1, 2, 5, 3], [4, 0, -1, -2]])
    assert bound.forward().ravel().tolist() == [4, 5]
    bound.put("dy", np.array([10, 20]).reshape(1, 1, 2, 1))
    assert bound.backward()["dx"].ravel().tolist() == [0, 0, 20, 0, 10, 0, 0, 0]


def test_a_value_that_wins_two_windows_gets_both_gradients() -> None:
    bound = pooled(MaxPooling2D((1, 2), strides=1), [[1, 9, 2]])
    bound.put("dy", np.array([3, 4]).reshape(1, 1, 2, 1))
    assert bound.forward().ravel().tolist() == [9, 9]
    assert bound.backward()["dx"].ravel().tolist() == [0, 7, 0]


def test_of_equal_values_the_first_gets_the_gradient() -> None:
    bound = pooled(MaxPooling2D(), [[7, 7], [7, 7]])
    bound.put("dy", np.ones((1, 1, 1, 1)))
    bound.forward()
    assert bound.backward()["dx"].ravel().tolist() == [1, 0, 0, 0]


def test_a_value_that_is_not_a_number_is_not_hidden() -> None:
    assert np.isnan(pooled(MaxPooling2D(), [[7, np.nan], [8, 9]]).forward()).all()
    assert np.isnan(pooled(MaxPooling2D(), [[np.nan, 1], [8, 9]]).forward()).all()


def test_same_padding_never_wins_over_negative_values() -> None:
    bound = pooled(MaxPooling2D(2, padding="same"), [[-5, -3, -4]])
    assert bound.forward().ravel().tolist() == [-3, -4]


def test_ceil_mode_keeps_what_hangs_over_the_edge() -> None:
    assert pooled(MaxPooling2D(), [[1, 2, 3]] * 2).forward().ravel().tolist() == [2]
    assert pooled(MaxPooling2D(ceil_mode=True), [[1, 2, 3]] * 2).forward().ravel().tolist() == [2, 3]


def test_no_window_lies_wholly_beyond_the_edge() -> None:
    assert MaxPooling2D(1, strides=3, ceil_mode=True).infer(TensorSpec((1, 3, 4, 1))).output.shape == (1, 1, 2, 1)


def test_a_window_larger_than_the_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(
        ShapeError, match="max_pooling2d looks at 3 x 3 cells, but its input is only 2 x 5; use a smaller"
    ):
        MaxPooling2D(3).infer(TensorSpec((1, 2, 5, 1)))


def test_a_flat_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(ShapeError, match=r"got \(8, 64\); add a reshape layer"):
        MaxPooling2D().infer(TensorSpec((8, 64)))


@pytest.mark.peers
@pytest.mark.parametrize("example", MaxPooling2D.examples(), ids=lambda e: f"{e.operator} of {e.x.shape}")
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind_example(example)
    assert isinstance(layer, MaxPooling2D)
    size, strides = both(layer.pool_size), both(layer.strides or layer.pool_size)
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), requires_grad=True)
    if layer.padding == "same":
        missing = [
            max(0, (-(-n // t) - 1) * t + r - n) for n, r, t in zip(example.x.shape[1:3], size, strides, strict=True)
        ]
        sides = (missing[1] // 2, missing[1] - missing[1] // 2, missing[0] // 2, missing[0] - missing[0] // 2)
        padded = torch.nn.functional.pad(x, sides, value=-torch.inf)
    else:
        padded = x
    y = torch.nn.functional.max_pool2d(padded, size, strides, ceil_mode=layer.ceil_mode)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2)))
    assert (bound.forward() == y.detach().permute(0, 2, 3, 1).numpy()).all()
    assert np.allclose(bound.backward()["dx"], x.grad.permute(0, 2, 3, 1).numpy(), atol=1e-6)
