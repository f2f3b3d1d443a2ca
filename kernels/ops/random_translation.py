"""RandomTranslation: while training, every image is moved a little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge, Le

from kernels.columns import copy
from kernels.conv_grid import quotient
from kernels.launch import Launch, device, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.philox import key, philox
from kernels.tensor import TensorSpec

Share = Annotated[float, Ge(0), Le(1)]
FILLS = {"constant": 0, "reflect": 1, "wrap": 2}
REFLECT, WRAP = FILLS["reflect"], FILLS["wrap"]
HALF_WORD = np.uint64(32)
ZERO = np.float32(0)


@device
def within(word: Any, most: int) -> Any:
    """A random word as a whole number from −most to most, each as likely."""
    return np.int32((word * np.uint64(2 * most + 1)) >> HALF_WORD) - most


@each
def wander(i: int, clock: Any, moved: Any, stream: int, k0: int, k1: int, down: int, right: int) -> None:
    """Image i: how many rows and columns it moves."""
    a, b, _, _ = philox(i, clock[0], stream, 0, k0, k1)
    moved[2 * i], moved[2 * i + 1] = within(a, down), within(b, right)


@device
def origin(place: int, length: int, fill: int) -> Any:
    """The place of x that is seen at `place`, up to a length beyond either edge; −1 where nothing is."""
    if 0 <= place < length:
        return place
    if fill == REFLECT:
        return -1 - place if place < 0 else 2 * length - 1 - place
    if fill == WRAP:
        return place + length if place < 0 else place - length
    return -1


@device
def copies(k: int, place: int, moved: int, length: int, fill: int) -> Any:
    """Where element `place` of x went: itself (k = 0), and what lies beyond the lower (1) and the upper (2) edge; −1
    where it is not to be seen."""
    at = place + moved
    if k > 0:
        if fill == REFLECT:
            at = moved - 1 - place if k == 1 else 2 * length - 1 - place + moved
        elif fill == WRAP:
            at += -length if k == 1 else length
        else:
            at = -1
    return at if 0 <= at < length else -1


@each
def shift(i: int, j: int, x: Any, y: Any, moved: Any, h: int, w: int, c: int, fill: int, value: Any) -> None:
    """Element j of row i: what has come there."""
    image, column = quotient(i, h), quotient(j, c)
    row = origin(i - image * h - moved[2 * image], h, fill)
    of = origin(column - moved[2 * image + 1], w, fill)
    y[i * w * c + j] = x[((image * h + row) * w + of) * c + j - column * c] if row >= 0 and of >= 0 else value


@each
def gather(i: int, j: int, dy: Any, dx: Any, moved: Any, h: int, w: int, c: int, fill: int) -> None:
    """Element j of row i: the gradient of all its copies."""
    image, column = quotient(i, h), quotient(j, c)
    total = dy[0] * ZERO
    for k in range(3):
        row = copies(k, i - image * h, moved[2 * image], h, fill)
        for m in range(3):
            at = copies(m, column, moved[2 * image + 1], w, fill)
            if row >= 0 and at >= 0:
                total += dy[((image * h + row) * w + at) * c + j - column * c]
    dx[i * w * c + j] = total


@final
@dataclass(frozen=True)
class RandomTranslation(Operator):
    """While training, every image is moved by its own whole number of cells: y[n,i,j,c] = x[n,i−down,j−right,c].

    x and y (n, h, w, c). `down` is any number from −height_factor·h to height_factor·h, each as likely, and `right`
    likewise of the width. What comes in over the edge is the image mirrored (reflect: d c b a | a b c d | d c b a), its
    other side (wrap), or `fill_value` (constant). Nothing moves when the network is used. The numbers follow from
    (seed, layer, step, image); Keras's layer also moves by parts of a cell. Each dx gathers dy of its copies.
    """

    type: ClassVar[str] = "random_translation"
    aliases: ClassVar[tuple[str, ...]] = ("RandomTranslation",)

    height_factor: Share
    width_factor: Share
    fill_mode: Literal["constant", "reflect", "wrap"] = "reflect"
    fill_value: float = 0.0

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays; two numbers are kept for every image."""
        if len(x.shape) != 4:
            raise ShapeError(
                f"random_translation expects (batch, height, width, channels), got {x.shape}; "
                "add a reshape layer before it"
            )
        return Signature(output=x, saved={"moved": TensorSpec((x.shape[0], 2), "int32")})

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per image, then one per row."""
        if not training:
            yield copy.over(f.x.size, f.x, f.y)
            return
        n, h, w, c = map(int, f.x.shape)
        most = round(self.height_factor * h), round(self.width_factor * w)
        yield wander.over(n, f.clock, f.moved, f.stream, *key(f.seed), *most, work=120)
        fill = FILLS[self.fill_mode]
        yield shift.over((n * h, w * c), f.x, f.y, f.moved, h, w, c, fill, float(self.fill_value), work=8)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """One item per row of inputs."""
        n, h, w, c = map(int, f.x.shape)
        if f.dx is not None:
            yield gather.over((n * h, w * c), f.dy, f.dx, f.moved, h, w, c, FILLS[self.fill_mode], work=40)

    @classmethod
    def examples(cls) -> list[Example]:
        """Every way to fill, no move along an axis, and moves as far as the image is wide."""
        cases = (
            (cls(0.5, 0.4), (5, 4, 5, 2)),
            (cls(1.0, 1.0), (4, 2, 3, 1)),
            (cls(0.0, 1.0, "wrap"), (4, 3, 4, 3)),
            (cls(0.7, 0.3, "constant", 0.5), (5, 3, 4, 1)),
        )
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """None: numbers are copied."""
        return 0
