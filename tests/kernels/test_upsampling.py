"""Upsampling: repeated and blended cells by hand, and PyTorch's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Example, ShapeError
from kernels.ops.upsampling import UpSampling1D, UpSampling2D
from kernels.tensor import TensorSpec, both
from tests.kernels.harness import Bound, bind


def enlarged(layer: UpSampling2D, rows: list[list[float]]) -> Bound:
    """One image of one channel, bound."""
    image = np.array(rows, float)
    bound = bind(layer, TensorSpec((1, *image.shape, 1)))
    bound.put("x", image[None, :, :, None])
    return bound


def test_nearest_repeats_every_cell_and_sums_its_gradients() -> None:
    bound = enlarged(UpSampling2D((2, 3)), [[1, 2]])
    assert bound.forward()[0, :, :, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2
    bound.put("dy", np.arange(12).reshape(1, 2, 6, 1))
    assert bound.backward()["dx"].ravel().tolist() == [0 + 1 + 2 + 6 + 7 + 8, 3 + 4 + 5 + 9 + 10 + 11]


def test_bilinear_blends_between_the_centres_of_cells() -> None:
    bound = enlarged(UpSampling2D((1, 2), interpolation="bilinear"), [[0, 4, 8]])
    assert bound.forward().ravel().tolist() == [0, 1, 3, 5, 7, 8]
    bound.put("dy", np.array([4, 0, 0, 4, 0, 0]).reshape(1, 1, 6, 1))
    assert bound.backward()["dx"].ravel().tolist() == [4, 3, 1]


def test_a_sequence_repeats_its_steps() -> None:
    bound = bind(UpSampling1D(3), TensorSpec((1, 2, 2)))
    bound.put("x", np.array([[1, 2], [3, 4]])[None])
    assert bound.forward()[0].tolist() == [[1, 2]] * 3 + [[3, 4]] * 3
    bound.put("dy", np.arange(12).reshape(1, 6, 2))
    assert bound.backward()["dx"][0].tolist() == [[0 + 2 + 4, 1 + 3 + 5], [6 + 8 + 10, 7 + 9 + 11]]


@pytest.mark.parametrize(("layer", "shape"), [(UpSampling2D(), (3, 4, 5)), (UpSampling1D(), (3, 4))])
def test_other_inputs_are_refused_with_the_remedy(layer: UpSampling1D | UpSampling2D, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="add a reshape layer before it"):
        layer.infer(TensorSpec(shape))


@pytest.mark.peers
@pytest.mark.parametrize(
    "example",
    [*UpSampling2D.examples(), Example(UpSampling2D(2, "bilinear"), TensorSpec((3, 14, 14, 32)))],
    ids=lambda e: f"{e.operator} of {e.x.shape}",
)
def test_pytorch_computes_the_same(example: Example) -> None:
    torch = pytest.importorskip("torch")
    layer, bound = example.operator, bind(example.operator, example.x)
    assert isinstance(layer, UpSampling2D)
    x = torch.tensor(bound.host("x").transpose(0, 3, 1, 2), requires_grad=True)
    y = torch.nn.functional.interpolate(x, scale_factor=both(layer.size), mode=layer.interpolation)
    y.backward(torch.tensor(bound.host("dy").transpose(0, 3, 1, 2)))
    assert np.allclose(bound.forward(), y.detach().permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert np.allclose(bound.backward()["dx"], x.grad.permute(0, 2, 3, 1).numpy(), atol=1e-5)
