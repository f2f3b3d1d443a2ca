"""Layers with several inputs: sums, products and joins by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.operator import Operator, ShapeError
from kernels.ops.concatenate import Concatenate
from kernels.ops.merging import Add, Multiply, Subtract
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind


def merged(layer: Operator, *inputs: list[list[float]]) -> Bound:
    """A layer over these inputs."""
    arrays = [np.array(x, float) for x in inputs]
    bound = bind(layer, [TensorSpec(x.shape) for x in arrays])
    for number, x in enumerate(arrays):
        bound.put(f"x{number}", x)
    return bound


def test_a_sum_gives_every_input_the_whole_gradient() -> None:
    bound = merged(Add(), [[1, 2]], [[10, 20]], [[100, 200]])
    assert bound.forward().tolist() == [[111, 222]]
    bound.put("dy", np.array([[3, 4]]))
    assert {name: dx.tolist() for name, dx in bound.backward().items()} == {f"dx{k}": [[3, 4]] for k in range(3)}


def test_a_difference_turns_the_sign_of_the_second_gradient() -> None:
    bound = merged(Subtract(), [[1, 2]], [[10, 5]])
    assert bound.forward().tolist() == [[-9, -3]]
    bound.put("dy", np.array([[3, 4]]))
    assert {name: dx.tolist() for name, dx in bound.backward().items()} == {"dx0": [[3, 4]], "dx1": [[-3, -4]]}


def test_a_product_gives_every_input_the_others_times_the_gradient() -> None:
    bound = merged(Multiply(), [[2, 0]], [[3, 5]], [[5, 7]])
    assert bound.forward().tolist() == [[30, 0]]
    bound.put("dy", np.array([[1, 10]]))
    assert {name: dx.tolist() for name, dx in bound.backward().items()} == {
        "dx0": [[15, 350]],
        "dx1": [[10, 0]],
        "dx2": [[6, 0]],
    }


def test_a_join_puts_inputs_side_by_side_and_cuts_the_gradient() -> None:
    bound = merged(Concatenate(), [[1, 2], [3, 4]], [[5], [6]])
    assert bound.forward().tolist() == [[1, 2, 5], [3, 4, 6]]
    bound.put("dy", np.arange(6).reshape(2, 3))
    assert {n: dx.tolist() for n, dx in bound.backward().items()} == {"dx0": [[0, 1], [3, 4]], "dx1": [[2], [5]]}


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_a_join_along_any_axis_is_numpys(axis: int) -> None:
    rng, shape = np.random.default_rng(0), [2, 3, 4, 5]
    longer = [n + 2 if k == axis % 4 else n for k, n in enumerate(shape)]
    inputs = [rng.normal(size=s).astype(np.float32) for s in (shape, longer, shape)]
    bound = bind(Concatenate(axis), [TensorSpec(x.shape) for x in inputs])
    for number, x in enumerate(inputs):
        bound.put(f"x{number}", x)
    assert bound.forward().tobytes() == np.concatenate(inputs, axis).tobytes()


def test_an_input_whose_gradient_nobody_needs_gets_none() -> None:
    bound = merged(Add(), [[1, 2]], [[3, 4]])
    bound.frame.dxs[0] = None
    assert len(tuple(Add().backward(bound.frame))) == 1


@pytest.mark.parametrize("layer", [Add(), Multiply(), Concatenate()], ids=str)
def test_one_input_is_too_few(layer: Operator) -> None:
    with pytest.raises(ShapeError, match="needs two inputs or more, got 1; name them in `inputs`"):
        layer.infer(TensorSpec((2, 3)))


def test_other_shapes_are_refused_with_all_of_them() -> None:
    with pytest.raises(ShapeError, match=r"needs inputs of one shape, got \(2, 3\), \(2, 4\)"):
        Add().infer(TensorSpec((2, 3)), TensorSpec((2, 4)))
    with pytest.raises(ShapeError, match=r"joins along axis 2, but other axes of \(2, 3, 4\), \(2, 5, 4\) differ"):
        Concatenate().infer(TensorSpec((2, 3, 4)), TensorSpec((2, 5, 4)))


@pytest.mark.parametrize("axis", [0, -2, 2, 9])
def test_rows_of_the_batch_are_never_joined(axis: int) -> None:
    with pytest.raises(ShapeError, match=f"has no axis {axis} to join"):
        Concatenate(axis).infer(TensorSpec((2, 3)), TensorSpec((2, 3)))
