"""Batches without Python: rows are gathered, outputs recorded and counters advanced by launches of the step itself.

`clock` is int32 [step, batch of the epoch, valid rows, slot]: the step numbers schedules and random streams, the
batch says which rows of the order come next, the slot says where outputs are recorded until the host reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kernels.launch import Launch, each

STEP, BATCH, VALID, SLOT = 0, 1, 2, 3


@each
def begin(i: int, clock: Any, rows: int, batch: int) -> None:
    """valid = min(batch, rows left): the last batch of an epoch may be short, its padding rows count for nothing."""
    left = rows - clock[1] * batch
    clock[2] = left if left < batch else batch


@each
def set_rate(i: int, clock: Any, schedule: Any, rates: Any) -> None:
    """This step's learning rate, from the table of all steps."""
    rates[0] = schedule[clock[0]]


@each
def gather(j: int, k: int, data: Any, order: Any, clock: Any, out: Any, batch: int, features: int) -> None:
    """Row j of the batch = data[order[batch number · batch + j]]; zeros beyond the valid rows."""
    if j < clock[2]:
        row = order[clock[1] * batch + j]
        out[j * features + k] = data[row * features + k]
    else:
        out[j * features + k] = 0


@each
def record(j: int, k: int, values: Any, history: Any, clock: Any, batch: int, features: int) -> None:
    """Keep the batch's values in this step's slot of the history."""
    history[(clock[3] * batch + j) * features + k] = values[j * features + k]


@each
def advance(i: int, clock: Any) -> None:
    """On to the next step, batch and slot."""
    clock[0] += 1
    clock[1] += 1
    clock[3] += 1


@each
def add_to(i: int, total: Any, share: Any) -> None:
    """The gradient of an output that several layers take is the sum of theirs."""
    total[i] += share[i]


def gather_rows(data: Any, order: Any, clock: Any, out: Any) -> Iterator[Launch]:
    """Fill `out` (batch, …) with the clock's rows of `data` (rows, …)."""
    batch = int(out.shape[0])
    features = out.size // batch
    yield gather.over((batch, features), data, order, clock, out, batch, features)


def record_rows(values: Any, history: Any, clock: Any) -> Iterator[Launch]:
    """Keep `values` (batch, …) in the clock's slot of `history` (slots, batch, …)."""
    batch = int(values.shape[0])
    features = values.size // batch
    yield record.over((batch, features), values, history, clock, batch, features)
