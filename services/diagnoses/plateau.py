"""Steps that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from services.illness import Case, Illness, Seen, Stage
from services.remedies import rate


@final
class Plateau(Illness):
    """The weights go on moving, but the training loss has not fallen through half of the run: the steps go to and fro
    across a valley instead of along it."""

    type: ClassVar[str] = "plateau"
    title: ClassVar[str] = "Plateau"
    stages: ClassVar[tuple[Stage, ...]] = ("epoch", "end")
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    looks: ClassVar[int] = 2
    formula: ClassVar[str] = (
        "fall of the training loss since half as many epochs, relative; told from epoch 8 on, at a constant learning"
        " rate, where the loss is above half of that of a constant guess and a step still changes a kernel by more than"
        " 1e-3 of its size"
    )
    unit: ClassVar[str] = "fall of the loss through half of the run"
    threshold: ClassVar[float] = 0.01
    source: ClassVar[str] = (
        "Amazon SageMaker Debugger, rule LossNotDecreasing (0.1 % in 10 steps), over half of the run"
    )
    explanation: ClassVar[str] = (
        "The loss has stood still for half of the run although the weights keep moving."
        " Smaller steps can go down where these only go to and fro."
    )
    next_step: ClassVar[str] = "Take a third of the learning rate, or let it fall (learning_rate_schedule: cosine)."
    explains: ClassVar[frozenset[str]] = frozenset({"network_too_small", "trained_too_short"})

    def look(self, case: Case) -> Iterator[Seen]:
        """A loss that stands still while the weights move."""
        before, now = case.earlier(), case.now
        constant = case.spec["training"]["learning_rate_schedule"]["type"] == "constant"
        moving = max((w.ratio for w in case.weights), default=0.0) > 1e-3
        if before is None or now is None or case.epoch < 8 or not constant or not moving:
            return
        fall = 1 - now.loss / before.loss if before.loss else 1.0
        if fall < self.threshold and case.level is not None and case.level > 0.5:
            yield Seen(fall, patch=rate(case.spec, 1 / 3))
