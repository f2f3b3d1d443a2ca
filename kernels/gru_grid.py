"""One unit of a GRU at one step, as a CUDA thread computes it; the sweep around it is kernels.recurrent_grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cell_activations import CELL_ACTIVATIONS, ONE
from kernels.launch import device
from kernels.recurrent_grid import GridCell


def gru_grid_cell(activation: str, recurrent_activation: str) -> GridCell:
    """The cell with these activations; gates in the order z, r, g."""
    (value, slope), (gate, gate_slope) = CELL_ACTIVATIONS[activation], CELL_ACTIVATIONS[recurrent_activation]

    def step(
        sums: Any, at: int, hidden: Any, j: int, units: int, kept: Any, kept_at: int, _earlier: Any, before: Any
    ) -> Any:
        first = np.int32(at + j)
        second, third = np.int32(first + units), np.int32(first + 2 * units)
        share = hidden[j + 2 * units]
        z, r = gate(sums[first] + hidden[j]), gate(sums[second] + hidden[j + units])
        g = value(sums[third] + r * share)
        sums[first], sums[second], sums[third] = z, r, g
        kept[kept_at] = share
        return g + z * (before - g)

    def back(
        e: Any, j: int, units: int, _carry: Any, sums: Any, at: int, before: Any, kept: Any, kept_at: int,
        _earlier: Any, dsums: Any, dhidden: Any, d: Any,
    ) -> Any:  # fmt: skip
        first = np.int32(at + j)
        second, third = np.int32(first + units), np.int32(first + 2 * units)
        z, r, g = sums[first], sums[second], sums[third]
        dz, dg = e * (before - g) * gate_slope(z), e * (ONE - z) * slope(g)
        dr, dshare = dg * kept[kept_at] * gate_slope(r), dg * r
        dsums[first], dsums[second], dsums[third] = dz, dr, dg
        dhidden[first], dhidden[second], dhidden[third] = dz, dr, dshare
        d[j], d[j + units], d[j + 2 * units] = dz, dr, dshare
        return e * z

    return GridCell(device(step), device(back))
