"""What an optimizer is: state per parameter, and one fused update over the flat parameter buffer."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from kernels.launch import Launch


class Optimizer(abc.ABC):
    """Turns gradients into a step. Concrete ones are final frozen dataclasses with Keras 3's field names.

    All parameters lie in one flat array, and so do gradients and state, so an update is one launch.
    """

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    learning_rate: float

    @abc.abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the state arrays, each as long as the parameters, zero at the start."""

    @abc.abstractmethod
    def update(self, w: Any, dw: Any, slots: Mapping[str, Any], rates: Any, clock: Any) -> Iterator[Launch]:
        """Launches for one step. `rates` is a float array: [0] this step's learning rate, [1] to [3] free for the
        optimizer's own per-step factors. `clock[0]` is the number of the step, from 0."""
