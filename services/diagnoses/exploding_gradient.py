"""Gradients that grow on their way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import training


@final
class ExplodingGradient(Illness):
    """On the way back from the cost the gradient grows from layer to layer or from step to step of a sequence, until
    the first layers jump about instead of learning."""

    type: ClassVar[str] = "exploding_gradient"
    title: ClassVar[str] = "Exploding gradient"
    severity: ClassVar[Severity] = "warning"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting", "language_model")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = "‖gradient‖ / ‖weights‖ of a kernel, over the same of the last kernel"
    unit: ClassVar[str] = "relative size of the gradient"
    threshold: ClassVar[float] = 1e4
    source: ClassVar[str] = (
        "Pascanu, Mikolov and Bengio 2013: gradients grow exponentially, clipping their norm is the cure; 1e4 mirrors"
        " the threshold of the vanishing gradient, and the healthy examples stay below 1e2"
    )
    explanation: ClassVar[str] = (
        "The gradient of this layer is many times that of the last layer."
        " A rate that suits the last layers throws this one about."
    )
    next_step: ClassVar[str] = (
        "Clip the gradient (global_clipnorm: 1.0), start with smaller weights, or normalize between layers."
    )
    explains: ClassVar[frozenset[str]] = frozenset({"loss_at_chance", "below_trivial", "plateau"})

    def look(self, case: Case) -> Iterator[Seen]:
        """The kernel with the largest gradient, in a network that does not work yet."""
        if len(case.weights) < 2 or case.level is None or case.learned or not case.weights[-1].pull:
            return
        worst = max(case.weights[:-1], key=lambda w: w.pull)
        share = worst.pull / case.weights[-1].pull
        if share > self.threshold:
            patch = training(global_clipnorm=1.0, clipnorm=None, clipvalue=None)
            yield Seen(share, worst.path, worst.name, patch)
