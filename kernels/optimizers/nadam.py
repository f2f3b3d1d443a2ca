"""Nadam: Adam that looks ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch, device, each
from kernels.optimizer import Optimizer

ONE, HALF = np.float32(1), np.float32(0.5)
WARMING = np.float32(0.96)
LOG_WARMING = np.float32(math.log(0.96))
TERMS = 24
"""Of the series below: the next is under 1e-9."""


@device
def log_warmed(t: Any) -> Any:
    """log Π_{k ≤ t} (1 − 0.96ᵏ/2) for any t at once: −Σ_j (1/2)ʲ/j · qʲ·(1 − q^(j·t))/(1 − qʲ) with q = 0.96.

    The logarithm of each factor as a series, and the geometric sums over k closed: so no product has to be kept.
    """
    total, power, warm = np.float32(0), ONE, ONE
    for j in range(1, TERMS + 1):
        power *= HALF
        warm *= WARMING
        total += power / np.float32(j) * warm * math.expm1(np.float32(j) * t * LOG_WARMING) / (ONE - warm)
    return total


@each
def prepare(_i: int, rates: Any, clock: Any, beta_1: Any, log_beta_1: Any, log_beta_2: Any) -> None:
    """rates[1] ← α·u′·s / (1 − P·u′), rates[2] ← α·(1 − u)·s / (1 − P) and rates[3] ← s, for step t = clock[0] + 1.

    u = β₁·(1 − 0.96ᵗ/2), u′ is that of the next step, P the product of all u so far, s = √(1 − β₂ᵗ).
    """
    t = np.float32(clock[0] + 1)
    warm = math.exp(t * LOG_WARMING)
    now, ahead = beta_1 * (ONE - HALF * warm), beta_1 * (ONE - HALF * WARMING * warm)
    product = math.exp(t * log_beta_1 + log_warmed(t))
    rates[3] = math.sqrt(-math.expm1(t * log_beta_2))
    rates[1] = rates[0] * ahead * rates[3] / (ONE - product * ahead)
    rates[2] = rates[0] * (ONE - now) * rates[3] / (ONE - product)


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
    decay: Any,
) -> None:
    """m ← β₁·m + (1 − β₁)·g; v ← β₂·v + (1 − β₂)·g²; w ← w − (rates[1]·m + rates[2]·g)/(√v + s·ε) − α·decay·w."""
    m[i] = beta_1 * m[i] + gain_1 * dw[i]
    v[i] = beta_2 * v[i] + gain_2 * dw[i] * dw[i]
    push = (rates[1] * m[i] + rates[2] * dw[i]) / (math.sqrt(v[i]) + rates[3] * epsilon)
    w[i] -= push + rates[0] * decay * w[i]


@final
@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov's momentum: w ← w − α·(u′·m/(1 − P·u′) + (1 − u)·g/(1 − P)) / (√(v/(1 − β₂ᵗ)) + ε).

    m and v are Adam's running averages of g = dC/dw and of g²; u = β₁·(1 − 0.96ᵗ/2) is a momentum that warms up, u′
    that of the next step and P the product of all so far (Dozat 2015, as Keras). The gradient of this step so counts
    at once, not only through the average. `weight_decay` shrinks every weight by α·decay·w besides.
    """

    type: ClassVar[str] = "nadam"
    aliases: ClassVar[tuple[str, ...]] = ("Nadam", "NAdam")

    learning_rate: Annotated[float, Gt(0)] = 0.001
    beta_1: Annotated[float, Ge(0), Lt(1)] = 0.9
    beta_2: Annotated[float, Ge(0), Lt(1)] = 0.999
    epsilon: Annotated[float, Gt(0)] = 1e-7
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def slots(self) -> tuple[str, ...]:
        """The running averages of the gradient and of its square."""
        return ("m", "v")

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """The step's factors, computed once by one item, then one pass over the parameters."""
        betas = (self.beta_1, self.beta_2)
        logs = [math.log(beta) if beta > 0 else -math.inf for beta in betas]
        yield prepare.over(1, rates, clock, float(self.beta_1), *logs, work=2000)
        memory = [float(number) for beta in betas for number in (beta, 1 - beta)]
        numbers = (*memory, float(self.epsilon), float(self.weight_decay))
        yield step.over(w.size, w, dw, slots["m"], slots["v"], rates, *numbers, work=20)
