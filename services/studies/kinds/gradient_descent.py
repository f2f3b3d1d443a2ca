"""Stochastic, mini-batch or batch gradient descent: what each costs, how noisy it is, which one suits this machine."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, final

from annotated_types import Gt, Interval, Len
from pydantic import BeforeValidator

from services.errors import Mistake
from services.intervals import half_width, mean
from services.job_spec import Section
from services.studies.curves import seconds_per_step, shown, start_of
from services.studies.kind import SUPERVISED, Base, Conclusion, Kind, Line, Panel, Point, Trial, Variant, by_variant
from services.studies.words import amount, number, seconds

REACHED: Final = 0.05
"""The target is this share of the way short of the best final loss; the way begins at the untrained loss."""
APART: Final = 1.5
"""With one seed, the fastest descent is clearly the fastest when the next one takes so many times as long."""


@final
class Descent(Section):
    """One of the descents: its batch size, and where wanted its own learning rate and number of epochs."""

    batch_size: Annotated[int, Interval(ge=1, le=65536)] | Literal["full"]
    learning_rate: Annotated[float, Gt(0)] | None = None
    epochs: Annotated[int, Interval(ge=1, le=100_000)] | None = None


def _descent(value: Any) -> Any:
    """`64` is {batch_size: 64}."""
    return {"batch_size": value} if isinstance(value, int | str) and not isinstance(value, bool) else value


AnyDescent = Annotated[Descent, BeforeValidator(_descent, json_schema_input_type=Descent | int | Literal["full"])]


@final
@dataclass(frozen=True)
class Reach:
    """What one descent needed to come to the target: epochs of rows, updates, seconds; None where it never did."""

    rows: float | None
    updates: float | None
    seconds: tuple[float, ...]


@final
@dataclass(frozen=True)
class GradientDescent(Kind):
    """The same job with several batch sizes: 1 (stochastic), a few (mini-batch), all rows (batch gradient descent).

    The loss against rows seen, updates and seconds; how far the gradients of single batches scatter about the mean one;
    and which descent comes to 95 % of the best result first on this machine. A descent may have a learning rate and a
    number of epochs of its own.
    """

    type: ClassVar[str] = "gradient_descent"
    tasks: ClassVar[tuple[str, ...]] = SUPERVISED
    descents: Annotated[tuple[AnyDescent, ...], Len(2, 20)] = (
        Descent(batch_size=1), Descent(batch_size=16), Descent(batch_size=128), Descent(batch_size="full"),
    )  # fmt: skip

    def mistakes(self, base: Base) -> list[Mistake]:
        """A batch size stands there once."""
        sizes = [descent.batch_size for descent in self.descents]
        twice = sorted({str(size) for size in sizes if sizes.count(size) > 1})
        return [Mistake("descents", "twice", f"the batch size {size} stands there twice") for size in twice]

    def variants(self, base: Base) -> Sequence[Variant]:
        """One for each batch size."""
        return [Variant({"batch_size": one.batch_size}, _changes(one)) for one in self.descents]

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """What each descent needed for the same loss, and the one that this machine should use."""
        groups = [group for group in by_variant(trials) if any(trial.done for trial in group)]
        if not groups:
            return Conclusion("No conclusion: every descent diverged; take a smaller learning rate.", "none", [], [])
        finals = [mean([_final(t) for t in group if t.done]) for group in groups]
        starts = [start for group in groups for t in group if (start := start_of(t)) is not None]
        start, best = max(starts), min(finals)
        target = best + REACHED * (start - best)
        reaches = [_reach(group, target) for group in groups]
        rows = [
            [group[0].varied["batch_size"], final, _quotient(group), reach.rows, reach.updates,
             mean(reach.seconds) if reach.seconds else None, _noise(group), group[0].state, group[0].job]
            for group, final, reach in zip(groups, finals, reaches, strict=True)
        ]  # fmt: skip
        columns = ["batch_size", "final loss", "s per epoch", "rows to target", "updates to target", "s to target",
                   "gradient noise", "state", "job"]  # fmt: skip
        told = _told(groups, finals, reaches, target)
        figures = {"target_loss": target, "start_loss": start, "best_loss": best, **told[3]}
        return Conclusion(told[0], told[1], columns, rows, _panels(groups, start), told[2], figures)


def _changes(descent: Descent) -> dict[str, Any]:
    changes: dict[str, Any] = {"training.batch_size": descent.batch_size, "training.gradient_noise": True}
    if descent.learning_rate is not None:
        changes["training.optimizer.learning_rate"] = descent.learning_rate
    if descent.epochs is not None:
        changes["training.epochs"] = descent.epochs
    return changes


def _final(trial: Trial) -> float:
    told = trial.series("loss")
    return told[-1][1] if told else math.inf


def _reach(group: Sequence[Trial], target: float) -> Reach:
    """Means over the runs that came to the target."""
    steps, times, rows = [], [], []
    for trial in group:
        found = next((step for step, value in trial.series("loss") if value <= target), None)
        pace = seconds_per_step(trial)
        if found is not None and pace is not None:
            steps.append(float(found))
            times.append(found * pace)
            rows.append(found / _steps(trial) * _rows(trial))
    if 2 * len(times) < len(group) or not times:
        return Reach(None, None, ())
    return Reach(mean(rows), mean(steps), tuple(times))


def _rows(trial: Trial) -> int:
    return int(trial.outline["rows"]["train"])


def _steps(trial: Trial) -> int:
    return max(1, int(trial.outline["steps_per_epoch"]))


def _quotient(group: Sequence[Trial]) -> float | None:
    found = [pace * _steps(trial) for trial in group if (pace := seconds_per_step(trial)) is not None]
    return mean(found) if found else None


def _noise(group: Sequence[Trial], moment: str = "start") -> float | None:
    """Standard deviation of a batch's gradient, as a multiple of the mean gradient's length."""
    found = [
        float(told["ratio"])
        for trial in group
        if isinstance(told := ((trial.outcome or {}).get("gradient_noise") or {}).get(moment), Mapping)
        and told.get("ratio") is not None
    ]
    return mean(found) if found else None


def _told(
    groups: Sequence[Sequence[Trial]], finals: Sequence[float], reaches: Sequence[Reach], target: float
) -> tuple[str, Any, list[str], dict[str, Any]]:
    timed = sorted(
        ((mean(reach.seconds), k) for k, reach in enumerate(reaches) if reach.seconds), key=lambda one: one[0]
    )  # fmt: skip
    names = [str(group[0].varied["batch_size"]) for group in groups]
    took, first = timed[0]
    wide = half_width(reaches[first].seconds)
    verdict = (
        f"This machine should use batch_size {names[first]}: it comes to a loss of {number(target)} in"
        f" {seconds(took) if wide is None else amount(took, wide) + ' s'}"
    )
    apart = timed[1][0] / took if len(timed) > 1 else math.inf
    verdict += f"; the next, {names[timed[1][1]]}, takes {number(apart)} times as long." if len(timed) > 1 else "."
    certainty = "clear" if _clear(reaches, timed) else "weak"
    findings = []
    if certainty == "weak":
        findings.append(f"{names[first]} and {names[timed[1][1]]} are too close to tell apart.")
    findings += [
        f"batch_size {names[k]} did not come that far: it ended at {number(finals[k])}. Give it more epochs, or a"
        " learning rate of its own."
        for k, reach in enumerate(reaches)
        if not reach.seconds
    ]
    spread = max(finals) / min(finals) - 1 if min(finals) > 0 else math.inf
    findings.append(f"The final losses lie within {spread:.1%} of each other." if spread < 1 else "")
    scale = _scale(groups)
    if scale is not None:
        findings.append(
            f"Gradient noise scale at the start: {number(scale)} rows. Below it a larger batch makes each step better"
            " nearly in proportion; far above it the additional rows buy little."
        )
    figures = {"fastest": names[first], "seconds": {names[k]: s for s, k in timed}, "noise_scale": scale}
    return verdict, certainty, [one for one in findings if one], figures


def _clear(reaches: Sequence[Reach], timed: Sequence[tuple[float, int]]) -> bool:
    """Whether the fastest is faster than the next one beyond doubt."""
    if len(timed) < 2:
        return True
    (took, first), (later, second) = timed[0], timed[1]
    wide, wide2 = half_width(reaches[first].seconds), half_width(reaches[second].seconds)
    if wide is None or wide2 is None:
        return later > APART * took
    return later - wide2 > took + wide


def _scale(groups: Sequence[Sequence[Trial]]) -> float | None:
    """The simple noise scale tr Σ / |G|², in rows, from the smallest batches that tell it (McCandlish et al. 2018)."""
    for group in groups:
        for trial in group:
            told = ((trial.outcome or {}).get("gradient_noise") or {}).get("start") or {}
            if told.get("scale") is not None:
                return float(told["scale"])
    return None


def _panels(groups: Sequence[Sequence[Trial]], start: float) -> list[Panel]:
    ways: list[tuple[str, Callable[[Trial], float | None]]] = [
        ("rows seen", lambda trial: _rows(trial) / _steps(trial)),
        ("updates", lambda trial: 1.0),
        ("seconds", seconds_per_step),
    ]
    made = []
    for name, unit in ways:
        lines = []
        for group in groups:
            trial = next(t for t in group if t.done)
            factor = unit(trial)
            points: list[Point] = [
                *shown([(step * factor, value) for step, value in trial.series("loss")], 1.5 * start)
            ] if factor is not None else []  # fmt: skip
            lines.append(Line(str(trial.varied["batch_size"]), points, "line"))
        made.append(Panel(f"Loss by {name}", name, "loss", lines, log_x=True, log_y=True))
    noise = [
        (float(size), ratio)
        for group in groups
        if (ratio := _noise(group)) and isinstance(size := group[0].outline.get("batch_size"), int)
    ]
    if len(noise) > 1:
        lines = [Line("at the start", sorted(noise))]
        title, y = "Gradient noise by batch size", "deviation / mean"
        made.append(Panel(title, "batch size", y, lines, log_x=True, log_y=True))
    return made
