"""A language model writes: symbol after symbol, each drawn from the chances that the network gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.philox import uniform

Tokens = npt.NDArray[np.int32]
Chances = Callable[[Tokens], npt.NDArray[np.float32]]
"""Windows (n, t) of symbols to the chances (n, t, vocabulary) of what follows each."""

LENGTH = 200
TEMPERATURE = 0.8
STREAM = 0x7FFE0000
"""Its stream of random numbers: the same prompt is always continued in the same way."""


def continued(
    prompt: Tokens, window: int, chances: Chances, length: int = LENGTH, warmth: float = TEMPERATURE
) -> Tokens:
    """`length` symbols that follow `prompt` (one symbol or more).

    p ← p^(1/temperature) / Σ p^(1/temperature): below 1 the likely becomes likelier, near 0 only the likeliest is left.
    The network sees the last `window` symbols; behind a shorter text stand zeros, which a network that reads forwards
    has not seen when it answers.
    """
    text = [int(token) for token in prompt]
    for drawn in uniform(0, STREAM, 0, length):
        seen = text[-window:]
        padded = np.zeros((1, window), np.int32)
        padded[0, : len(seen)] = seen
        logs = np.log(np.maximum(chances(padded)[0, len(seen) - 1].astype(np.float64), 1e-30)) / warmth
        odds = np.cumsum(np.exp(logs - logs.max()))
        text.append(int(np.searchsorted(odds, drawn * odds[-1], side="right")))
    return np.array(text[len(prompt) :], np.int32)


def likeliest(row: npt.NDArray[Any], count: int = 5) -> list[tuple[int, float]]:
    """The `count` likeliest symbols of one row of chances."""
    order = np.argsort(-row, kind="stable")[:count]
    return [(int(k), float(row[k])) for k in order]
