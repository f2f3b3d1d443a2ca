"""Gradients that fade on their way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import Patch, layers


@final
class VanishingGradient(Illness):
    """On the way back from the cost, the gradient becomes so small that the first layers do not learn: each sigmoid
    takes away three quarters of it or more."""

    type: ClassVar[str] = "vanishing_gradient"
    title: ClassVar[str] = "Vanishing gradient"
    severity: ClassVar[Severity] = "warning"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting", "language_model")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = "‖gradient‖ / ‖weights‖ of a kernel, over the same of the last kernel"
    unit: ClassVar[str] = "relative size of the gradient"
    threshold: ClassVar[float] = 1e-4
    source: ClassVar[str] = (
        "Glorot and Bengio 2010, section 4: in a healthy network gradients have the same size in all layers; 1e-4 is"
        " seven layers of sigmoids (0.25^7), and the healthy examples stay above 1e-2"
    )
    explanation: ClassVar[str] = (
        "The gradient of this layer is a tiny fraction of that of the last layer."
        " While the last layers learn, this one stays as it was drawn."
    )
    next_step: ClassVar[str] = (
        "Take relu in hidden layers, or batch_normalization before each activation, or fewer layers."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "loss_at_chance", "below_trivial", "plateau", "network_too_small", "trained_too_short",
        "learning_rate_too_small",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """The first kernel with the smallest gradient, in a network that does not work yet."""
        if len(case.weights) < 3 or case.level is None or case.learned or not case.weights[-1].pull:
            return
        worst = min(case.weights[:-1], key=lambda w: w.pull if w.weight else float("inf"))
        share = worst.pull / case.weights[-1].pull
        if worst.weight and share < self.threshold:
            yield Seen(share, worst.path, worst.name, self._patch(case))

    def _patch(self, case: Case) -> Patch | None:
        bent = [
            i for i, layer in enumerate(case.spec["network"]["layers"][:-1])
            if (layer.get("activation") or {}).get("type") in ("sigmoid", "tanh")
        ]  # fmt: skip
        changed = {f"[{i}]": {"activation": {"type": "relu"}} for i in bent}
        return layers(case.spec, changed) if bent else None
