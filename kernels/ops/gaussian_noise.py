"""GaussianNoise: while training, normal random numbers are added."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge

from kernels.columns import copy
from kernels.launch import Launch, device, each
from kernels.operator import Example, Frame, Operator, Signature
from kernels.philox import key, philox
from kernels.tensor import TensorSpec

ZERO, ONE, HALF, TWO = np.float32(0), np.float32(1), np.float32(0.5), np.float32(2)
FINEST = np.float32(2.0**-24)
DISCARDED = np.uint64(8)
QUARTER_TURN, ROOT_HALF = np.float32(math.pi / 2), np.float32(math.sqrt(0.5))
FINE_BITS, FINE_MASK, FINE = np.int32(22), np.int32((1 << 22) - 1), np.float32(2.0**-22)
SIN = tuple(np.float32((-1) ** k / math.factorial(2 * k + 1)) for k in range(5))
COS = tuple(np.float32((-1) ** k / math.factorial(2 * k)) for k in range(5))
S1, S2, S3, S4 = SIN[1:]
C1, C2, C3, C4 = COS[1:]


@device
def normal_pair(first: Any, second: Any) -> Any:
    """Two normal numbers from two random words: radius √(−2 ln u) at the angle 2πv (Box & Muller 1958).

    Cosine and sine are Taylor series within an eighth of a turn, straight-line code on either device; the two highest
    bits of v say which quarter. Words give 24 bits each, so the radius stays below 5.9.
    """
    u = (np.float32(np.int32(first >> DISCARDED)) + HALF) * FINEST
    bits = np.int32(second >> DISCARDED)
    z = (np.float32(bits & FINE_MASK) * FINE - HALF) * QUARTER_TURN
    radius = math.sqrt(-TWO * math.log(u)) * ROOT_HALF
    square = z * z
    s = z * (ONE + square * (S1 + square * (S2 + square * (S3 + square * S4))))
    c = ONE + square * (C1 + square * (C2 + square * (C3 + square * C4)))
    # The middle of the first quarter lies at 45 degrees: cos(z + 45°) = (c − s)·√½.
    across, up, quarter = (c - s) * radius, (c + s) * radius, bits >> FINE_BITS
    swapped = quarter & np.int32(1)
    x, y = (up if swapped else across), (across if swapped else up)
    return (-x if 1 <= quarter <= 2 else x), (-y if quarter >= 2 else y)


@each
def blur(
    i: int, x: Any, y: Any, clock: Any, stream: int, k0: int, k1: int, quarter: int, size: int, deviation: Any
) -> None:
    """Block i: one element of each quarter, y = x + deviation · normal number."""
    a, b, c, d = philox(i, clock[0], stream, 0, k0, k1)
    first, second = normal_pair(a, b)
    third, fourth = normal_pair(c, d)
    y[i] = x[i] + deviation * first
    k = i + quarter
    if k < size:
        y[k] = x[k] + deviation * second
    k += quarter
    if k < size:
        y[k] = x[k] + deviation * third
    k += quarter
    if k < size:
        y[k] = x[k] + deviation * fourth


@final
@dataclass(frozen=True)
class GaussianNoise(Operator):
    """While training, y = x + stddev · ε with ε normal of mean 0 and variance 1; otherwise y = x. dx = dy.

    A regulariser (Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995), and what a denoising
    auto-encoder must undo (Vincent et al. 2008). ε follows from (seed, layer, step, element): nothing is saved.
    """

    type: ClassVar[str] = "gaussian_noise"
    aliases: ClassVar[tuple[str, ...]] = ("GaussianNoise",)

    stddev: Annotated[float, Ge(0)]

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        return Signature(output=x)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One item per four elements."""
        if not training:
            yield copy.over(f.x.size, f.x, f.y)
            return
        size, keys = f.x.size, key(f.seed)
        quarter = -(-size // 4)
        numbers = f.stream, *keys, quarter, size, float(self.stddev)
        yield blur.over(quarter, f.x, f.y, f.clock, *numbers, work=250)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The gradient passes as it is."""
        if f.dx is not None:
            yield copy.over(f.dx.size, f.dy, f.dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """No noise, little and much, and sizes that are no multiple of the block of four."""
        cases = ((0.5, (4, 8)), (0.0, (3, 4)), (0.1, (3, 7)), (2.0, (2, 3, 3, 1)))
        return [Example(cls(stddev), TensorSpec(shape)) for stddev, shape in cases]

    def flops(self, x: TensorSpec) -> int:
        """A logarithm, a root, sine and cosine for every two elements; the random words are integer work."""
        return 16 * x.size
