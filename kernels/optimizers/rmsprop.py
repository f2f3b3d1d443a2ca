"""RMSprop: steps divided by a running average of the gradient's size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch, device, each
from kernels.optimizer import Optimizer

ZERO = np.float32(0)


@device
def scaled(g: Any, i: int, velocity: Any, rate: Any, rho: Any, gain: Any, epsilon: Any) -> Any:
    """v ← ρ·v + (1 − ρ)·g²; the step α·g / √(v + ε)."""
    velocity[i] = rho * velocity[i] + gain * g * g
    return rate * g / math.sqrt(velocity[i] + epsilon)


@device
def centred(g: Any, i: int, velocity: Any, mean: Any, rate: Any, rho: Any, gain: Any, epsilon: Any) -> Any:
    """v as above, a ← ρ·a + (1 − ρ)·g; the step α·g / √(v − a² + ε). Rounding may not make the variance negative."""
    velocity[i] = rho * velocity[i] + gain * g * g
    mean[i] = rho * mean[i] + gain * g
    variance = velocity[i] - mean[i] * mean[i]
    return rate * g / math.sqrt((ZERO if variance < ZERO else variance) + epsilon)


@each
def plain(i: int, w: Any, dw: Any, v: Any, rates: Any, rho: Any, gain: Any, epsilon: Any, decay: Any) -> None:
    """w ← w − step − α·decay·w."""
    w[i] -= scaled(dw[i], i, v, rates[0], rho, gain, epsilon) + rates[0] * decay * w[i]


@each
def moving(
    i: int, w: Any, dw: Any, v: Any, b: Any, rates: Any, rho: Any, gain: Any, epsilon: Any, decay: Any, momentum: Any
) -> None:
    """b ← μ·b + step; w ← w − b − α·decay·w."""
    b[i] = momentum * b[i] + scaled(dw[i], i, v, rates[0], rho, gain, epsilon)
    w[i] -= b[i] + rates[0] * decay * w[i]


@each
def plain_centred(
    i: int, w: Any, dw: Any, v: Any, a: Any, rates: Any, rho: Any, gain: Any, epsilon: Any, decay: Any
) -> None:
    """w ← w − step − α·decay·w."""
    w[i] -= centred(dw[i], i, v, a, rates[0], rho, gain, epsilon) + rates[0] * decay * w[i]


@each
def moving_centred(
    i: int,
    w: Any,
    dw: Any,
    v: Any,
    a: Any,
    b: Any,
    rates: Any,
    rho: Any,
    gain: Any,
    epsilon: Any,
    decay: Any,
    momentum: Any,
) -> None:
    """b ← μ·b + step; w ← w − b − α·decay·w."""
    b[i] = momentum * b[i] + centred(dw[i], i, v, a, rates[0], rho, gain, epsilon)
    w[i] -= b[i] + rates[0] * decay * w[i]


@final
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: w ← w − α·g / √(v + ε), with v ← ρ·v + (1 − ρ)·g² and g = dC/dw (Hinton 2012, as Keras).

    Every weight steps by about α, however steep its slope. `centered` divides by the spread of the gradient instead:
    √(v − a² + ε) with a ← ρ·a + (1 − ρ)·g (Graves 2013). `momentum` μ adds steps up: b ← μ·b + α·g / √(v + ε),
    w ← w − b. `weight_decay` shrinks every weight by α·decay·w besides.
    """

    type: ClassVar[str] = "rmsprop"
    aliases: ClassVar[tuple[str, ...]] = ("RMSprop", "rms_prop")

    learning_rate: Annotated[float, Gt(0)] = 0.001
    rho: Annotated[float, Ge(0), Lt(1)] = 0.9
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    epsilon: Annotated[float, Gt(0)] = 1e-7
    centered: bool = False
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def slots(self) -> tuple[str, ...]:
        """The running average of g²; of g, where centered; the sum of steps, where there is momentum."""
        return (
            "velocity",
            *(("average_gradient",) if self.centered else ()),
            *(("momentum",) if self.momentum else ()),
        )

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """One pass over the parameters."""
        kept = [slots[name] for name in self.slots()]
        numbers = [float(number) for number in (self.rho, 1 - self.rho, self.epsilon, self.weight_decay)]
        if self.momentum:
            body, numbers = moving_centred if self.centered else moving, [*numbers, float(self.momentum)]
        else:
            body = plain_centred if self.centered else plain
        yield body.over(w.size, w, dw, *kept, rates, *numbers, work=16)
