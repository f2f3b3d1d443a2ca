"""What a doctor reads of a network: norms of weights and gradients around one step, and what its units do.

It reads the plan's own arrays. Small batches say little about a unit, so some fixed train rows go through the network
without learning (between two windows, when the next one fills all these arrays anew).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from kernels.backend import Program
from services.data_facts import sample
from services.events import Looked
from services.illness import Activity, Weights
from services.outline import INPUT, Node, Outline
from services.plan import Feed, Plan

Array = npt.NDArray[Any]
ROWS: Final = 128
"""Rows that tell what a unit does: a batch of so many is looked at as it is."""

ENTRIES: Final = 2**18
"""Numbers that are read of one activation at most, and of at least eight rows."""

ENDS: Final = {"sigmoid": (0.02, 0.98), "tanh": (-0.96, 0.96)}
"""The same place of the same curve: tanh(x) = 2 sigmoid(2x) − 1."""

SHARED: Final = ("dense", "conv1d", "conv2d")
"""Layers whose kernel holds one unit in each column of its last axis."""


@final
class Probe:
    """Reads one plan; `source` are the train rows on the device."""

    def __init__(self, plan: Plan, source: Feed) -> None:
        self.plan, self.source = plan, source
        self.kernels = [
            (s, plan.outline.nodes[s.node]) for s in plan.outline.segments if _is_kernel(s.param, plan, s.node)
        ]
        self.bent = [*_activations(plan.outline)]
        self._program: Program | None = None
        self._order = sample(source.rows, ROWS)

    @property
    def batch_suffices(self) -> bool:
        """Whether the batch of a step is large enough to judge units by."""
        return self.plan.batch >= min(ROWS, self.source.rows)

    def weights(self, looked: Looked) -> tuple[Weights, ...]:
        """Every kernel around the step; nothing where a number is not finite."""
        after, slope = self.plan.backend.get(self.plan.w), self.plan.backend.get(self.plan.dw)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = after - looked.before
        if not (np.isfinite(moved).all() and np.isfinite(slope).all()):
            return ()
        found = []
        for s, node in self.kernels:
            at = slice(s.offset, s.offset + s.spec.size)
            sizes = (_norm(looked.before[at]), _norm(slope[at]), _norm(moved[at]))
            found.append(Weights(node.path, node.name, *sizes, _spread(node, after[at])))
        return tuple(found)

    def of_the_step(self, rows: int) -> tuple[Activity, ...]:
        """What the units did in the step just taken, over the first `rows` rows of its batch."""
        seen = [_Units(self.plan.outline.nodes[number]) for number in self.bent]
        self._read(seen, rows)
        return tuple(units.activity() for units in seen)

    def of_fixed_rows(self) -> tuple[Activity, ...]:
        """What the units do for the same few train rows, always, with dropout and the like off."""
        seen = [_Units(self.plan.outline.nodes[number]) for number in self.bent]
        if not seen:
            return ()
        if self._program is None:
            self._program = self._bind()
        for batch in range(-(-len(self._order) // self.plan.batch)):
            self.plan.set_clock(0, batch)
            self._program.run()
            self._read(seen, min(self.plan.batch, len(self._order) - batch * self.plan.batch))
        return tuple(units.activity() for units in seen)

    def _bind(self) -> Program:
        feed = Feed(len(self._order), self.source.x, None, self.plan.backend.array(self._order))
        return self.plan.looking(feed)

    def _read(self, seen: list[_Units], rows: int) -> None:
        for number, units in zip(self.bent, seen, strict=True):
            y = self.plan.frames[number].y
            units.add(self.plan.backend.get(y[: min(rows, max(8, ENTRIES // (y.size // len(y))))]))


@final
class _Units:
    """Counts over the outputs of one activation."""

    def __init__(self, node: Node) -> None:
        self.node, self.kind = node, node.operator.type
        self.on = np.zeros(node.signature.output.shape[-1], bool)
        self.flat = self.all = 0

    def add(self, y: Array) -> None:
        values = y.reshape(-1, y.shape[-1])
        if self.kind in ENDS:
            low, high = ENDS[self.kind]
            self.flat += int(np.count_nonzero(values < low)) + int(np.count_nonzero(values > high))
            self.all += values.size
        else:
            self.on |= values.max(axis=0) > 0

    def activity(self) -> Activity:
        saturated = self.flat / self.all if self.all else None
        idle = 0.0 if self.kind in ENDS else float(1 - self.on.mean())
        return Activity(self.node.path, self.node.name, self.kind, len(self.on), idle, saturated)


def _is_kernel(param: str, plan: Plan, number: int) -> bool:
    node = plan.outline.nodes[number]
    return param == "w" and "embedding" not in node.operator.type


def _activations(outline: Outline) -> Iterator[int]:
    """Hidden relu, sigmoid and tanh with a weight at or before them."""
    trained = {segment.node for segment in outline.segments}
    learns: list[bool] = []
    for number, node in enumerate(outline.nodes):
        learns.append(number in trained or any(s != INPUT and learns[s] for s in node.sources))
        if learns[-1] and node.operator.type in ("relu", *ENDS) and number < len(outline.nodes) - 1:
            yield number


def _norm(values: Array) -> float:
    # Not a product of vectors: that would wake the threads of a linear algebra library.
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))


def _spread(node: Node, kernel: Array) -> float | None:
    """The largest difference between units over the root mean square; None where there are no two units to compare."""
    units = node.signature.output.shape[-1]
    if node.operator.type not in SHARED or units < 2:
        return None
    table = kernel.reshape(-1, units)[:ROWS].astype(np.float64)
    size = float(np.sqrt(np.mean(np.square(table))))
    return float(np.ptp(table, axis=1).max()) / size if size else 0.0
