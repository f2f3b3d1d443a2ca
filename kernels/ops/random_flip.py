"""RandomFlip: while training, half of the images are mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from kernels.columns import copy
from kernels.conv_grid import quotient
from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.philox import key, philox
from kernels.tensor import TensorSpec

LAST_BIT = np.uint64(1)


@each
def toss(i: int, clock: Any, turned: Any, stream: int, k0: int, k1: int, across: int, upright: int) -> None:
    """Image i: a coin for left and right, and one for top and bottom, where the mode turns these."""
    a, b, _, _ = philox(i, clock[0], stream, 0, k0, k1)
    turned[2 * i] = np.int32(a & LAST_BIT) * upright
    turned[2 * i + 1] = np.int32(b & LAST_BIT) * across


@each
def mirror(i: int, j: int, x: Any, y: Any, turned: Any, h: int, w: int, c: int) -> None:
    """Element j of row i: x, or the element on the other side."""
    image, column = quotient(i, h), quotient(j, c)
    row = i - image * h
    of = h - 1 - row if turned[2 * image] else row
    at = w - 1 - column if turned[2 * image + 1] else column
    y[i * w * c + j] = x[((image * h + of) * w + at) * c + j - column * c]


@final
@dataclass(frozen=True)
class RandomFlip(Operator):
    """While training, a coin decides for every image whether it is mirrored: y[n,i,j,c] = x[n,i,w−1−j,c], or x.

    x and y (n, h, w, c). `mode`: left to right (horizontal), top to bottom (vertical), or a coin for each. The network
    so learns from images that were never taken, and none is mirrored when it is used. The coins follow from (seed,
    layer, step, image). dx is dy, mirrored alike.
    """

    type: ClassVar[str] = "random_flip"
    aliases: ClassVar[tuple[str, ...]] = ("RandomFlip",)

    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical"

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays; two coins are kept for every image."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"random_flip expects (batch, height, width, channels), got {x.shape}; add a reshape layer before it"
            )
        return Signature(output=x, saved={"turned": TensorSpec((x.shape[0], 2), "int32")})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per image, then one per row."""
        if not training:
            yield copy.over(f.x.size, f.x, f.y)
            return
        across, upright = int("horizontal" in self.mode), int("vertical" in self.mode)
        yield toss.over(f.x.shape[0], f.clock, f.turned, f.stream, *key(f.seed), across, upright, work=120)
        yield self._mirrored(f, f.x, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """A mirror undoes itself."""
        if f.dx is not None:
            yield self._mirrored(f, f.dy, f.dx)

    def _mirrored(self, f: Frame, source: Any, target: Any) -> Launch:
        n, h, w, c = map(int, f.x.shape)
        return mirror.over((n * h, w * c), source, target, f.turned, h, w, c, work=4)

    @classmethod
    def examples(cls) -> list[Example]:
        """Every mode."""
        cases = (("horizontal_and_vertical", (5, 3, 4, 2)), ("horizontal", (3, 2, 5, 3)), ("vertical", (4, 4, 1, 1)))
        return [Example(cls(mode), TensorSpec(shape)) for mode, shape in cases]  # type: ignore[arg-type]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0
