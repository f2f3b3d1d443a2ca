"""The course's own example, a 7×7 picture through convolution, max pooling and flattening, on both backends.

The course prints the second row of the picture in two ways; both are followed to the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.backend import Backend, CpuBackend
from kernels.operator import Operator
from kernels.ops.conv2d import Conv2D
from kernels.ops.flatten import Flatten
from kernels.ops.max_pooling import MaxPooling2D
from kernels.simulator import SimulatedBackend
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind

FILTER = "001 100 011"
FIRST = (
    "0000000 0100010 0000000 0001000 0100010 0011100 0000000",
    "01000 01110 10021 14210 00121",
    "110 421 021",
)
SECOND = (
    "0000000 0010100 0000000 0001000 0100010 0011100 0000000",
    "00101 11200 10021 14210 00121",
    "121 421 021",
)


def matrix(digits: str) -> np.ndarray[Any, Any]:
    """Rows of digits as numbers."""
    return np.array([[float(digit) for digit in row] for row in digits.split()], np.float32)


def through(operator: Operator, x: np.ndarray[Any, Any], backend: Backend, **params: Any) -> np.ndarray[Any, Any]:
    """The operator's output for one input."""
    bound = bind(operator, TensorSpec(x.shape), backend)
    bound.put("x", x)
    for name, values in params.items():
        bound.put(name, values)
    return bound.forward()


@pytest.mark.parametrize("backend", [CpuBackend(), SimulatedBackend()], ids=["cpu", "simulated"])
@pytest.mark.parametrize(("picture", "features", "pooled"), [FIRST, SECOND], ids=["as drawn", "as printed"])
def test_the_courses_example_comes_out_as_in_the_course(
    picture: str, features: str, pooled: str, backend: Backend
) -> None:
    x, w = matrix(picture).reshape(1, 7, 7, 1), matrix(FILTER).reshape(3, 3, 1, 1)
    maps = through(Conv2D(filters=1, kernel_size=3), x, backend, w=w, b=np.zeros(1, np.float32))
    np.testing.assert_array_equal(maps[0, :, :, 0], matrix(features))
    largest = through(MaxPooling2D(pool_size=2, ceil_mode=True), maps, backend)
    np.testing.assert_array_equal(largest[0, :, :, 0], matrix(pooled))
    flat = through(Flatten(), largest, backend)
    np.testing.assert_array_equal(flat, matrix(pooled).reshape(1, 9))


def test_the_flattened_vector_is_the_one_in_the_course() -> None:
    assert matrix(FIRST[2]).ravel().tolist() == [1, 1, 0, 4, 2, 1, 0, 2, 1]
