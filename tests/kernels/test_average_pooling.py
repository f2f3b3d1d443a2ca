"""Average pooling: hand-computed means and shares, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.average_pooling import AveragePooling2D
from kernels.tensor import TensorSpec, both
from tests.kernels.harness import Bound, bind, bind_example


def pooled(layer: AveragePooling2D, rows: list[list[float]]) -> Bound:
    """One image of one channel, bound."""
    image = np.array(rows, float)
    bound = bind(layer, TensorSpec((1, *image.shape, 1)))
    bound.put("x", image[None, :, :, None])
    return bound


def test_each_window_gives_its_mean_and_shares_its_gradient() -> None:
    bound = pooled(AveragePooling2D(), [[1, 2, 5, 3], [4, 1, -1, -3]])
    assert bound.forward().ravel().tolist() == [2, 1]
    bound.put("dy", np.array([4, 8]).reshape(1, 1, 2, 1))
    assert bound.backward()["dx"].ravel().tolist() == [1, 1, 2, 2, 1, 1, 2, 2]


def test_padding_is_not_counted() -> None:
    bound = pooled(AveragePooling2D((1, 2), padding="same"), [[1, 3, 5]])
    assert bound.forward().ravel().tolist() == [2, 5]
    bound.put("dy", np.array([2, 3]).reshape(1, 1, 2, 1))
    assert bound.backward()["dx"].ravel().tolist() == [1, 1, 3]


def test_a_window_that_hangs_over_the_edge_counts_only_real_cells() -> None:
    bound = pooled(AveragePooling2D(ceil_mode=True), [[1, 3, 5], [1, 3, 7]])
    assert bound.forward().ravel().tolist() == [2, 6]


def test_overlapping_windows_add_up() -> None:
    bound = pooled(AveragePooling2D((1, 2), strides=1), [[0, 2, 4]])
    assert bound.forward().ravel().tolist() == [1, 3]
    bound.put("dy", np.array([2, 4]).reshape(1, 1, 2, 1))
    assert bound.backward()["dx"].ravel().tolist() == [1, 3, 2]


def test_a_window_larger_than_the_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(ShapeError, match="average_pooling2d looks at 3 x 3 cells, but its input is only 2 x 5"):
        AveragePooling2D(3).infer(TensorSpec((1, 2, 5, 1)))


@pytest.mark.peers
@pytest.mark.parametrize(
    "example",
    [e for e in AveragePooling2D.examples() if "same" not in repr(e.operator)],
    ids=lambda e: f"{e.operator} of {e.x.shape}",
)
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind_example(example)
    assert isinstance(layer, AveragePooling2D)
    size, strides = both(layer.pool_size), both(layer.strides or layer.pool_size)
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.functional.avg_pool2d(x, size, strides, ceil_mode=layer.ceil_mode, count_include_pad=False)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2)))
    assert np.allclose(bound.forward(), y.detach().permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert np.allclose(bound.backward()["dx"], x.grad.permute(0, 2, 3, 1).numpy(), atol=1e-6)
