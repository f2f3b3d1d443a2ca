"""Steps that are too small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage
from services.remedies import rate


@final
class LearningRateTooSmall(Illness):
    """The weights hardly change: at this pace the network would need a thousand times as many steps."""

    type: ClassVar[str] = "learning_rate_too_small"
    title: ClassVar[str] = "Learning rate too small"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting", "language_model")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = (
        "the largest ‖change of a kernel in a step‖ / ‖kernel‖ seen so far, where the loss is above 0.9 of that of a"
        " constant guess"
    )
    unit: ClassVar[str] = "update / weight"
    threshold: ClassVar[float] = 1e-5
    source: ClassVar[str] = (
        "Karpathy, notes of Stanford CS231n: updates should be about 1e-3 of the weights; the threshold is a hundredth"
        " of that"
    )
    explanation: ClassVar[str] = (
        "A step changes the weights by less than a hundred-thousandth of their size, and the loss has hardly moved."
        " The network is nearly what it was when its weights were drawn."
    )
    next_step: ClassVar[str] = "Take a hundred times the learning rate, or let adam choose the size of each step."
    explains: ClassVar[frozenset[str]] = frozenset({
        "loss_at_chance", "below_trivial", "plateau", "network_too_small", "trained_too_short",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Small steps of a network that has not learned."""
        slow = 0 < case.swing < self.threshold
        if slow and case.rate > 0 and case.level is not None and case.level > 0.9:
            yield Seen(case.swing, patch=rate(case.spec, 100.0))
