"""One unit of an LSTM at one step, as a CUDA thread computes it; the sweep around it is kernels.recurrent_grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cell_activations import CELL_ACTIVATIONS, ZERO
from kernels.launch import device
from kernels.recurrent_grid import GridCell


def lstm_grid_cell(activation: str, recurrent_activation: str) -> GridCell:
    """The cell with these activations; gates in the order i, f, g, o."""
    (value, slope), (gate, gate_slope) = CELL_ACTIVATIONS[activation], CELL_ACTIVATIONS[recurrent_activation]

    def step(
        sums: Any, at: int, hidden: Any, j: int, units: int, c: Any, c_at: int, c_before: Any, _before: Any
    ) -> Any:
        i, f = gate(hidden[j]), gate(hidden[j + units])
        g, o = value(hidden[j + 2 * units]), gate(hidden[j + 3 * units])
        made = f * c_before + i * g
        first = np.int32(at + j)
        sums[first], sums[np.int32(first + units)] = i, f
        sums[np.int32(first + 2 * units)], sums[np.int32(first + 3 * units)] = g, o
        c[c_at] = made
        return o * value(made)

    def back(
        e: Any, j: int, units: int, carry: Any, sums: Any, at: int, _before: Any, c: Any, c_at: int, c_before: Any,
        dsums: Any, _dhidden: Any, d: Any,
    ) -> Any:  # fmt: skip
        first = np.int32(at + j)
        i, f = sums[first], sums[np.int32(first + units)]
        g, o = sums[np.int32(first + 2 * units)], sums[np.int32(first + 3 * units)]
        shown = value(c[c_at])
        dc = carry[j] + e * o * slope(shown)
        di, df = dc * g * gate_slope(i), dc * c_before * gate_slope(f)
        dg, do = dc * i * slope(g), e * shown * gate_slope(o)
        carry[j] = dc * f
        d[j], d[j + units], d[j + 2 * units], d[j + 3 * units] = di, df, dg, do
        dsums[first], dsums[np.int32(first + units)] = di, df
        dsums[np.int32(first + 2 * units)], dsums[np.int32(first + 3 * units)] = dg, do
        return ZERO

    return GridCell(device(step), device(back))
