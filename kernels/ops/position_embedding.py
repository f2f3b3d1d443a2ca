"""Position embedding: adds a learned vector to every position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.reduce import column_sums
from kernels.tensor import TensorSpec


@each
def add_position(i: int, j: int, x: Any, w: Any, y: Any, size: int) -> None:
    """y = x + w, the same for every row of the batch."""
    y[i * size + j] = x[i * size + j] + w[j]


@each
def copy(i: int, x: Any, y: Any) -> None:
    """y = x."""
    y[i] = x[i]


@final
@dataclass(frozen=True)
class PositionEmbedding(Operator):
    """Adds a learned vector to every position (Gehring et al. 2017): y[n, t] = x[n, t] + w[t].

    x and y (n, t, features), w (t, features). dx = dy, dw = Σ_n dy[n]. KerasHub's `PositionEmbedding`, added to its
    input.
    """

    type: ClassVar[str] = "position_embedding"
    aliases: ClassVar[tuple[str, ...]] = ("PositionEmbedding",)

    initializer: str = "glorot_uniform"

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"position_embedding expects (batch, time, features), got {x.shape}; give it a sequence: an "
                f"embedding or a reshape layer before it"
            )
        return Signature(x, {"w": Param(TensorSpec(x.shape[1:]), self.initializer, x.shape[1], x.shape[2])})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per element."""
        yield add_position.over((f.x.shape[0], f.w.size), f.x, f.w, f.y, f.w.size)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy; dw is the sum over the batch."""
        if f.dx is not None:
            yield copy.over(f.dx.size, f.dy, f.dx)
        yield column_sums(f.dy, f.dw, f.x.shape[0], f.w.size)

    @classmethod
    def examples(cls) -> list[Example]:
        """Several positions and a single one."""
        return [
            Example(cls(), TensorSpec((3, 5, 4))),
            Example(cls(initializer="random_uniform"), TensorSpec((2, 1, 7))),
        ]

    def flops(self, x: TensorSpec) -> int:
        """An addition per element."""
        return x.size
