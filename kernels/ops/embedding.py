"""Embedding: every token is looked up as a row of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Grid, Launch, cuda, each, pair
from kernels.operator import Example, Frame, Operator, Param, ShapeError, Signature
from kernels.tensor import TensorSpec

UNKNOWN = np.float32(np.nan)
WARP, ROWS, EVERYONE = 32, 4, 0xFFFFFFFF
"""On CUDA a warp owns a row of the gradient; four make a block."""


@each
def look_up(i: int, j: int, x: Any, w: Any, y: Any, rows: int, features: int) -> None:
    """y[i] = w[token i], or NaN where there is no such row: the loss shows it, and no memory is read beyond w."""
    token = x[i]
    y[i * features + j] = w[token * features + j] if 0 <= token < rows else UNKNOWN


def sum_rows(begin: int, end: int, scratch: Any, x: Any, dy: Any, dw: Any, tokens: int, features: int) -> None:
    """The CPU twin of dw: rows begin..end-1, each the sum of dy wherever its token stands, in the order of x."""
    for k in range(begin * features, end * features):
        dw[k] = 0
    for i in range(tokens):
        token = x[i]
        if begin <= token < end:
            for j in range(features):
                dw[token * features + j] += dy[i * features + j]


def sum_rows_grid(items: int, tokens: int, features: int) -> Grid:
    """The CUDA twin: a warp looks through all tokens, 32 at a time, and adds what belongs to its row, in order."""

    def kernel(x: Any, dy: Any, dw: Any) -> None:
        lane = np.int32(np.int32(cuda.threadIdx.x) % WARP)
        row = np.int32(np.int32(cuda.blockIdx.x) * ROWS + np.int32(cuda.threadIdx.x) // WARP)
        if row < items:
            for j in range(lane, features, WARP):
                dw[np.int32(row * features + j)] = np.float32(0)
            for first in range(0, tokens, WARP):
                place, token = np.int32(first + lane), np.int32(-1)
                if place < tokens:
                    token = x[place]
                found = np.uint32(cuda.ballot_sync(EVERYONE, token == row))
                bit = np.int32(0)
                while found != np.uint32(0):
                    if found & np.uint32(1):
                        for j in range(lane, features, WARP):
                            dw[np.int32(row * features + j)] += dy[np.int32((first + bit) * features + j)]
                    found = np.uint32(found >> np.uint32(1))
                    bit = np.int32(bit + 1)

    return Grid(kernel, (-(-items // ROWS), 1, 1), WARP * ROWS)


summed = pair(sum_rows, sum_rows_grid, name="embedding.sum_rows")


@final
@dataclass(frozen=True)
class Embedding(Operator):
    """Tokens to vectors: y[n, t] = w[x[n, t]], a table that is learned.

    x (n, t) int32, w (input_dim, output_dim), y (n, t, output_dim). A token below 0 or from input_dim on has no row:
    its y is NaN, so that training stops as diverged instead of learning nonsense. dw[v] = Σ dy[n, t] over all places
    where v stands, added in the order of the batch.
    """

    type: ClassVar[str] = "embedding"
    aliases: ClassVar[tuple[str, ...]] = ("Embedding",)

    input_dim: Annotated[int, Ge(1)]
    output_dim: Annotated[int, Ge(1)]
    embeddings_initializer: str = "random_uniform"

    def infer(self, x: TensorSpec) -> Signature:
        """(n, t) → (n, t, output_dim)."""
        if x.dtype != "int32" or len(x.shape) < 2:
            raise ShapeError(
                f"embedding expects whole numbers (batch, time), got {x.dtype} {x.shape}; make it the first layer "
                f"of a network over tokens"
            )
        w = Param(TensorSpec((self.input_dim, self.output_dim)), self.embeddings_initializer, 1, self.output_dim)
        return Signature(TensorSpec((*x.shape, self.output_dim)), {"w": w})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per token and feature."""
        yield look_up.over((f.x.size, self.output_dim), f.x, f.w, f.y, self.input_dim, self.output_dim)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of the table."""
        work = self.output_dim + f.x.size * (self.output_dim + 1) // self.input_dim
        yield summed.over(self.input_dim, f.x, f.dy, f.dw, f.x.size, self.output_dim, work=work)

    @classmethod
    def examples(cls) -> list[Example]:
        """One feature, more features than a warp has lanes, more tokens than it sees at once, a single token."""
        cases = [
            (cls(5, 3), (2, 4)),
            (cls(7, 1, embeddings_initializer="glorot_normal"), (3, 2)),
            (cls(6, 35), (4, 10)),
            (cls(5, 2), (1, 1)),
        ]
        return [Example(layer, TensorSpec(shape, "int32")) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are only moved."""
        return 0
