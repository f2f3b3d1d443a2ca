"""Positional encoding: adds waves by which a network can tell positions apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.tensor import TensorSpec


@each
def add_table(i: int, j: int, x: Any, table: Any, y: Any, size: int) -> None:
    """y = x + table, the same for every row of the batch."""
    y[i * size + j] = x[i * size + j] + table[j]


@each
def copy(i: int, x: Any, y: Any) -> None:
    """y = x."""
    y[i] = x[i]


@final
@dataclass(frozen=True)
class PositionalEncoding(Operator):
    """Adds a wave of its own to every feature (Vaswani et al. 2017): y[n, t, k] = x[n, t, k] + table[t, k].

    table[t, 2i] = sin(t / 10000^(2i/features)), table[t, 2i + 1] = the cosine. x and y (n, t, features). Nothing is
    learned: dx = dy; the table is kept with the model. With few features, or where the input is of another size
    than ±1, scale the input or learn the positions (position_embedding).
    """

    type: ClassVar[str] = "positional_encoding"
    aliases: ClassVar[tuple[str, ...]] = ("PositionalEncoding", "SinePositionEncoding")

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        if len(x.shape) != 3:
            raise ShapeError(
                f"positional_encoding expects (batch, time, features), got {x.shape}; give it a sequence: an "
                f"embedding or a reshape layer before it"
            )
        return Signature(x, state={"table": Param(TensorSpec(x.shape[1:]), "sinusoidal")})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per element."""
        yield add_table.over((f.x.shape[0], f.table.size), f.x, f.table, f.y, f.table.size)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy."""
        if f.dx is not None:
            yield copy.over(f.dx.size, f.dy, f.dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """Several positions and a single one, an odd number of features."""
        return [Example(cls(), TensorSpec(shape)) for shape in ((2, 5, 4), (3, 1, 3))]

    def flops(self, x: TensorSpec) -> int:
        """An addition per element."""
        return x.size
