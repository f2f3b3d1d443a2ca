"""Lion: only the sign of the running average counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch, each
from kernels.optimizer import Optimizer

ZERO, ONE = np.float32(0), np.float32(1)


@each
def step(
    i: int, w: Any, dw: Any, m: Any, rates: Any, beta_1: Any, gain_1: Any, beta_2: Any, gain_2: Any, decay: Any
) -> None:
    """c = β₁·m + (1 − β₁)·g; w ← w − α·sign(c) − α·decay·w; m ← β₂·m + (1 − β₂)·g."""
    c = beta_1 * m[i] + gain_1 * dw[i]
    sign = ONE if c > ZERO else (-ONE if c < ZERO else c)
    m[i] = beta_2 * m[i] + gain_2 * dw[i]
    w[i] -= rates[0] * (sign + decay * w[i])


@final
@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion: w ← w − α·sign(β₁·m + (1 − β₁)·g), then m ← β₂·m + (1 − β₂)·g, with g = dC/dw (Chen et al. 2023).

    Every weight steps by exactly α, or not at all where the average is 0; one average instead of Adam's two. A good
    α is three to ten times smaller than for Adam, and `weight_decay`, which shrinks every weight by α·decay·w, as
    much larger.
    """

    type: ClassVar[str] = "lion"
    aliases: ClassVar[tuple[str, ...]] = ("Lion",)

    learning_rate: Annotated[float, Gt(0)] = 0.001
    beta_1: Annotated[float, Gt(0), Lt(1)] = 0.9
    beta_2: Annotated[float, Ge(0), Lt(1)] = 0.99
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def slots(self) -> tuple[str, ...]:
        """The running average of the gradient."""
        return ("m",)

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """One pass over the parameters."""
        memory = [float(number) for beta in (self.beta_1, self.beta_2) for number in (beta, 1 - beta)]
        yield step.over(w.size, w, dw, slots["m"], rates, *memory, float(self.weight_decay), work=10)
