"""Random numbers that are a function of their place: Philox4x32-10 (Salmon, Moraes, Dror & Shaw, SC 2011).

A number depends on (seed, stream, step, position) alone: nothing is saved, any one can be computed again, and CPU,
CUDA and simulator give the same bits. Position e is word e mod 4 of the block with counter (e div 4, step, stream, 0)
under the key seed. Every function here takes NumPy arrays as well as single numbers; `philox` runs inside kernels too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.launch import device

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLY_0, MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

START = 0x40000000
"""Added to a parameter's stream when it is initialised; layers count their streams from 0."""

SHUFFLE = 0x7FFF0000
"""The stream of permutations."""

SEED_BITS = 31
"""Bits of the seed in each half of the key: halves stay positive as int32, which is how numbers reach a GPU."""


@device
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Four 32-bit words (held in uint64) from a 128-bit counter and a 64-bit key, all given as 32-bit words."""
    a, b, c, d = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    x, y = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        first, second = a * MULTIPLY_0, c * MULTIPLY_1
        a, b, c, d = (second >> HALF) ^ b ^ x, second & LOW, (first >> HALF) ^ d ^ y, first & LOW
        x, y = (x + WEYL_0) & LOW, (y + WEYL_1) & LOW
    return a, b, c, d


def key(seed: int) -> tuple[int, int]:
    """The two halves of the key of a seed from 0 to 2⁶² − 1."""
    if not 0 <= seed < 1 << 2 * SEED_BITS:
        raise ValueError(f"a seed is a number from 0 to 2**62 - 1, got {seed}")
    return seed & ((1 << SEED_BITS) - 1), seed >> SEED_BITS


def random_bits(seed: int, stream: int, step: int, n: int) -> npt.NDArray[np.uint32]:
    """The first n words of a stream at a step, as uint32."""
    counters = np.arange(-(-n // 4), dtype=np.uint64)
    words = philox(counters, step, stream, 0, *key(seed))
    return np.stack(words, axis=1).astype(np.uint32).reshape(-1)[:n]


def uniform(seed: int, stream: int, step: int, n: int) -> npt.NDArray[np.float64]:
    """n numbers in [0, 1), multiples of 2⁻²⁴: exact in float32 too."""
    return np.float64(2.0**-24) * (random_bits(seed, stream, step, n) >> np.uint32(8))


def normal(seed: int, stream: int, step: int, n: int) -> npt.NDArray[np.float64]:
    """n numbers of mean 0 and variance 1, by Box & Muller (1958) from pairs of words."""
    pairs = (random_bits(seed, stream, step, 2 * -(-n // 2)).reshape(-1, 2) + 0.5) * 2.0**-32
    radius, angle = np.sqrt(-2 * np.log(pairs[:, 0])), 2 * np.pi * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n]


def permutation(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch visits n rows: rows sorted by 64 random bits each."""
    words = random_bits(seed, SHUFFLE, epoch, 2 * n).astype(np.uint64)
    return np.argsort(words[0::2] << HALF | words[1::2], kind="stable")
