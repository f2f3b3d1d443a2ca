"""Steps that are too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import rate


@final
class LearningRateTooBig(Illness):
    """The weights change so much in one step that the next gradient is about another network. The cost jumps, grows
    without bound, or ends at a place where nothing moves any more."""

    type: ClassVar[str] = "learning_rate_too_big"
    title: ClassVar[str] = "Learning rate too big"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "autoencoder", "forecasting", "language_model")
    formula: ClassVar[str] = (
        "the largest ‖change of a kernel in a step‖ / ‖kernel‖ seen so far, where the loss is above 0.95 of that of a"
        " constant guess after a quarter of the run, or above 1.5 of it and growing; or a cost that is not finite"
    )
    unit: ClassVar[str] = "update / weight"
    threshold: ClassVar[float] = 0.1
    source: ClassVar[str] = (
        "Karpathy, notes of Stanford CS231n: updates should be about 1e-3 of the weights; the threshold is a hundred"
        " times as much"
    )
    explanation: ClassVar[str] = (
        "One step changes the weights by a large part of their size, and the loss is no better than that of a guess"
        " which ignores the input. Each step overshoots what the gradient promised."
    )
    next_step: ClassVar[str] = (
        "Take a tenth of the learning rate; if that helps, try a tenth again, and clip the gradient."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "dead_relu", "saturation", "vanishing_gradient", "exploding_gradient", "loss_at_chance", "below_trivial",
        "plateau", "overfitting", "network_too_small", "trained_too_short", "labels_unrelated",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """A cost that is not finite, or large steps that lead nowhere."""
        if case.diverged or (self._nowhere(case) and case.swing > self.threshold):
            yield Seen(case.swing, patch=rate(case.spec, 0.01 if case.swing > 1 else 0.1))

    def _nowhere(self, case: Case) -> bool:
        """No better than a guess after a quarter of the run, or three looks long worse and worse than one."""
        if case.level is None or not case.facts.chance:
            return False
        if (case.ended or (case.epoch > 1 and 4 * case.epoch >= case.epochs)) and case.level > 0.95:
            return True
        last = [moment.loss for moment in case.history[-3:]]
        return len(last) == 3 and last[0] <= last[1] <= last[2] and case.level > 1.5
