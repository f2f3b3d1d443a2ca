"""Dropout: while training, each input is zeroed at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Lt

from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, Signature
from kernels.philox import key, philox
from kernels.tensor import TensorSpec

ZERO = np.float32(0)
DISCARDED = np.uint64(8)


@each
def drop(
    i: int,
    x: Any,
    y: Any,
    clock: Any,
    stream: int,
    k0: int,
    k1: int,
    quarter: int,
    size: int,
    threshold: int,
    scale: Any,
) -> None:
    """Block i: one element of each quarter, y = x · scale where its 24 random bits reach the threshold, else 0.

    Four elements that lie a quarter apart, not side by side: so neighbouring items touch neighbouring elements.
    """
    a, b, c, d = philox(i, clock[0], stream, 0, k0, k1)
    y[i] = x[i] * scale if np.int32(a >> DISCARDED) >= threshold else ZERO
    k = i + quarter
    if k < size:
        y[k] = x[k] * scale if np.int32(b >> DISCARDED) >= threshold else ZERO
    k += quarter
    if k < size:
        y[k] = x[k] * scale if np.int32(c >> DISCARDED) >= threshold else ZERO
    k += quarter
    if k < size:
        y[k] = x[k] * scale if np.int32(d >> DISCARDED) >= threshold else ZERO


@each
def copy(i: int, x: Any, y: Any) -> None:
    """y = x."""
    y[i] = x[i]


@final
@dataclass(frozen=True)
class Dropout(Operator):
    """While training, each input is zeroed with probability `rate`: y = x · mask / (1 − rate); otherwise y = x.

    The division keeps the mean, so nothing changes when the network is used (inverted dropout; Srivastava et al.
    2014). The mask follows from (seed, layer, step, element): backward computes it again, dx = dy · mask / (1 − rate).
    """

    type: ClassVar[str] = "dropout"
    aliases: ClassVar[tuple[str, ...]] = ("Dropout",)

    rate: Annotated[float, Ge(0), Lt(1)] = 0.5

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        return Signature(output=x)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per four elements."""
        yield self._masked(f, f.x, f.y) if training else copy.over(f.x.size, f.x, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The same mask on the gradient."""
        if f.dx is not None:
            yield self._masked(f, f.dy, f.dx)

    def _masked(self, f: Frame, source: Any, target: Any) -> Launch:
        size, threshold, scale = source.size, round(self.rate * 2**24), float(1 / (1 - self.rate))
        keys, quarter = key(f.seed), -(-size // 4)
        return drop.over(quarter, source, target, f.clock, f.stream, *keys, quarter, size, threshold, scale, work=120)

    @classmethod
    def examples(cls) -> list[Example]:
        """The default, no loss at all, and sizes that are no multiple of the block of four."""
        cases = ((0.5, (4, 8)), (0.0, (3, 4)), (0.25, (3, 7)), (0.9, (2, 3, 3, 1)))
        return [Example(cls(rate), TensorSpec(shape)) for rate, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """One multiplication per element; the random words are integer work."""
        return x.size
