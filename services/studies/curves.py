"""Loss curves of trials, in the units that a study compares: epochs, rows seen, updates, seconds."""

import math
from collections.abc import Sequence

from services.studies.kind import Point, Trial

FEW_EPOCHS = 5
PIECES = 12
"""A run of few epochs is cut into so many pieces, so that its course can be judged."""


def per_epoch(trial: Trial) -> int:
    """Updates of the weights in an epoch."""
    return max(1, int(trial.outline.get("steps_per_epoch", 1)))


def start_of(trial: Trial) -> float | None:
    """The loss of the first piece of training that was reported, or None."""
    told = trial.series("batch_loss") or trial.series("loss")
    return told[0][1] if told and math.isfinite(told[0][1]) else None


def whole_run(trial: Trial) -> list[float]:
    """The loss from beginning to end: of each epoch, or of pieces of them where there are few."""
    epochs = [value for _, value in trial.series("loss")]
    if len(epochs) >= FEW_EPOCHS:
        return epochs
    pieces = [value for _, value in trial.series("batch_loss")]
    size = max(1, len(pieces) // PIECES)
    found = [math.fsum(pieces[k : k + size]) / len(pieces[k : k + size]) for k in range(0, len(pieces), size)]
    # The last word is the last epoch's, which is the mean over all rows.
    return [*found, *epochs[-1:]] if trial.done else found


def epochs_of(trial: Trial) -> list[tuple[float, float]]:
    """(epochs, loss): of each epoch, or window by window where there are few."""
    told, steps = trial.series("loss"), per_epoch(trial)
    told = told if len(told) >= FEW_EPOCHS else trial.series("batch_loss") or told
    return [(step / steps, value) for step, value in told]


def seconds_per_step(trial: Trial) -> float | None:
    """Training time spread evenly over the steps."""
    outcome = trial.outcome or {}
    seconds, steps = outcome.get("train_seconds"), outcome.get("step")
    return float(seconds) / int(steps) if seconds and steps else None


def shown(points: Sequence[tuple[float, float]], ceiling: float) -> list[Point]:
    """Points for a picture: what shot out of it ends at its upper edge."""
    found: list[Point] = []
    for x, y in points:
        if not y <= ceiling:
            found.append((x, ceiling))
            break
        found.append((x, y))
    return found
