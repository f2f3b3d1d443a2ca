"""Inputs far from 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage
from services.remedies import Patch, preprocessing

NORMALIZING = ("batch_normalization", "layer_normalization")


@final
class UnscaledInput(Illness):
    """The inputs are much larger than the numbers between −1 and 1 for which initial weights and usual learning rates
    are made. The first layer saturates or jumps, or large columns drown the small ones."""

    type: ClassVar[str] = "unscaled_input"
    title: ClassVar[str] = "Unscaled input"
    stages: ClassVar[tuple[Stage, ...]] = ("data",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "autoencoder", "forecasting")
    formula: ClassVar[str] = (
        "root mean square of the input as the network sees it, of the largest column of a table, over at most 2,048"
        " train rows; not where the network begins with a normalization"
    )
    unit: ClassVar[str] = "root mean square of the input"
    threshold: ClassVar[float] = 10.0
    source: ClassVar[str] = (
        "LeCun et al. 1998, Efficient BackProp, section 4.3: inputs of mean 0 and variance 1, so a root mean square of"
        " 1; the threshold is ten times as much"
    )
    explanation: ClassVar[str] = (
        "The inputs are many times larger than what weights and learning rates are made for."
        " The first steps overshoot, activations saturate, and large columns drown the small ones."
    )
    next_step: ClassVar[str] = (
        "Add a preprocessing step: normalization for tables, rescaling (scale: 1/255) for pictures."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "saturation", "dead_relu", "vanishing_gradient", "exploding_gradient", "learning_rate_too_big",
        "loss_at_chance",
        "plateau", "below_trivial", "network_too_small", "trained_too_short", "learning_rate_too_small",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Inputs larger than the threshold, unless the network scales them itself."""
        size = case.facts.magnitude
        scaled = any(kind in NORMALIZING for kind in case.trainable[:1])
        if size is not None and size > self.threshold and not scaled:
            yield Seen(size, "dataset.preprocessing", None, self._patch(case, size))

    def _patch(self, case: Case, size: float) -> Patch:
        pictures = case.picture and size < 255
        step = {"type": "rescaling", "scale": 1 / 255} if pictures else {"type": "normalization"}
        return preprocessing(case.spec, step)
