"""GRU: a recurrent layer whose gates mix the old state with a new one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, final

from kernels.cell_activations import CELL_ACTIVATIONS, ONE, CellActivation
from kernels.gru_grid import gru_grid_cell
from kernels.launch import device
from kernels.operator import Example
from kernels.recurrent import Recurrent
from kernels.recurrent_sweep import Cell, make_cell
from kernels.tensor import TensorSpec


@final
@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), in the form of Keras's `reset_after=True`, PyTorch's and cuDNN's.

    z, r = σ(x_t·w + b + h_{t−1}·u + c), g = tanh(x_t·w + b + r·(h_{t−1}·u + c)), each with its own columns in the
    order z, r, g; h_t = z·h_{t−1} + (1 − z)·g, h_0 = 0.
    x (n, t, features), w (features, 3·units), u (units, 3·units), b and c (3·units). y is h_T (n, units), or every
    h_t (n, t, units) with `return_sequences`. `go_backwards` reads the sequence from its end and, as in Keras,
    returns the states in the order in which they were made. `bidirectional` adds a second layer of the same kind,
    with weights of its own (backward_w, …), that reads from the end, and merges both, each output at its input's
    time: concat, sum, ave (mean) or mul. The gradient goes back through all steps.
    """

    type: ClassVar[str] = "gru"
    aliases: ClassVar[tuple[str, ...]] = ("GRU",)
    noun: ClassVar[str] = "gru"

    recurrent_activation: CellActivation = "sigmoid"

    def cell(self) -> Cell:
        """Three sums per unit; the state's share stays apart, because the reset gate scales it alone."""
        return gru_cell(self.activation, self.recurrent_activation)

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
            (cls(17, bias_initializer="ones"), (1, 1, 9)),
        ]
        return [Example(layer, TensorSpec(shape)) for layer, shape in cases]


@cache
def gru_cell(activation: str, recurrent_activation: str) -> Cell:
    """The cell with these activations; the same object for the same names, for kernels are told apart by it."""
    (value, slope), (gate, gate_slope) = CELL_ACTIVATIONS[activation], CELL_ACTIVATIONS[recurrent_activation]
    name = f"gru.{activation}.{recurrent_activation}"
    grid = gru_grid_cell(activation, recurrent_activation)
    return make_cell(name, 3, _step(value, gate), _back(slope, gate_slope), grid, split=True)


def _step(value: device, gate: device) -> device:
    # `kept` is the state's share of g, which the reset gate's gradient needs.
    def step(gates: Any, hidden: Any, before: Any, kept: Any, _kept_before: Any, state: Any, units: int) -> None:
        for j in range(2 * units):
            gates[j] = gate(gates[j] + hidden[j])
        for j in range(units):
            kept[j] = hidden[2 * units + j]
        for j in range(units):
            gates[2 * units + j] = value(gates[2 * units + j] + gates[units + j] * kept[j])
        for j in range(units):
            g = gates[2 * units + j]
            state[j] = g + gates[j] * (before[j] - g)

    return device(step)


def _back(slope: device, gate_slope: device) -> device:
    def back(
        dh: Any, _carry: Any, gates: Any, before: Any, kept: Any, _kept_before: Any, dsums: Any, dhidden: Any,
        _spare: Any, units: int,
    ) -> None:  # fmt: skip
        for j in range(units):
            dsums[j] = dh[j] * (before[j] - gates[2 * units + j]) * gate_slope(gates[j])
        for j in range(units):
            dsums[2 * units + j] = dh[j] * (ONE - gates[j]) * slope(gates[2 * units + j])
        for j in range(units):
            dsums[units + j] = dsums[2 * units + j] * kept[j] * gate_slope(gates[units + j])
        for j in range(2 * units):
            dhidden[j] = dsums[j]
        for j in range(units):
            dhidden[2 * units + j] = dsums[2 * units + j] * gates[units + j]
        for j in range(units):
            dh[j] *= gates[j]

    return device(back)
