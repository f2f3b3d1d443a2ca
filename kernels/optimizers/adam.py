"""Adam: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch, each
from kernels.optimizer import Optimizer


@each
def prepare(_i: int, rates: Any, clock: Any, log_beta_1: Any, log_beta_2: Any, decay: Any) -> None:
    """rates[1] ← α·√(1 − β₂ᵗ) / (1 − β₁ᵗ) and rates[2] ← α·decay, for step t = clock[0] + 1.

    1 − βᵗ is −expm1(t·log β): the difference of two nearly equal numbers is never taken.
    """
    t = np.float32(clock[0] + 1)
    rates[1] = rates[0] * math.sqrt(-math.expm1(t * log_beta_2)) / -math.expm1(t * log_beta_1)
    rates[2] = rates[0] * decay


@each
def step(
    i: int,
    w: Any,
    dw: Any,
    m: Any,
    v: Any,
    rates: Any,
    beta_1: Any,
    gain_1: Any,
    beta_2: Any,
    gain_2: Any,
    epsilon: Any,
) -> None:
    """m ← β₁·m + (1 − β₁)·g; v ← β₂·v + (1 − β₂)·g²; w ← w − rates[1]·m / (√v + ε) − rates[2]·w.

    The gains 1 − β come from the host: 1 − 0.999 in float32 is off by a hundred-thousandth.
    """
    m[i] = beta_1 * m[i] + gain_1 * dw[i]
    v[i] = beta_2 * v[i] + gain_2 * dw[i] * dw[i]
    w[i] -= rates[1] * m[i] / (math.sqrt(v[i]) + epsilon) + rates[2] * w[i]


def launches(
    betas: tuple[float, float], epsilon: float, decay: float, w: Any, dw: Any, m: Any, v: Any, rates: Any, clock: Any
) -> Iterator[Launch]:
    """The step's factors, computed once by one item, then one pass over the parameters."""
    logs = [math.log(beta) if beta > 0 else -math.inf for beta in betas]
    yield prepare.over(1, rates, clock, logs[0], logs[1], float(decay), work=100)
    memory = [float(number) for beta in betas for number in (beta, 1 - beta)]
    yield step.over(w.size, w, dw, m, v, rates, *memory, float(epsilon), work=16)


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: w ← w − α·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε) (Kingma & Ba 2015, the form before section 2.1, as Keras).

    m ← β₁·m + (1 − β₁)·dC/dw and v ← β₂·v + (1 − β₂)·(dC/dw)² are running averages; the first factor takes out that
    both start at zero. Every weight so steps by about α, whatever the size of its gradient; the sign is that of −m.
    """

    type: ClassVar[str] = "adam"
    aliases: ClassVar[tuple[str, ...]] = ("Adam",)

    learning_rate: Annotated[float, Gt(0)] = 0.001
    beta_1: Annotated[float, Ge(0), Lt(1)] = 0.9
    beta_2: Annotated[float, Ge(0), Lt(1)] = 0.999
    epsilon: Annotated[float, Gt(0)] = 1e-7

    def slots(self) -> tuple[str, ...]:
        """The running averages of the gradient and of its square."""
        return ("m", "v")

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """Factors, then one pass over the parameters."""
        betas = (self.beta_1, self.beta_2)
        yield from launches(betas, self.epsilon, 0.0, w, dw, slots["m"], slots["v"], rates, clock)
