"""SimpleRNN: the plain recurrent layer, whose state is its output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, final

from kernels.cell_activations import CELL_ACTIVATIONS, ZERO
from kernels.launch import device
from kernels.operator import Example
from kernels.recurrent import Recurrent
from kernels.recurrent_grid import GridCell
from kernels.recurrent_sweep import Cell, make_cell
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class SimpleRNN(Recurrent):
    """A plain recurrent layer (Elman 1990): h_t = tanh(x_t·w + h_{t−1}·u + b), h_0 = 0.

    x (n, t, features), w (features, units), u (units, units), b (units). y is h_T (n, units), or every h_t
    (n, t, units) with `return_sequences`. `go_backwards` reads the sequence from its end and, as in Keras, returns
    the states in the order in which they were made. `bidirectional` adds a second layer of the same kind, with
    weights of its own (backward_w, …), that reads from the end, and merges both, each output at its input's time:
    concat, sum, ave (mean) or mul. The gradient goes back through all steps.
    """

    type: ClassVar[str] = "simple_rnn"
    aliases: ClassVar[tuple[str, ...]] = ("SimpleRNN",)
    noun: ClassVar[str] = "simple_rnn"

    def cell(self) -> Cell:
        """One sum per unit."""
        return simple_cell(self.activation)

    @classmethod
    def examples(cls) -> list[Example]:
        """Last state and all states, both ways and each merge, activations, no bias, one step, whole tiles."""
        cases = [
            (cls(5), (3, 4, 2)),
            (cls(4, return_sequences=True, activation="sigmoid"), (2, 5, 3)),
            (cls(3, go_backwards=True, return_sequences=True, use_bias=False), (2, 4, 3)),
            (cls(2, bidirectional="concat", return_sequences=True), (2, 3, 2)),
            (cls(3, bidirectional="sum", activation="hard_sigmoid"), (2, 3, 1)),
            (cls(3, bidirectional="ave", return_sequences=True, recurrent_initializer="he_normal"), (1, 4, 2)),
            (cls(3, bidirectional="mul", activation="linear", kernel_initializer="he_normal"), (2, 3, 2)),
            (cls(33, bias_initializer="ones", activation="relu"), (1, 1, 17)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]


@cache
def simple_cell(activation: str) -> Cell:
    """The cell with this activation; the same object for the same name, for kernels are told apart by it."""
    value, slope = CELL_ACTIVATIONS[activation]

    def step(gates: Any, _hidden: Any, _before: Any, _kept: Any, _kept_before: Any, state: Any, units: int) -> None:
        for j in range(units):
            gates[j] = value(gates[j])
        for j in range(units):
            state[j] = gates[j]

    def back(
        dstate: Any, _carry: Any, gates: Any, _before: Any, _kept: Any, _kept_before: Any, dsums: Any, _dhidden: Any,
        _spare: Any, units: int,
    ) -> None:  # fmt: skip
        for j in range(units):
            dsums[j] = dstate[j] * slope(gates[j])

    def step_unit(
        sums: Any, at: int, hidden: Any, j: int, _units: int, _kept: Any, _kept_at: int, _earlier: Any, _before: Any
    ) -> Any:
        made = value(hidden[j])
        sums[at + j] = made
        return made

    def back_unit(
        e: Any, j: int, _units: int, _carry: Any, sums: Any, at: int, _before: Any, _kept: Any, _kept_at: int,
        _earlier: Any, dsums: Any, _dhidden: Any, d: Any,
    ) -> Any:  # fmt: skip
        made = e * slope(sums[at + j])
        dsums[at + j] = made
        d[j] = made
        return ZERO

    grid = GridCell(device(step_unit), device(back_unit))
    return make_cell(f"simple_rnn.{activation}", 1, device(step), device(back), grid, remembers=False)
