"""AdamW: Adam with weight decay kept out of the averages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch
from kernels.optimizer import Optimizer
from kernels.optimizers import adam


@final
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: w ← w − α·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε) − α·decay·w.

    Loshchilov & Hutter 2019: added to the gradient, the decay would be divided by √v and lose its meaning.
    """

    type: ClassVar[str] = "adamw"
    aliases: ClassVar[tuple[str, ...]] = ("AdamW", "adam_w")

    learning_rate: Annotated[float, Gt(0)] = 0.001
    weight_decay: Annotated[float, Ge(0)] = 0.004
    beta_1: Annotated[float, Ge(0), Lt(1)] = 0.9
    beta_2: Annotated[float, Ge(0), Lt(1)] = 0.999
    epsilon: Annotated[float, Gt(0)] = 1e-7

    def slots(self) -> tuple[str, ...]:
        """The running averages of the gradient and of its square."""
        return ("m", "v")

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """Factors, then one pass over the parameters."""
        betas = (self.beta_1, self.beta_2)
        yield from adam.launches(betas, self.epsilon, self.weight_decay, w, dw, slots["m"], slots["v"], rates, clock)
