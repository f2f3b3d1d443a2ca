"""Flatten: each row of the batch becomes one vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, Signature
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class Flatten(Operator):
    """Each row becomes one vector: (n, h, w, c) → (n, h·w·c), in memory order. y[i, (h·W + w)·C + c] = x[i, h, w, c].

    No number moves: y is another view of x, and dx another view of dy.
    """

    type: ClassVar[str] = "flatten"
    aliases: ClassVar[tuple[str, ...]] = ("Flatten",)
    reshapes: ClassVar[bool] = True

    def infer(self, x: TensorSpec) -> Signature:
        """(n, …) → (n, features)."""
        return Signature(output=x.with_shape(x.shape[0], x.features))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Nothing to do: y views x."""
        return iter(())

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Nothing to do: dx views dy."""
        return iter(())

    @classmethod
    def examples(cls) -> list[Example]:
        """An image, a vector, and a single number per row."""
        return [Example(cls(), TensorSpec(shape)) for shape in ((2, 3, 4, 5), (3, 7), (4,))]

    def flops(self, x: TensorSpec) -> int:
        """None."""
        return 0
