"""A recurrent network that reads a sequence in pieces: its state goes out with an answer and comes back with the next.

The network is bound once more, for one row and one step. Reading a piece is one short run for each of its steps,
however long the sequence has become, and gives the numbers that the whole sequence in one go would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from kernels.backend import CpuBackend
from kernels.operator import Operator
from kernels.recurrent import Recurrent
from kernels.tensor import TensorSpec
from services.errors import Invalid, Mistake
from services.outline import INPUT, Outline, outline
from services.plan import Plan

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
State = dict[str, dict[str, Floats]]
"""What each recurrent layer remembers: `h`, its last output, and for lstm `c`, its cell."""

STEPWISE = frozenset({
    "add", "multiply", "dense", "dropout", "embedding", "gaussian_noise", "layer_normalization", "batch_normalization",
})  # fmt: skip
"""Layers that treat each step of a sequence by itself, beside activations."""

_LARGEST = float(np.finfo(np.float32).max)


def obstacle(network: Outline) -> str | None:
    """Why the network cannot read in pieces; None where it can."""
    if not any(isinstance(node.operator, Recurrent) for node in network.nodes):
        return "the network has no recurrent layer, so nothing goes on from piece to piece"
    timed: list[bool] = []
    for node in network.nodes:
        in_time = any(source == INPUT or timed[source] for source in node.sources)
        if in_time and (reason := _in_the_way(node.operator)):
            return f"{node.name} {reason}"
        timed.append(in_time and (not isinstance(node.operator, Recurrent) or node.operator.return_sequences))
    return None


def _in_the_way(operator: Operator) -> str | None:
    if isinstance(operator, Recurrent):
        if operator.bidirectional:
            return "is bidirectional: it also reads from the end, which is not there yet"
        return "goes backwards: it begins at the end, which is not there yet" if operator.go_backwards else None
    if operator.type in STEPWISE or operator.is_activation:
        return None
    return f"({operator.type}) looks at several steps of the sequence at once"


@final
class Stepper:
    """A network bound to one row and one step. Not to be used by two threads at once."""

    def __init__(
        self, layers: Sequence[Any], features: tuple[int, ...], dtype: str, weights: Mapping[str, Array]
    ) -> None:
        self._plan = Plan(outline(layers, TensorSpec((1, 1, *features), dtype)), CpuBackend())
        self._plan.load_weights(weights)
        self._memories: dict[str, Any] = {}
        for node, frame in zip(self._plan.outline.nodes, self._plan.frames, strict=True):
            if isinstance(node.operator, Recurrent):
                frame.first = self._plan.backend.zeros((1, node.operator.units))
                frame.first_kept = self._plan.backend.zeros(frame.first.shape)
                self._memories[node.name] = frame
        self._cells = {n.name for n in self._plan.outline.nodes if n.operator.type == "lstm"}
        self._program = self._plan.backend.program([*self._plan.forward(training=False)])

    def begin(self) -> State:
        """The state before the first step: zeros."""
        return {
            name: {part: np.zeros(frame.first.size, np.float32) for part in self._parts(name)}
            for name, frame in self._memories.items()
        }

    def read(self, steps: Array, state: State) -> tuple[Floats, State]:
        """The network's output after each of the steps (t, …), and the state after the last."""
        for name, frame in self._memories.items():
            frame.first[...] = state[name]["h"]
            frame.first_kept[...] = state[name].get("c", 0)
        found = np.empty((len(steps), self._plan.y.size), np.float32)
        for t, step in enumerate(steps):
            self._plan.x[0, 0] = step
            self._program.run()
            found[t] = self._plan.y.ravel()
            for frame in self._memories.values():
                frame.first[...] = frame.y.reshape(frame.first.shape)
                if "kept" in vars(frame):
                    frame.first_kept[...] = frame.kept.reshape(frame.first.shape)
        return found, self._state()

    def _state(self) -> State:
        found: State = {}
        for name, frame in self._memories.items():
            arrays = {"h": frame.first, "c": frame.first_kept}
            found[name] = {part: np.array(arrays[part].ravel()) for part in self._parts(name)}
        return found

    def _parts(self, name: str) -> tuple[str, ...]:
        return ("h", "c") if name in self._cells else ("h",)

    def to_json(self, state: State) -> dict[str, Any]:
        """A state as plain numbers, which read back to the last bit."""
        return {name: {part: values.tolist() for part, values in parts.items()} for name, parts in state.items()}

    def from_json(self, data: Any, path: str) -> State:
        """The state that `to_json` wrote; Invalid says what is none of this network's."""
        blank = self.begin()
        if not isinstance(data, Mapping) or set(data) != set(blank):
            message = f"a state of this network is an object with the keys {', '.join(blank)}"
            raise Invalid([Mistake(path, "not_a_state", message, 'Send what the last answer gave, or "new".')])
        found: State = {}
        mistakes: list[Mistake] = []
        for name, parts in blank.items():
            given = data[name]
            if not isinstance(given, Mapping) or set(given) != set(parts):
                message = f"{name} remembers {' and '.join(parts)}"
                mistakes.append(Mistake(f"{path}.{name}", "not_a_state", message))
                continue
            found[name] = {}
            for part, zeros in parts.items():
                if not _numbers(given[part], zeros.size):
                    message = f"this is a list of {zeros.size} numbers"
                    mistakes.append(Mistake(f"{path}.{name}.{part}", "not_a_state", message))
                    continue
                found[name][part] = np.array(given[part], np.float32)
        if mistakes:
            raise Invalid(mistakes)
        return found


def _numbers(values: Any, count: int) -> bool:
    """Whether these are so many finite float32 numbers."""
    good = isinstance(values, list) and len(values) == count
    return good and all(type(value) in (int, float) and abs(value) <= _LARGEST for value in values)
