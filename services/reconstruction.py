"""How well an auto-encoder gives back what it was to see: in decibels, beside its noisy input and classical means.

Pictures are judged by PSNR, everything else by SNR. Recordings are judged one by one, each over its own length: the
silence that fills up a row is easily kept silent, and does not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from services.datasets import Card
from services.metrics import metric
from services.noise import spoken_samples
from services.tallies import decibels

Array = npt.NDArray[Any]

PSNR, SNR, OF_RECORDINGS = "peak_signal_to_noise_ratio", "signal_to_noise_ratio", "mean_signal_to_noise_ratio"


def measure_of(card: Card) -> str:
    """The name of what judges rows of this data set."""
    return OF_RECORDINGS if is_sound(card) else PSNR if card.kind == "image" else SNR


def is_sound(card: Card) -> bool:
    """Whether rows are samples of recordings."""
    return card.kind == "audio" and len(card.input_shape) == 2 and card.input_shape[-1] == 1


def quality(card: Card, made: Array, clean: Array) -> float:
    """Decibels of rows against what they should be."""
    if is_sound(card):
        return float(np.mean([*map(_of_one, made, clean)])) if len(made) else float("nan")
    return metric(measure_of(card))(made, clean)


def _of_one(made: Array, clean: Array) -> float:
    n = spoken_samples(clean)
    voice = clean.ravel()[:n].astype(np.float64)
    found = decibels(float(np.square(voice).sum()), float(np.square(voice - made.ravel()[:n]).sum()))
    # A recording of nothing, or one given back to the last bit, must not make the mean meaningless.
    return float(np.clip(np.nan_to_num(found, nan=0.0), -100, 100))


def scores(card: Card, made: Array, seen: Array | None, clean: Array) -> dict[str, Any]:
    """`output`, and where the network saw noisy rows (`seen`) `input` and the `gain`, all in dB."""
    output = quality(card, made, clean)
    found: dict[str, Any] = {"measure": measure_of(card), "unit": "dB", "output": output}
    if seen is None:
        return found
    given = quality(card, seen, clean)
    return found | {"input": given, "gain": output - given}
