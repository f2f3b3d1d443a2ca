"""Rectifiers that are never on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, final

from services.illness import Activity, Case, Illness, Seen, Severity, Stage
from services.remedies import Patch, layers, number


@final
class DeadRelu(Illness):
    """Units of a relu give 0 for every row that was looked at. Their gradient is 0 too, so nothing brings them back."""

    type: ClassVar[str] = "dead_relu"
    title: ClassVar[str] = "Dead rectifiers"
    severity: ClassVar[Severity] = "warning"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "autoencoder", "forecasting", "language_model")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = "units that are 0 for all of at least 128 training rows, over all units of the layer"
    unit: ClassVar[str] = "share of units"
    threshold: ClassVar[float] = 0.5
    source: ClassVar[str] = "Amazon SageMaker Debugger, rule DeadRelu: threshold_layer 50 %"
    explanation: ClassVar[str] = (
        "These units give 0 for every row, so no gradient passes through them and they cannot recover."
        " The network works with what is left of the layer, or not at all."
    )
    next_step: ClassVar[str] = (
        "Let biases start at 0 and lower the learning rate; leaky_relu keeps a small gradient where relu has none."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "vanishing_gradient", "exploding_gradient", "loss_at_chance", "below_trivial", "plateau",
        "learning_rate_too_small", "network_too_small", "trained_too_short",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Rectified layers more than half of whose units are idle, unless the network works all the same."""
        dead = [a for a in case.activity if a.kind == "relu" and a.idle > self.threshold]
        for a in sorted(dead, key=lambda a: -a.idle):
            if a.idle == 1 or not case.learned:
                yield Seen(a.idle, a.path, a.name, self._patch(case, dead))

    def _patch(self, case: Case, dead: list[Activity]) -> Patch:
        leaky = {"type": "leaky_relu"}
        changed: dict[str, dict[str, Any]] = {
            a.path: {"activation": leaky} if "." in a.path.partition("]")[2] else leaky for a in dead
        }
        found = case.spec["network"]["layers"]
        for a in dead:
            if "activation" in changed[a.path] and "bias_initializer" in found[number(a.path)]:
                changed[a.path] = {"activation": leaky, "bias_initializer": "zeros"}
        return layers(case.spec, changed)
