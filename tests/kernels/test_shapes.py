"""Layers that move numbers or look at windows of a sequence: reshape, zero padding, cropping, pooling along time."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import ShapeError
from kernels.ops.cropping1d import Cropping1D
from kernels.ops.pooling1d import AveragePooling1D, MaxPooling1D
from kernels.ops.reshape import Reshape
from kernels.ops.zero_padding2d import ZeroPadding2D
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind


def test_reshape_keeps_the_order_in_memory() -> None:
    bound = bind(Reshape((2, -1)), TensorSpec((1, 6)))
    bound.put("x", np.arange(6)[None])
    assert bound.forward().tolist() == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize("target", [(4, 2), (-1, 5), (-1, -1), (0, 12), (3, 0, -1)], ids=str)
def test_reshape_refuses_what_does_not_come_out_even(target: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"of the 12 numbers of each row \(3, 4\); choose lengths whose product is 12"):
        Reshape(target).infer(TensorSpec((7, 3, 4)))


def test_zeros_surround_the_image_and_its_gradient_is_what_lies_beneath() -> None:
    bound = bind(ZeroPadding2D(((1, 0), (0, 2))), TensorSpec((1, 1, 2, 1)))
    bound.put("x", np.array([7, 8]).reshape(1, 1, 2, 1))
    assert bound.forward()[0, :, :, 0].tolist() == [[0, 0, 0, 0], [7, 8, 0, 0]]
    bound.put("dy", np.arange(8).reshape(1, 2, 4, 1))
    assert bound.backward()["dx"].ravel().tolist() == [4, 5]


@pytest.mark.parametrize(
    ("padding", "shape"), [(1, (5, 6)), ((1, 2), (5, 8)), (((1, 2), (3, 4)), (6, 11))], ids=["one", "two", "four"]
)
def test_padding_is_given_once_for_each_axis_or_for_each_side(padding: int, shape: tuple[int, int]) -> None:
    assert ZeroPadding2D(padding).infer(TensorSpec((2, 3, 4, 5))).output.shape == (2, *shape, 5)


def test_cropping_leaves_the_middle_and_what_was_cut_off_gets_no_gradient() -> None:
    bound = bind(Cropping1D((2, 1)), TensorSpec((1, 4, 2)))
    bound.put("x", np.arange(8).reshape(1, 4, 2))
    bound.put("dy", np.array([[[10, 20]]]))
    assert bound.forward().tolist() == [[[4, 5]]]
    assert bound.backward()["dx"].ravel().tolist() == [0, 0, 0, 0, 10, 20, 0, 0]


@pytest.mark.parametrize("cropping", [2, (4, 0), (1, 9)], ids=str)
def test_cropping_leaves_at_least_one_step(cropping: int) -> None:
    with pytest.raises(ShapeError, match="steps off 4; leave at least one"):
        Cropping1D(cropping).infer(TensorSpec((1, 4, 2)))


def test_each_stretch_gives_its_maximum_and_the_first_of_equals_its_gradient() -> None:
    bound = bind(MaxPooling1D(), TensorSpec((1, 4, 1)))
    bound.put("x", np.array([1, 5, 3, 3]).reshape(1, 4, 1))
    bound.put("dy", np.array([10, 20]).reshape(1, 2, 1))
    assert bound.forward().ravel().tolist() == [5, 3]
    assert bound.backward()["dx"].ravel().tolist() == [0, 10, 20, 0]


def test_each_stretch_gives_its_mean_and_shares_its_gradient() -> None:
    bound = bind(AveragePooling1D(2, strides=1), TensorSpec((1, 3, 1)))
    bound.put("x", np.array([0, 2, 4]).reshape(1, 3, 1))
    bound.put("dy", np.array([2, 4]).reshape(1, 2, 1))
    assert bound.forward().ravel().tolist() == [1, 3]
    assert bound.backward()["dx"].ravel().tolist() == [1, 3, 2]


@pytest.mark.parametrize("layer", [MaxPooling1D(9), AveragePooling1D(9)], ids=lambda layer: layer.type)
def test_a_window_longer_than_the_sequence_is_refused(layer: MaxPooling1D | AveragePooling1D) -> None:
    with pytest.raises(ShapeError, match=f"{layer.type} looks at 9 steps, but its input has only 8"):
        layer.infer(TensorSpec((1, 8, 3)))
    with pytest.raises(ShapeError, match=r"expects \(batch, time, features\)"):
        layer.infer(TensorSpec((8, 64)))
