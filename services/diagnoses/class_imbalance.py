"""Classes of very different size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage
from services.remedies import Patch


@final
class ClassImbalance(Illness):
    """One class has many times the rows of another, so that a network which always says the commonest has a high
    accuracy and knows nothing."""

    type: ClassVar[str] = "class_imbalance"
    title: ClassVar[str] = "Class imbalance"
    stages: ClassVar[tuple[Stage, ...]] = ("data",)
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    formula: ClassVar[str] = "train rows of the commonest class over those of the rarest"
    unit: ClassVar[str] = "rows of the commonest class for one of the rarest"
    threshold: ClassVar[float] = 10.0
    source: ClassVar[str] = "Amazon SageMaker Debugger, rule ClassImbalance: threshold_imbalance 10"
    explanation: ClassVar[str] = (
        "The commonest class has so many more rows than the rarest that accuracy says little: always naming the"
        " commonest would score high. The rare class is easily never predicted at all."
    )
    next_step: ClassVar[str] = (
        "Judge by f1_score or the recall of each class instead of accuracy, take a focal loss, or bring rows of the"
        " rare class."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "loss_at_chance", "below_trivial", "plateau", "network_too_small", "trained_too_short",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """The ratio of the largest class to the smallest that has rows."""
        counts = [count for count in case.facts.counts.values() if count]
        if len(counts) > 1 and max(counts) > self.threshold * min(counts):
            yield Seen(max(counts) / min(counts), patch=self._patch(case))

    def _patch(self, case: Case) -> Patch | None:
        focal = {"binary_crossentropy": "binary_focal_crossentropy"} | dict.fromkeys(
            ("categorical_crossentropy", "sparse_categorical_crossentropy"), "categorical_focal_crossentropy"
        )
        found = focal.get(case.spec["training"]["loss"]["type"])
        return None if found is None else {"training": {"loss": found}}
