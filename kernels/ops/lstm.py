"""LSTM: long short-term memory, a recurrent layer with a cell that gates keep, change and show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, final

from kernels.cell_activations import CELL_ACTIVATIONS, CellActivation
from kernels.launch import device
from kernels.lstm_grid import lstm_grid_cell
from kernels.operator import Example, ShapeError
from kernels.recurrent import Recurrent
from kernels.recurrent_sweep import Cell, make_cell
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = σ(x_t·w + h_{t−1}·u + b), g = tanh(x_t·w + h_{t−1}·u + b), each with its own columns of w, u and b in
    the order i, f, g, o; c_t = f·c_{t−1} + i·g, h_t = o·tanh(c_t), h_0 = c_0 = 0.
    x (n, t, features), w (features, 4·units), u (units, 4·units), b (4·units). y is h_T (n, units), or every h_t
    (n, t, units) with `return_sequences`. `unit_forget_bias` starts the forget gate's bias at 1 (Jozefowicz et al.
    2015). `go_backwards` reads the sequence from its end and, as in Keras, returns the states in the order in which
    they were made. `bidirectional` adds a second layer of the same kind, with weights of its own (backward_w, …),
    that reads from the end, and merges both, each output at its input's time: concat, sum, ave (mean) or mul.
    The gradient goes back through all steps.
    """

    type: ClassVar[str] = "lstm"
    aliases: ClassVar[tuple[str, ...]] = ("LSTM",)
    noun: ClassVar[str] = "lstm"

    recurrent_activation: CellActivation = "sigmoid"
    unit_forget_bias: bool = True

    def cell(self) -> Cell:
        """Four sums per unit, and the cell beside the state."""
        return lstm_cell(self.activation, self.recurrent_activation)

    def bias_start(self) -> str:
        """Ones for the forget gate, zeros for the others, or as the user says."""
        if not self.use_bias or not self.unit_forget_bias or self.bias_initializer == "ones":
            return self.bias_initializer
        if self.bias_initializer != "zeros":
            raise ShapeError(
                f"unit_forget_bias starts the other biases at zero, not by {self.bias_initializer!r}; "
                f"set unit_forget_bias: false"
            )
        return "unit_forget"

    @classmethod
    def examples(cls) -> list[Example]:
        """Last state and all states, both ways and each merge, activations, no bias, one step, whole tiles."""
        cases = [
            (cls(5), (3, 4, 2)),
            (cls(4, return_sequences=True, recurrent_activation="hard_sigmoid"), (2, 5, 3)),
            (cls(3, go_backwards=True, return_sequences=True, use_bias=False), (2, 4, 3)),
            (cls(2, bidirectional="concat", return_sequences=True), (2, 3, 2)),
            (cls(2, bidirectional="sum", kernel_initializer="he_normal"), (2, 3, 1)),
            (cls(2, bidirectional="ave", return_sequences=True, recurrent_initializer="he_normal"), (1, 4, 2)),
            (cls(2, bidirectional="mul", activation="linear"), (2, 3, 2)),
            (cls(17, bias_initializer="ones", unit_forget_bias=False), (1, 1, 9)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]


@cache
def lstm_cell(activation: str, recurrent_activation: str) -> Cell:
    """The cell with these activations; the same object for the same names, for kernels are told apart by it."""
    (value, slope), (gate, gate_slope) = CELL_ACTIVATIONS[activation], CELL_ACTIVATIONS[recurrent_activation]
    name = f"lstm.{activation}.{recurrent_activation}"
    grid = lstm_grid_cell(activation, recurrent_activation)
    return make_cell(name, 4, _step(value, gate), _back(value, slope, gate_slope), grid)


def _step(value: device, gate: device) -> device:
    # Short loops over few arrays: LLVM turns each into vectors, which it gives up on for a single long one.
    def step(gates: Any, _hidden: Any, _before: Any, c: Any, c_before: Any, state: Any, units: int) -> None:
        for j in range(2 * units):
            gates[j] = gate(gates[j])
        for j in range(2 * units, 3 * units):
            gates[j] = value(gates[j])
        for j in range(3 * units, 4 * units):
            gates[j] = gate(gates[j])
        for j in range(units):
            c[j] = gates[units + j] * c_before[j] + gates[j] * gates[2 * units + j]
        for j in range(units):
            state[j] = gates[3 * units + j] * value(c[j])

    return device(step)


def _back(value: device, slope: device, gate_slope: device) -> device:
    def back(
        dh: Any, dc: Any, gates: Any, _before: Any, c: Any, c_before: Any, dsums: Any, _dhidden: Any, shown: Any,
        units: int,
    ) -> None:  # fmt: skip
        for j in range(units):
            shown[j] = value(c[j])
        for j in range(units):
            dsums[3 * units + j] = dh[j] * shown[j] * gate_slope(gates[3 * units + j])
        for j in range(units):
            dc[j] += dh[j] * gates[3 * units + j] * slope(shown[j])
        for j in range(units):
            dsums[j] = dc[j] * gates[2 * units + j] * gate_slope(gates[j])
        for j in range(units):
            dsums[units + j] = dc[j] * c_before[j] * gate_slope(gates[units + j])
        for j in range(units):
            dsums[2 * units + j] = dc[j] * gates[j] * slope(gates[2 * units + j])
        for j in range(units):
            dc[j] *= gates[units + j]

    return device(back)
