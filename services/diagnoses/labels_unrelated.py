"""Rows known by heart, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage, standard_error


@final
class LabelsUnrelated(Illness):
    """The network knows the train rows by heart and guesses on all others. That is what labels do that have been mixed
    up, or that have nothing to do with the input."""

    type: ClassVar[str] = "labels_unrelated"
    title: ClassVar[str] = "Labels do not follow from inputs"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    formula: ClassVar[str] = (
        "accuracy on validation less the share of the commonest class, where accuracy in training is at least 0.15"
        " above that share"
    )
    unit: ClassVar[str] = "of accuracy above the commonest class"
    threshold: ClassVar[float] = 0.02
    source: ClassVar[str] = (
        "Zhang et al. 2017: networks learn random labels by heart and then score at chance; the threshold grows to two"
        " standard errors where validation has few rows"
    )
    explanation: ClassVar[str] = (
        "The network answers the rows it has learned from, and does no better than the commonest class on all others."
        " So the targets do not follow from the inputs: they may belong to other rows."
    )
    next_step: ClassVar[str] = (
        "Compare some rows with their labels (GET /v1/datasets/{name}/samples); mend the file, then train again."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "overfitting", "below_trivial", "plateau", "network_too_small", "trained_too_short", "loss_at_chance",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Training far above the commonest class, validation not."""
        majority, learned, others = case.facts.majority, case.accuracy(), case.accuracy("val_")
        rows = case.facts.rows["validation"]
        if majority is None or learned is None or others is None or rows < 30 or learned < majority + 0.15:
            return
        gain = others - majority
        if gain < max(self.threshold, 2 * standard_error(majority, rows)):
            yield Seen(gain)
