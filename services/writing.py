"""A language model writes: symbol after symbol, each drawn from the chances that the network gives it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels.philox import uniform

Tokens = npt.NDArray[np.int32]
Follow = Callable[[Tokens], npt.NDArray[np.float32]]
"""Symbols (n,) that the network has not read yet to the chances (vocabulary,) of what follows them."""

LENGTH = 200
TEMPERATURE = 0.8
STREAM = 0x7FFE0000
"""Its stream of random numbers: the same prompt is always continued in the same way."""

_COLDEST = 1e-6


def continued(
    prompt: Tokens, follow: Follow, length: int = LENGTH, warmth: float = TEMPERATURE, seed: int = 0
) -> Tokens:
    """`length` symbols that follow `prompt` (one symbol or more).

    p ← p^(1/temperature) / Σ p^(1/temperature): below 1 the likely becomes likelier, at 0 only the likeliest is left.
    """
    fresh, text = np.asarray(prompt, np.int32), []
    for drawn in uniform(seed, STREAM, 0, length):
        logs = np.log(np.maximum(follow(fresh).astype(np.float64), 1e-30)) / max(warmth, _COLDEST)
        odds = np.cumsum(np.exp(logs - logs.max()))
        text.append(int(np.searchsorted(odds, drawn * odds[-1], side="right")))
        fresh = np.array(text[-1:], np.int32)
    return np.array(text, np.int32)


def windowed(window: int, chances: Callable[[Tokens], npt.NDArray[np.float32]]) -> Follow:
    """For a network that must see everything anew: it sees the last `window` symbols, (1, window) at once, and gives
    the chances (1, window, vocabulary) of what follows each.

    Behind a shorter text stand zeros, which a network that reads forwards has not seen when it answers.
    """
    text: list[int] = []

    def follow(fresh: Tokens) -> npt.NDArray[np.float32]:
        text.extend(int(token) for token in fresh)
        del text[:-window]
        padded = np.zeros((1, window), np.int32)
        padded[0, : len(text)] = text
        return np.asarray(chances(padded)[0, len(text) - 1])

    return follow
