"""Shapes and element types of arrays, and the output arithmetic that convolution and pooling share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What an array is before it exists. The first axis is the batch; images are (n, h, w, c)."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """How many elements the array has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the array takes."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def features(self) -> int:
        """How many elements one row of the batch has."""
        return math.prod(self.shape[1:])

    def with_shape(self, *shape: int) -> TensorSpec:
        """The same element type in another shape."""
        return TensorSpec(shape, self.dtype)


@dataclass(frozen=True, slots=True)
class Window:
    """One spatial axis of a sliding window: its length in and out, and the zeros on either side.

    `before` + `after` zeros surround the axis; `extent` is the reach of the dilated window.
    """

    length: int
    output: int
    before: int
    after: int
    extent: int


def window(length: int, size: int, stride: int, dilation: int, padding: str, ceil: bool = False) -> Window:
    """Slide a window of `size` taps over `length` positions.

    `same` gives ceil(length / stride) outputs, surplus padding at the end, as Keras does; `valid` gives
    floor((length - extent) / stride) + 1, or ceil of it where the last window may hang over the edge.
    The output is 0 or less where the window does not fit; the caller says so in its own words.
    """
    extent = (size - 1) * dilation + 1
    if padding == "same":
        output = -(-length // stride)
        total = max(0, (output - 1) * stride + extent - length)
        return Window(length, output, total // 2, total - total // 2, extent)
    span = length - extent
    output = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (output - 1) * stride >= length:
        output -= 1  # the last window would hang wholly over the edge
    hanging = max(0, (output - 1) * stride + extent - length)
    return Window(length, output, 0, hanging, extent)


def both(size: int | tuple[int, int]) -> tuple[int, int]:
    """One number for both spatial axes, or a number for each."""
    return size if isinstance(size, tuple) else (size, size)
