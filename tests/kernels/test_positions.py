"""Positional encoding and position embedding: what is added to which position."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.initializers import initialize
from kernels.operator import Operator, ShapeError
from kernels.ops.position_embedding import PositionEmbedding
from kernels.ops.positional_encoding import PositionalEncoding
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind


def test_the_waves_of_vaswani_are_added() -> None:
    spec = TensorSpec((2, 3, 4))
    param = PositionalEncoding().infer(spec).state["table"]
    bound = bind(PositionalEncoding(), spec)
    bound.put("table", initialize(param.initializer, param.spec.shape, 1, 1, 1, 1))
    bound.put("x", np.full(spec.shape, 5))
    expected = [[5 + w for w in (math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100))] for t in range(3)]
    assert np.allclose(bound.forward(), [expected, expected], atol=1e-6)
    assert (bound.backward()["dx"] == bound.host("dy")).all()


def test_the_encoding_learns_nothing() -> None:
    assert PositionalEncoding().infer(TensorSpec((2, 3, 4))).params == {}


def test_every_position_learns_a_vector_from_the_whole_batch() -> None:
    bound = bind(PositionEmbedding(), TensorSpec((2, 2, 2)))
    bound.put("x", np.arange(8).reshape(2, 2, 2))
    bound.put("w", np.array([[10, 20], [30, 40]]))
    bound.put("dy", np.array([[[1, 2], [3, 4]], [[10, 20], [30, 40]]]))
    assert bound.forward().tolist() == [[[10, 21], [32, 43]], [[14, 25], [36, 47]]]
    gradients = bound.backward()
    assert gradients["dw"].tolist() == [[11, 22], [33, 44]]
    assert (gradients["dx"] == bound.host("dy")).all()


@pytest.mark.parametrize("layer", [PositionalEncoding(), PositionEmbedding()], ids=str)
def test_an_input_without_time_is_refused_with_the_remedy(layer: Operator) -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, time, features\), got \(8, 64\); give it a sequence"):
        layer.infer(TensorSpec((8, 64)))
