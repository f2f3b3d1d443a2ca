"""All units of a layer the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Severity, Stage
from services.remedies import layers


@final
class SymmetricUnits(Illness):
    """The units of a hidden layer have the same weights, because all of them started alike (at zero, for example).
    They compute the same, get the same gradient and stay alike for ever: the layer is worth one unit."""

    type: ClassVar[str] = "symmetric_units"
    title: ClassVar[str] = "All units of a layer are the same"
    severity: ClassVar[Severity] = "error"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "autoencoder", "forecasting", "language_model")
    formula: ClassVar[str] = (
        "the largest difference between two units' weights, over the root mean square of the kernel"
    )
    unit: ClassVar[str] = "relative difference of units"
    threshold: ClassVar[float] = 1e-3
    source: ClassVar[str] = (
        "Goodfellow, Bengio and Courville, Deep Learning, section 8.4: units that start alike stay alike; drawn weights"
        " differ by more than 1, rounding by less than 1e-5"
    )
    explanation: ClassVar[str] = (
        "All units of this layer have the same weights, so they compute the same and receive the same gradient."
        " They will stay alike however long training goes on, and the layer is worth a single unit."
    )
    next_step: ClassVar[str] = (
        "Let the weights start at random: kernel_initializer glorot_uniform, or he_normal before relu."
    )
    explains: ClassVar[frozenset[str]] = frozenset({
        "dead_relu", "vanishing_gradient", "loss_at_chance", "below_trivial", "plateau", "learning_rate_too_small",
        "network_too_small", "trained_too_short", "saturation",
    })  # fmt: skip

    def look(self, case: Case) -> Iterator[Seen]:
        """Hidden kernels whose columns do not differ."""
        alike = [w for w in case.weights[:-1] if w.spread is not None and w.spread <= self.threshold]
        if not alike:
            return
        starts = {w.path: {"kernel_initializer": "glorot_uniform"} for w in alike}
        last = case.weights[-1]
        if last.spread is not None and not last.weight:
            starts[last.path] = {"kernel_initializer": "glorot_uniform"}
        for w in alike:
            yield Seen(w.spread or 0.0, w.path, w.name, layers(case.spec, starts))
