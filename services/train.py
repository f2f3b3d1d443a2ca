"""The training loop: a generator of events. It knows no store, no queue, no clock on the wall and no user."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from kernels.philox import permutation
from services import looks
from services.errors import TrainyardError
from services.events import Cursor, EpochEnded, Event, Finished, Looked, Standing, Started, WindowEnded
from services.job_spec import EarlyStoppingSpec, TrainingSpec
from services.metrics import Meter, metric
from services.plan import Feed, Plan

Array = npt.NDArray[Any]
Look = Callable[[Array, Array], None]

HISTORY_BYTES = 16 * 2**20
WINDOWS_PER_EPOCH = 50
WINDOW_FLOPS = (2e7, 2e9)
"""Work between two looks at the host: 10 ms of a CPU core at least, so that looking costs little, and a second at most,
so that a stop is heard soon."""

REPORTS = 2000
"""Points that a series of one run has at most: a longer run reports every second, third, … epoch or window."""


@final
class Diverged(TrainyardError):
    """The cost is no longer a number: the steps were too large."""

    code = "diverged"

    def __init__(self, step: int, learning_rate: float) -> None:
        """Name the step and its learning rate."""
        self.step = step
        super().__init__(
            f"At step {step} the cost became infinite or not a number: training diverged.",
            hint=f"Try a learning rate below {learning_rate:.3g} (a tenth is a good next guess), scale the inputs to"
            " about -1 … 1, or clip the gradient (clipnorm: 1.0).",
        )


@final
@dataclass(frozen=True)
class Rows:
    """A part of a data set on the device, and its targets on the host for the metrics."""

    feed: Feed
    targets: Array
    renew: Callable[[int], None] | None = None
    """Makes the rows those of an epoch, where they are not the same in all."""


def window_steps(plan: Plan, steps_per_epoch: int) -> int:
    """Steps between two looks at the host. Depends on the job alone, so every run of it looks at the same steps."""
    least, most = (int(flops / (3 * plan.outline.flops + 1)) for flops in WINDOW_FLOPS)
    by_epoch = max(-(-steps_per_epoch // WINDOWS_PER_EPOCH), least)
    by_memory = HISTORY_BYTES // (4 * plan.batch * (plan.outline.output.features + 1))
    return max(1, min(by_epoch, by_memory, most, steps_per_epoch))


def train(
    plan: Plan, training: Rows, validation: Rows | None, spec: TrainingSpec, rates: Array, names: list[str],
    resume: Standing | None = None, watched: bool = False,
) -> Iterator[Event]:  # fmt: skip
    """Run the plan over the training rows, epoch after epoch, from the beginning or from a standing.

    `rates` holds the learning rate of every step; `names` are the metrics to report. The plan's weights and optimizer
    state are those of the standing. `watched` runs pause at chosen steps (`services.looks`), which changes no number.
    Raises Diverged when the cost is no longer finite. Close the generator to cancel.
    """
    standing = resume or Standing(Cursor())
    steps = -(-training.feed.rows // plan.batch)
    runner = _Runner(plan, training, window_steps(plan, steps), rates)
    judge = _Evaluator(plan, validation) if validation is not None else None
    yield Started(steps, runner.size)
    windows = -(-steps // runner.size)
    every_window, every_epoch = -(-windows * spec.epochs // REPORTS), -(-spec.epochs // REPORTS)
    for epoch in range(standing.cursor.epoch, spec.epochs):
        if standing.cursor.stopped_early:
            break
        runner.shuffle(epoch, spec)
        meter = Meter(names)
        meter.restore(standing.cursor.tallies)
        while standing.cursor.batch < steps:
            size = runner.begin(standing.cursor, steps)
            at = standing.cursor
            head = looks.steps_before(at.step, size, at.batch, steps, epoch + 1, spec.epochs) if watched else None
            if head is not None:
                before, rows = runner.one_step_after(head, at)
                yield Looked(at.step + head + 1, epoch + 1, rows, float(rates[at.step + head]), before)
                head += 1
            cursor, loss = runner.end(at, size, size - (head or 0), meter)
            standing = replace(standing, cursor=cursor)
            report = (epoch * windows + -(-cursor.batch // runner.size)) % every_window == 0
            yield WindowEnded(cursor.step, epoch + 1, loss, float(rates[cursor.step - 1]), report, standing)
        values = {"loss": standing.cursor.loss_sum / training.feed.rows, **meter.values()}
        report = (epoch + 1) % every_epoch == 0 or epoch + 1 == spec.epochs
        if judge is not None and (report or spec.early_stopping is not None):
            values |= {f"val_{name}": value for name, value in judge.values(names).items()}
        standing = _after_epoch(standing, values, spec.early_stopping, plan)
        yield EpochEnded(standing.cursor.step, epoch + 1, values, report or standing.cursor.stopped_early, standing)
    if standing.best is not None:
        plan.load_weights(standing.best)
    done = standing.cursor
    best = None if done.best_epoch is None else done.best_epoch + 1
    yield Finished("early_stopped" if done.stopped_early else "completed", done.step, done.epoch, best)


def evaluate(plan: Plan, part: Rows, names: list[str], look: Look | None = None) -> dict[str, float]:
    """`loss` and the metrics `names` of a part, dropout and the like switched off; `look` sees outputs and targets."""
    return _Evaluator(plan, part).values(names, look)


def outputs_of(plan: Plan, part: Rows) -> Array:
    """What the network gives for every row of a part, dropout and the like switched off."""
    found: list[Array] = []
    evaluate(plan, part, [], lambda y, _: found.append(np.array(y)))
    return np.concatenate(found)


def inner_outputs(plan: Plan, part: Rows, node: int, rows: int) -> Array:
    """What one of the network's operators gives for the first rows of a part, with dropout and the like off."""
    spec = plan.outline.nodes[node].signature.output
    found = np.empty((rows, *spec.shape[1:]), spec.dtype)
    history = plan.backend.zeros((1, *spec.shape), spec.dtype)
    program = plan.inside(part.feed, node, history)
    for first in range(0, rows, plan.batch):
        plan.set_clock(0, first // plan.batch)
        program.run()
        found[first : first + plan.batch] = plan.backend.get(history)[0][: rows - first]
    return found


@final
class _Runner:
    """Runs windows of training steps and brings their losses and outputs to the host."""

    def __init__(self, plan: Plan, rows: Rows, window: int, rates: Array) -> None:
        self.plan, self.rows, self.size, self.rates = plan, rows, window, rates
        output = plan.outline.output.shape
        self.losses = plan.backend.zeros((window, plan.batch))
        self.outputs = plan.backend.zeros((window, *output))
        self.schedule = plan.backend.array(np.asarray(rates, np.float32))
        self.program = plan.training(rows.feed, self.schedule, self.losses, self.outputs)
        self.order = np.arange(rows.feed.rows, dtype=np.int32)

    def shuffle(self, epoch: int, spec: TrainingSpec) -> None:
        """Put this epoch's order of rows on the device: a function of seed and epoch alone."""
        if spec.shuffle:
            self.order = permutation(self.rows.feed.rows, spec.seed, epoch).astype(np.int32)
        self.plan.backend.put(self.rows.feed.order, self.order)
        if self.rows.renew is not None:
            self.rows.renew(epoch)

    def begin(self, cursor: Cursor, steps_per_epoch: int) -> int:
        """Make the next window of the epoch ready; how many steps it has."""
        self.plan.set_clock(cursor.step, cursor.batch)
        return min(self.size, steps_per_epoch - cursor.batch)

    def one_step_after(self, head: int, cursor: Cursor) -> tuple[Array, int]:
        """Run `head` steps and one more; the flat parameters before that one, and the rows of its batch."""
        self.program.run(head)
        before = self.plan.backend.get(self.plan.w)
        self.program.run(1)
        left = self.rows.feed.rows - (cursor.batch + head) * self.plan.batch
        return before, min(self.plan.batch, left)

    def end(self, cursor: Cursor, steps: int, left: int, meter: Meter) -> tuple[Cursor, float]:
        """Run the `left` steps of a window that are still to do; the new cursor and the mean loss of its rows."""
        self.program.run(left)
        first = cursor.batch * self.plan.batch
        taken = self.order[first : first + steps * self.plan.batch]
        losses = self.plan.backend.get(self.losses).reshape(-1)[: len(taken)]
        finite = np.isfinite(losses)
        if not finite.all():
            step = cursor.step + int(np.argmin(finite)) // self.plan.batch
            raise Diverged(step + 1, float(self.rates[step]))
        outputs = self.plan.backend.get(self.outputs).reshape(-1, *self.plan.outline.output.shape[1:])
        meter.add(outputs[: len(taken)], self.rows.targets[taken])
        total = float(losses.sum(dtype=np.float64))
        done = replace(
            cursor, step=cursor.step + steps, batch=cursor.batch + steps,
            loss_sum=cursor.loss_sum + total, tallies=meter.state(),
        )  # fmt: skip
        return done, total / len(taken)


@final
class _Evaluator:
    """Runs a part through the network, without learning."""

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self.plan, self.rows = plan, rows
        self.batches = -(-rows.feed.rows // plan.batch)
        fits = HISTORY_BYTES // (4 * plan.batch * (plan.outline.output.features + 1))
        self.size = max(1, min(self.batches, fits))
        self.losses = plan.backend.zeros((self.size, plan.batch))
        self.outputs = plan.backend.zeros((self.size, *plan.outline.output.shape))
        self.program = plan.evaluation(rows.feed, self.losses, self.outputs)

    def values(self, names: list[str], look: Look | None = None) -> dict[str, float]:
        """Mean loss and metrics of the whole part."""
        meter, total = Meter(names), 0.0
        for first in range(0, self.batches, self.size):
            steps = min(self.size, self.batches - first)
            self.plan.set_clock(0, first)
            self.program.run(steps)
            targets = self.rows.targets[first * self.plan.batch : (first + steps) * self.plan.batch]
            total += float(self.plan.backend.get(self.losses).reshape(-1)[: len(targets)].sum(dtype=np.float64))
            outputs = self.plan.backend.get(self.outputs).reshape(-1, *self.plan.outline.output.shape[1:])
            meter.add(outputs[: len(targets)], targets)
            if look is not None:
                look(outputs[: len(targets)], targets)
        return {"loss": total / self.rows.feed.rows, **meter.values()}


def _after_epoch(
    standing: Standing, values: Mapping[str, float], stopping: EarlyStoppingSpec | None, plan: Plan
) -> Standing:
    """The standing at the start of the next epoch."""
    cursor = standing.cursor
    fresh = replace(cursor, epoch=cursor.epoch + 1, batch=0, loss_sum=0.0, tallies={})
    if stopping is None:
        return replace(standing, cursor=fresh)
    value = values[stopping.monitor]
    better = -1.0 if upwards(stopping) else 1.0
    best = math.inf if cursor.best_value is None else better * cursor.best_value
    if better * value < best - stopping.min_delta:
        fresh = replace(fresh, best_value=value, best_epoch=cursor.epoch, waited=0)
        kept = plan.weights() if stopping.restore_best_weights else None
        return Standing(fresh, kept)
    waited = cursor.waited + 1
    fresh = replace(fresh, waited=waited, stopped_early=waited >= max(1, stopping.patience))
    return replace(standing, cursor=fresh)


def upwards(stopping: EarlyStoppingSpec) -> bool:
    """Whether more of the monitored metric is better: `mode`, or what the metric itself says."""
    name = stopping.monitor.removeprefix("val_")
    if stopping.mode == "auto":
        return name != "loss" and metric(name).better == "max"
    return stopping.mode == "max"
