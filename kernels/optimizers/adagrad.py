"""Adagrad: a weight that has moved much moves less."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

from annotated_types import Ge, Gt

from kernels.launch import Launch, each
from kernels.optimizer import Optimizer


@each
def step(i: int, w: Any, dw: Any, squares: Any, rates: Any, floor: Any, decay: Any) -> None:
    """s ← s + g²; w ← w − α·g / √(s + floor) − α·decay·w."""
    squares[i] += dw[i] * dw[i]
    w[i] -= rates[0] * (dw[i] / math.sqrt(squares[i] + floor) + decay * w[i])


@final
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: w ← w − α·g / √(s₀ + Σ g² + ε), the sum over all steps so far and g = dC/dw (Duchi et al. 2011).

    A weight whose gradient is seldom keeps large steps: meant for sparse inputs, such as words. `s₀` is
    `initial_accumulator_value`; it is added where the state is read, so the state itself starts at zero.
    `weight_decay` shrinks every weight by α·decay·w besides.
    """

    type: ClassVar[str] = "adagrad"
    aliases: ClassVar[tuple[str, ...]] = ("Adagrad", "ada_grad")

    learning_rate: Annotated[float, Gt(0)] = 0.001
    initial_accumulator_value: Annotated[float, Ge(0)] = 0.1
    epsilon: Annotated[float, Gt(0)] = 1e-7
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def slots(self) -> tuple[str, ...]:
        """The sum of the squared gradients of all steps."""
        return ("squares",)

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """One pass over the parameters."""
        floor = float(self.initial_accumulator_value + self.epsilon)
        yield step.over(w.size, w, dw, slots["squares"], rates, floor, float(self.weight_decay), work=12)
