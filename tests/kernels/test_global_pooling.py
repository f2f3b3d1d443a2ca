"""Global pooling: means, maxima and their gradients by hand, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Operator, ShapeError
from kernels.ops.global_average_pooling import GlobalAveragePooling1D, GlobalAveragePooling2D
from kernels.ops.global_max_pooling import GlobalMaxPooling1D, GlobalMaxPooling2D
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind

SEQUENCE = np.array([[1, 8], [4, 2], [1, 5]])[None]
EVERY = [GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D]


def test_the_mean_over_time_shares_its_gradient() -> None:
    bound = bind(GlobalAveragePooling1D(), TensorSpec((1, 3, 2)))
    bound.put("x", SEQUENCE)
    bound.put("dy", np.array([[3, 6]]))
    assert bound.forward().tolist() == [[2, 5]]
    assert bound.backward()["dx"] == pytest.approx(np.array([[[1, 2]] * 3]))


def test_the_maximum_over_time_gives_its_gradient_to_the_first_winner() -> None:
    bound = bind(GlobalMaxPooling1D(), TensorSpec((1, 4, 2)))
    bound.put("x", np.array([[1, 8], [4, 2], [1, 8], [4, 0]])[None])
    bound.put("dy", np.array([[3, 6]]))
    assert bound.forward().tolist() == [[4, 8]]
    assert bound.backward()["dx"][0].tolist() == [[0, 6], [3, 0], [0, 0], [0, 0]]


def test_nan_wins_over_every_number() -> None:
    bound = bind(GlobalMaxPooling1D(), TensorSpec((1, 3, 1)))
    bound.put("x", np.array([1, np.nan, 5]).reshape(1, 3, 1))
    assert np.isnan(bound.forward()).all()


@pytest.mark.parametrize("layer", EVERY, ids=lambda layer: layer.type)
def test_keepdims_keeps_axes_of_one(layer: type[Operator]) -> None:
    x = TensorSpec((4, *range(2, 2 + layer.axes), 9))  # type: ignore[attr-defined]
    assert layer().infer(x).output.shape == (4, 9)
    assert layer(keepdims=True).infer(x).output.shape == (4, *(1 for _ in x.shape[1:-1]), 9)  # type: ignore[call-arg]


@pytest.mark.parametrize("layer", EVERY, ids=lambda layer: layer.type)
def test_a_flat_input_is_refused_with_the_remedy(layer: type[Operator]) -> None:
    with pytest.raises(ShapeError, match=r"got \(8, 64\); add a reshape layer before it"):
        layer().infer(TensorSpec((8, 64)))


@pytest.mark.peers
@pytest.mark.parametrize("layer", EVERY, ids=lambda layer: layer.type)
def test_pytorch_computes_the_same(layer: type[Operator]) -> None:
    torch = pytest.importorskip("torch")
    positions = (13, 11)[: layer.axes]  # type: ignore[attr-defined]
    bound = bind(layer(), TensorSpec((5, *positions, 37)), inputs="distinct")
    x = torch.tensor(bound.host("x"), requires_grad=True)
    axes = tuple(range(1, 1 + len(positions)))
    y = x.mean(axes) if "average" in layer.type else x.amax(axes)
    y.backward(torch.tensor(bound.host("dy")))
    assert np.allclose(bound.forward(), y.detach().numpy(), atol=1e-6)
    assert np.allclose(bound.backward()["dx"], x.grad.numpy(), atol=1e-6)
