"""Gradient descent, with momentum where wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

from annotated_types import Ge, Gt, Lt

from kernels.launch import Launch, each
from kernels.optimizer import Optimizer


@each
def descend(i: int, w: Any, dw: Any, rates: Any, weight_decay: Any) -> None:
    """w ← w − α·(dC/dw + decay·w)."""
    w[i] -= rates[0] * (dw[i] + weight_decay * w[i])


@each
def descend_with_momentum(i: int, w: Any, dw: Any, velocity: Any, rates: Any, momentum: Any, decay: Any) -> None:
    """v ← μ·v − α·dC/dw; w ← w + v − α·decay·w."""
    velocity[i] = momentum * velocity[i] - rates[0] * dw[i]
    w[i] += velocity[i] - rates[0] * decay * w[i]


@each
def descend_looking_ahead(i: int, w: Any, dw: Any, velocity: Any, rates: Any, momentum: Any, decay: Any) -> None:
    """v ← μ·v − α·dC/dw; w ← w + μ·v − α·dC/dw − α·decay·w."""
    push = rates[0] * dw[i]
    velocity[i] = momentum * velocity[i] - push
    w[i] += momentum * velocity[i] - push - rates[0] * decay * w[i]


@final
@dataclass(frozen=True)
class Sgd(Optimizer):
    """Gradient descent: w ← w − α·dC/dw.

    The gradient is signed. Some courses print the rule as w − α·|dC/dw|; with the absolute value a weight could only
    ever fall, also where the cost falls as the weight rises. Descent needs the sign: it steps against the slope.

    With `momentum` μ: v ← μ·v − α·dC/dw, w ← w + v (Polyak 1964); `nesterov` looks ahead: w ← w + μ·v − α·dC/dw
    (Nesterov 1983, in the form of Sutskever et al. 2013). `weight_decay` shrinks every weight by α·decay·w besides.
    """

    type: ClassVar[str] = "sgd"
    aliases: ClassVar[tuple[str, ...]] = ("SGD",)

    learning_rate: Annotated[float, Gt(0)] = 0.01
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Ge(0)] = 0.0

    def slots(self) -> tuple[str, ...]:
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """One pass over the parameters."""
        decay = float(self.weight_decay)
        if not self.momentum:
            yield descend.over(w.size, w, dw, rates, decay, work=4)
            return
        body = descend_looking_ahead if self.nesterov else descend_with_momentum
        yield body.over(w.size, w, dw, slots["velocity"], rates, float(self.momentum), decay, work=8)
