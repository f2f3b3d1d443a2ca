"""Stopped while it was still learning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.diagnoses.network_too_small import behind_classical, fall_in_second_half
from services.illness import Case, Illness, Seen, Stage
from services.remedies import training


@final
class TrainedTooShort(Illness):
    """The run ended while the loss was still falling fast, and the network is behind a classical model even on the rows
    it learns from."""

    type: ClassVar[str] = "trained_too_short"
    title: ClassVar[str] = "Trained too short"
    stages: ClassVar[tuple[Stage, ...]] = ("end",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "fall of the training loss through the second half of the run, relative; told where training and validation"
        " scores are more than 0.05 behind the best classical model's test score"
    )
    unit: ClassVar[str] = "fall of the loss through half of the run"
    threshold: ClassVar[float] = 0.3
    source: ClassVar[str] = (
        "the baseline of this very split; 30 % for twice the epochs is the pace of a loss like 1/√epochs"
    )
    explanation: ClassVar[str] = (
        "The network is behind a classical model even on its own rows, and its loss was still falling fast."
        " It was stopped before it had learned what it can."
    )
    next_step: ClassVar[str] = "Train four times as many epochs, or take a larger learning rate."

    def look(self, case: Case) -> Iterator[Seen]:
        """A network that is behind the classical model and still on its way."""
        behind, fall = behind_classical(case), fall_in_second_half(case)
        if behind is None or behind <= 0.05 or case.result.get("reason") == "early_stopped":
            return
        if self.threshold <= fall and case.level is not None:
            yield Seen(fall, patch=training(epochs=min(100_000, 4 * case.epochs)))
