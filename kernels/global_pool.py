"""What global pooling layers share: shapes, and where rows, positions and channels are."""

from __future__ import annotations

import abc
from typing import ClassVar

from kernels.operator import Example, Frame, Operator, ShapeError
from kernels.tensor import TensorSpec


class GlobalPooling(Operator):
    """What the four global poolings share: (n, positions…, c) → (n, c), or (n, 1…, c) with `keepdims`."""

    axes: ClassVar[int]
    layout: ClassVar[str]
    keepdims: bool

    def pooled(self, x: TensorSpec) -> TensorSpec:
        """The output, or ShapeError where the input has another number of axes."""
        if len(x.shape) != self.axes + 2:
            raise ShapeError(f"{self.type} expects {self.layout}, got {x.shape}; add a reshape layer before it")
        kept = (1,) * self.axes if self.keepdims else ()
        return x.with_shape(x.shape[0], *kept, x.shape[-1])

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[Example]:
        """Both forms, one position, one channel and many."""

    def flops(self, x: TensorSpec) -> int:
        """An addition or a comparison per element."""
        return x.size


def sizes(f: Frame) -> tuple[int, int, int]:
    """Rows of the batch, positions, channels."""
    n, c = int(f.x.shape[0]), int(f.x.shape[-1])
    return n, f.x.size // (n * c), c
