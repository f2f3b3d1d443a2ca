"""The CPU twins of recurrence: some rows of the batch go through all steps, forward or back, in one sweep.

Rows know nothing of each other, so a thread takes its rows through time without waiting for anybody. The recurrent
weights are packed into panels once per sweep; a step is one product of the micro-kernel and one pass over the cell.
Arrays are (n, steps, …) in the order of the input, whichever way the sweep goes: `sums` (gates · units) holds the
input's share and becomes the gates, `before` (units) is the state that each step began with, `kept` (units) is what
else the cell remembers. With `has_first`, `first` and `first_kept` (n, units) are the state and the memory that the
sequence itself begins with, otherwise zeros; no gradient goes to them. The gradient of the weights is no part of a
sweep: it is one product over all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from kernels.gemm import multiply, pack_columns, pack_rows, panel_width, pointer_like, shift
from kernels.launch import Body, device, pair
from kernels.recurrent_grid import GridCell, backward_grid, forward_grid

SLACK = 64
"""Columns that a packed matrix may be wider than it counts: two panels of the widest processor."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """What a recurrent layer computes at one step, bound to its kernels.

    `gates` are the sums per unit. `split`: the state's share of the sums stays apart from the input's, with a bias
    of its own. `remembers`: the cell keeps an array beside its state.
    """

    gates: int
    split: bool
    remembers: bool
    forward: pair
    backward: pair


def make_cell(
    name: str, gates: int, step: device, back: device, grid: GridCell, *, split: bool = False, remembers: bool = True
) -> Cell:
    """Bind one step of a cell, forward and back, to sweeps over time.

    CPU: `step(gates, hidden, before, kept, kept_before, state, units)` turns one row's sums into gates and writes
    the new state; `back(dstate, carry, gates, before, kept, kept_before, dsums, dhidden, spare, units)` writes the
    gradients of the sums, leaves in dstate the state's gradient that does not pass through the weights, and in
    carry what goes to the step before.
    """
    forward = pair(_forward(gates, split, step), forward_grid(gates, split, grid), name=f"{name}.forward")
    backward = pair(_backward(gates, split, back), backward_grid(gates, split, grid), name=f"{name}.backward")
    return Cell(gates, split, remembers, forward, backward)


@device
def clear(target: Any, count: int) -> None:
    """Zeros."""
    for j in range(count):
        target[j] = 0


@device
def copy(target: Any, source: Any, count: int) -> None:
    """target = source."""
    for j in range(count):
        target[j] = source[j]


@device
def add(target: Any, source: Any, count: int) -> None:
    """target += source."""
    for j in range(count):
        target[j] += source[j]


@device
def multiply_packed(
    rows: int, columns: int, depth: int, a: Any, a_row: int, panels: Any, base: Any, base_row: int, has_base: int,
    c: Any, c_row: int,
) -> None:  # fmt: skip
    """c = base + a · b for a matrix b of `columns` columns that lies packed in panels."""
    width = panel_width(a)
    for left in range(0, columns, width):
        multiply(rows, min(width, columns - left), depth, 1, a, a_row, 1, 0, shift(panels, left * depth), width, 0,
                 shift(base, left), base_row, has_base, shift(c, left), c_row)  # fmt: skip


@device
def padded(columns: int, model: Any) -> Any:
    """Columns of a packed matrix: whole panels."""
    width = panel_width(model)
    return (columns + width - 1) // width * width


def forward_scratch(rows: int, units: int, cell: Cell) -> int:
    """Floats of scratch that a forward sweep of so many rows needs."""
    return units * (cell.gates * units + SLACK) + 2 * units + (rows * cell.gates * units if cell.split else 0)


def backward_scratch(rows: int, units: int, cell: Cell) -> int:
    """Floats of scratch that a backward sweep of so many rows needs."""
    return cell.gates * units * (units + SLACK) + (2 * rows + 2) * units


def _forward(gates: int, split: bool, step: device) -> Body:
    apart = 1 if split else 0

    def sweep(
        begin: int, end: int, scratch: Any, sums: Any, u: Any, bias: Any, before: Any, kept: Any, first: Any,
        first_kept: Any, y: Any, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int,
        has_bias: int, has_first: int,
    ) -> None:  # fmt: skip
        rows, many = end - begin, gates * units
        panels = pointer_like(scratch, u)
        state = shift(panels, units * padded(many, u))
        zeros = shift(state, units)
        hidden = shift(zeros, units)
        pack_rows(panels, u, many, units, many)
        clear(zeros, units)
        for s in range(steps):
            t, past = (steps - 1 - s, steps - s) if reverse else (s, s - 1)
            at = begin * steps + t
            if s == 0:
                for i in range(rows):
                    if has_first:
                        copy(shift(before, (at + i * steps) * units), shift(first, (begin + i) * units), units)
                    else:
                        clear(shift(before, (at + i * steps) * units), units)
            own = shift(sums, at * many)
            product, product_row = (hidden, many) if apart else (own, steps * many)
            base, base_row, has_base = (bias, 0, has_bias) if apart else (own, steps * many, 1)
            multiply_packed(rows, many, units, shift(before, at * units), steps * units, panels, base, base_row,
                            has_base, product, product_row)  # fmt: skip
            for i in range(rows):
                here, row = at + i * steps, (begin + i) * steps
                start = shift(first_kept, (begin + i) * units) if has_first else zeros
                earlier = start if s == 0 else shift(kept, (row + past) * units)
                step(shift(sums, here * many), shift(product, i * product_row), shift(before, here * units),
                     shift(kept, here * units), earlier, state, units)  # fmt: skip
                copy(shift(y, (begin + i) * y_row + y_first + s * y_step), state, units)
                if s + 1 < steps:
                    copy(shift(before, (row + (t - 1 if reverse else t + 1)) * units), state, units)

    return sweep


def _backward(gates: int, split: bool, back: device) -> Body:
    remains = 1 if split else 0

    def sweep(
        begin: int, end: int, scratch: Any, dy: Any, sums: Any, u: Any, before: Any, kept: Any, dsums: Any,
        dhidden: Any, steps: int, units: int, reverse: int, y_row: int, y_first: int, y_step: int,
    ) -> None:  # fmt: skip
        rows, many = end - begin, gates * units
        panels = pointer_like(scratch, u)
        dstate = shift(panels, many * padded(units, u))
        carry = shift(dstate, rows * units)
        spare = shift(carry, rows * units)
        zeros = shift(spare, units)
        pack_columns(panels, u, many, many, units)
        clear(dstate, 2 * rows * units)
        clear(zeros, units)
        for s in range(steps - 1, -1, -1):
            t, past = (steps - 1 - s, steps - s) if reverse else (s, s - 1)
            at = begin * steps + t
            for i in range(rows):
                here, row, own = at + i * steps, (begin + i) * steps, shift(dstate, i * units)
                if y_step != 0 or s == steps - 1:
                    add(own, shift(dy, (begin + i) * y_row + y_first + s * y_step), units)
                earlier = zeros if s == 0 else shift(kept, (row + past) * units)
                back(own, shift(carry, i * units), shift(sums, here * many), shift(before, here * units),
                     shift(kept, here * units), earlier, shift(dsums, here * many), shift(dhidden, here * many),
                     spare, units)  # fmt: skip
            if s > 0:
                multiply_packed(rows, units, many, shift(dhidden, at * many), steps * many, panels, dstate, units,
                                remains, dstate, units)  # fmt: skip

    return sweep
