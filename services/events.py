"""What training tells: facts, in order. Whoever consumes them decides what to record, checkpoint or stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt


@final
@dataclass(frozen=True)
class Cursor:
    """Where training stands, as plain JSON. With the plan's state and the best weights it is all that resuming needs.

    `batch` batches of `epoch` (from 0) are done, `step` in all; `loss_sum` and `tallies` are those of the epoch so far.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    tallies: Mapping[str, Any] = field(default_factory=dict)
    best_value: float | None = None
    best_epoch: int | None = None
    waited: int = 0
    stopped_early: bool = False

    def to_json(self) -> dict[str, Any]:
        """The cursor as JSON; floats keep every bit (their shortest text that reads back the same)."""
        return asdict(self)


@final
@dataclass(frozen=True)
class Standing:
    """A moment at which training can be taken up again: the cursor, and the best weights so far where they are kept."""

    cursor: Cursor
    best: Mapping[str, npt.NDArray[np.float32]] | None = None


@final
@dataclass(frozen=True)
class Started:
    """Everything is compiled and bound; the first step comes next. `window` steps lie between two events."""

    steps_per_epoch: int
    window: int


@final
@dataclass(frozen=True)
class WindowEnded:
    """A few steps are done. `loss` is the mean over their rows; `epoch` counts from 1.

    `report` is false where a long run has more windows than anybody wants to see.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    report: bool
    standing: Standing


@final
@dataclass(frozen=True)
class Looked:
    """One step has just been taken within a window, and the plan's arrays hold what it left: activations, gradients,
    new parameters. `before` are the flat parameters as they were; `rows` counts the rows of the batch.

    No standing: training cannot be taken up again from here. Whoever looks only reads.
    """

    step: int
    epoch: int
    rows: int
    learning_rate: float
    before: npt.NDArray[np.float32]


@final
@dataclass(frozen=True)
class EpochEnded:
    """All rows have been seen once more. `values` are the epoch's metrics by name; those of validation begin `val_`.

    `report` is as in WindowEnded; where it is false and nothing waits for them, validation metrics are missing.
    """

    step: int
    epoch: int
    values: Mapping[str, float]
    report: bool
    standing: Standing


@final
@dataclass(frozen=True)
class Finished:
    """Training is over: `completed`, or `early_stopped` because nothing improved any more."""

    reason: str
    step: int
    epoch: int
    best_epoch: int | None


Event = Started | Looked | WindowEnded | EpochEnded | Finished
