"""When a running job is looked at: after its first step, and at the end of epochs 1, 2, 4, 8, … and the last.

A function of the job's plan alone: a run that is taken up again looks at the same steps as one that was never cut,
and however long a run is, it is looked at a few dozen times.
"""


def of_epoch(epoch: int, epochs: int) -> bool:
    """Whether the end of this epoch (from 1) is looked at: powers of two, and the last."""
    return epoch == epochs or epoch & (epoch - 1) == 0


def steps_before(step: int, taken: int, batch: int, steps_per_epoch: int, epoch: int, epochs: int) -> int | None:
    """How many of the next `taken` steps lie before the one that is looked at; None where none of them is.

    `step` steps are done in all, `batch` of them in this epoch (from 1).
    """
    if step == 0:
        return 0
    ends = batch + taken == steps_per_epoch
    return taken - 1 if ends and of_epoch(epoch, epochs) else None
