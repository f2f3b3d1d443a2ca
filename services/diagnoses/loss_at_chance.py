"""No better than a guess."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage


@final
class LossAtChance(Illness):
    """The training loss is that of the best guess which does not look at the input: the frequencies of the classes, or
    the mean of the targets. The network has learned nothing from its input."""

    type: ClassVar[str] = "loss_at_chance"
    title: ClassVar[str] = "Loss at chance level"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "language_model")
    formula: ClassVar[str] = (
        "training loss over that of the best constant guess: −Σ p ln p for cross-entropies (ln C for C equal classes),"
        " the variance of the targets for squared errors"
    )
    unit: ClassVar[str] = "of the loss of a constant guess"
    threshold: ClassVar[float] = 0.98
    source: ClassVar[str] = (
        "closed form; the recipe of Karpathy (2019), verify loss at init; 2 % below it is more than noise in half a run"
    )
    explanation: ClassVar[str] = (
        "The loss is that of a guess which ignores the input, and half of the run is over."
        " Either nothing reaches the weights, or the inputs say nothing about the targets."
    )
    next_step: ClassVar[str] = (
        "Look whether rows and targets belong together, then try ten times the learning rate on a hundred rows until"
        " the network knows them by heart."
    )
    explains: ClassVar[frozenset[str]] = frozenset(
        {"plateau", "network_too_small", "trained_too_short", "below_trivial"}
    )

    def look(self, case: Case) -> Iterator[Seen]:
        """A loss that has not left the level of a constant guess when half of the run is over."""
        if case.late and case.epoch and case.level is not None and case.level > self.threshold:
            yield Seen(case.level)
