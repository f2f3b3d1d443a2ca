"""Rows in order of their targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import training


@final
class SortedRows(Illness):
    """The rows come in the order of their targets and are not shuffled. Each batch then holds one class only, and the
    network forgets one class while it learns the next."""

    type: ClassVar[str] = "sorted_rows"
    title: ClassVar[str] = "Sorted rows, not shuffled"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("data",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    formula: ClassVar[str] = (
        "for classes (o − e) / (1 − e): o is the share of rows with the class of the row before, e = Σ p² the share in"
        " mixed rows; for values the correlation of a row's target with the one before. Told where training.shuffle is"
        " off and an epoch has several batches"
    )
    unit: ClassVar[str] = "likeness of neighbouring targets"
    threshold: ClassVar[float] = 0.5
    source: ClassVar[str] = (
        "Bengio 2012, Practical recommendations, section 3.3: mini-batches need rows in random order; 0 in mixed rows,"
        " 1 in sorted ones, so the middle"
    )
    explanation: ClassVar[str] = (
        "Neighbouring rows have the same target and are not shuffled, so that each step sees a single class."
        " The network forgets one while it learns the next."
    )
    next_step: ClassVar[str] = "Set training.shuffle to true."
    explains: ClassVar[frozenset[str]] = frozenset({
        "loss_at_chance", "plateau", "below_trivial", "overfitting", "learning_rate_too_big", "network_too_small",
        "trained_too_short", "labels_unrelated", "dead_relu", "saturation",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Sorted rows that stay in their order."""
        whole = case.spec["training"]["batch_size"]
        several = whole != "full" and whole < case.facts.rows["train"]
        if not case.spec["training"]["shuffle"] and several and case.facts.neighbours > self.threshold:
            yield Seen(case.facts.neighbours, "training.shuffle", None, training(shuffle=True))
