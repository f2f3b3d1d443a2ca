"""Sigmoids and hyperbolic tangents at the ends of their range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import layers


@final
class Saturation(Illness):
    """The outputs of a hidden sigmoid or tanh lie at the ends of their range, where the curve is flat. The gradient
    that passes is nearly 0, and the layers before it hardly learn."""

    type: ClassVar[str] = "saturation"
    title: ClassVar[str] = "Saturated sigmoid or tanh"
    severity: ClassVar[Severity] = "warning"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting", "language_model")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = "outputs below 0.02 or above 0.98 (tanh: beyond ±0.96), over all outputs of the layer"
    unit: ClassVar[str] = "share of outputs"
    threshold: ClassVar[float] = 0.5
    source: ClassVar[str] = (
        "Glorot and Bengio 2010, section 3: saturated units stop learning; half of a layer as in Amazon SageMaker"
        " Debugger, rule SaturatedActivation: threshold_layer 50 %"
    )
    explanation: ClassVar[str] = (
        "Most outputs of this layer lie where its curve is flat, so less than a twelfth of the largest gradient passes."
        " What comes before it learns very slowly or not at all."
    )
    next_step: ClassVar[str] = (
        "Start with smaller weights (glorot_uniform), scale the inputs, or take relu in hidden layers."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "vanishing_gradient", "loss_at_chance", "below_trivial", "plateau", "learning_rate_too_small",
        "network_too_small", "trained_too_short",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Saturated hidden layers of a network that does not work yet."""
        if case.level is None or case.learned:
            return
        flat = [a for a in case.activity if a.saturated is not None and a.saturated > self.threshold]
        relu = {"type": "relu"}
        changed = {a.path: {"activation": relu} if "." in a.path.partition("]")[2] else relu for a in flat}
        for a in sorted(flat, key=lambda a: -(a.saturated or 0)):
            yield Seen(a.saturated or 0.0, a.path, a.name, layers(case.spec, changed))
