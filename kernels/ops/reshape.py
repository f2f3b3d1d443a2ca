"""Reshape: each row of the batch in another shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

from annotated_types import Ge, MinLen

from kernels.launch import Launch
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class Reshape(Operator):
    """Each row in another shape, in memory order: (n, …) → (n, target_shape), y.ravel() = x.ravel().

    One length may be −1: it becomes whatever is left. No number moves: y is another view of x, dx another view of dy.
    """

    type: ClassVar[str] = "reshape"
    aliases: ClassVar[tuple[str, ...]] = ("Reshape",)
    reshapes: ClassVar[bool] = True

    target_shape: Annotated[tuple[Annotated[int, Ge(-1)], ...], MinLen(1)]

    def infer(self, x: TensorSpec) -> Signature:
        """(n, …) → (n, target_shape)."""
        known = math.prod(length for length in self.target_shape if length != -1)
        free = self.target_shape.count(-1)
        fits = known > 0 and (x.features == known if free == 0 else free == 1 and x.features % known == 0)
        if not fits:
            raise ShapeError(
                f"reshape cannot make {self.target_shape} of the {x.features} numbers of each row {x.shape[1:]}; "
                f"choose lengths whose product is {x.features}, at most one of them -1"
            )
        shape = (x.features // known if length == -1 else length for length in self.target_shape)
        return Signature(output=x.with_shape(x.shape[0], *shape))

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Nothing to do: y views x."""
        return iter(())

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Nothing to do: dx views dy."""
        return iter(())

    @classmethod
    def examples(cls) -> list[Example]:
        """A vector to an image, an image to a sequence, and one length left open."""
        cases = [
            (cls((2, 3, 2)), (3, 12)),
            (cls((6, 5)), (2, 3, 2, 5)),
            (cls((-1, 4)), (2, 12)),
            (cls((-1,)), (2, 3, 4)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None."""
        return 0
