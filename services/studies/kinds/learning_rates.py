"""Which learning rates are too small, good, too big? The same job over a ladder of rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, ClassVar, Final, final

from annotated_types import Gt, Len, Lt

from services.errors import Mistake
from services.intervals import half_width, mean
from services.studies.curves import epochs_of, shown, start_of, whole_run
from services.studies.kind import (
    Base,
    Certainty,
    Conclusion,
    Kind,
    Line,
    Panel,
    Span,
    Trial,
    Variant,
    by_variant,
    scores,
)
from services.studies.words import amount, listed, number

Rate = Annotated[float, Gt(0), Lt(1e6)]

GOOD: Final = 0.05
"""A rung is good when its final loss is at most so far from the best, as a share of the way that the best one went."""
IDLE: Final = 0.05
"""It does not improve when it went less than this share of that way."""
REBOUND: Final = 0.1
"""It oscillates when the loss climbed back by more than this share of the way from where it had already been."""
BLOWN_UP: Final = 2.0
"""It diverged, even with numbers left, when its loss is this many times the loss of the untrained network."""
TOO_LITTLE: Final = 0.02
"""Nothing was learnt at all when the best rung lowered the loss by less than this share."""


@final
@dataclass(frozen=True)
class Rung:
    """One rate: its runs' final losses, and what the measured rules say. `gap` and `rebound` are shares of the way from
    the untrained loss to the best final one."""

    rate: float
    losses: tuple[float, ...]
    diverged: bool
    gap: float
    rebound: float
    judged: str
    why: str

    @property
    def loss(self) -> float:
        """The mean final loss; infinite where every run diverged."""
        return mean(self.losses) if self.losses else math.inf


@final
@dataclass(frozen=True)
class LearningRates(Kind):
    """The same job over a ladder of learning rates: too small, good and too big, told apart by measured rules.

    With L₀ the loss of the untrained network and B the best final loss, a rate is good when its final loss is at most
    B + 0.05·(L₀ − B). Of the others one is too big when its cost became infinite or doubled, when the loss climbed back
    by more than 0.1·(L₀ − B) on the way, or when it lies above the best rate; else it is too small.
    """

    type: ClassVar[str] = "learning_rates"
    aliases: ClassVar[tuple[str, ...]] = ("learning_rate",)
    learning_rates: Annotated[tuple[Rate, ...], Len(2, 40)] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def mistakes(self, base: Base) -> list[Mistake]:
        """A rung stands on the ladder once."""
        twice = sorted({rate for rate in self.learning_rates if self.learning_rates.count(rate) > 1})
        return [Mistake("learning_rates", "twice", f"{number(rate)} stands there twice") for rate in twice]

    def variants(self, base: Base) -> Sequence[Variant]:
        """One for each rate, from the smallest to the largest."""
        place = "training.optimizer.learning_rate"
        return [Variant({"learning_rate": rate}, {place: rate}) for rate in sorted(self.learning_rates)]

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """Judge every rung, and say in which stretch the good ones lie."""
        groups = [group for group in by_variant(trials) if any(t.done or t.diverged for t in group)]
        start = _start(groups)
        rungs = judged(groups, start)
        best = min(rungs, key=lambda rung: rung.loss)
        rows = [
            [rung.rate, rung.judged, rung.why, _finite(rung.loss), _mean(scores(group, base.metric)), group[0].job]
            for rung, group in zip(rungs, groups, strict=True)
        ]
        columns = ["learning_rate", "verdict", "why", "final loss", base.metric, "job"]
        panels = _panels(rungs, groups, start)
        figures = {"start_loss": start, "best_loss": _finite(best.loss), "best_rate": best.rate,
                   "good": [rung.rate for rung in rungs if rung.judged == "good"],
                   "rungs": {number(rung.rate): rung.judged for rung in rungs}}  # fmt: skip
        verdict, certainty, findings = _told(rungs, best, start)
        return Conclusion(verdict, certainty, columns, rows, panels, findings, figures)


def judged(groups: Sequence[Sequence[Trial]], start: float) -> list[Rung]:
    """Every group of runs of one rate with its verdict; `start` is the untrained loss."""
    found = [_measured(group) for group in groups]
    best_rate, best = min(((rate, mean(losses) if losses else math.inf) for rate, losses, _, _ in found),
                          key=lambda one: one[1])  # fmt: skip
    way = start - best
    return [_judge(*one, start, best, way, best_rate) for one in found]


def _measured(group: Sequence[Trial]) -> tuple[float, tuple[float, ...], bool, float]:
    """Rate, final losses, whether half of the runs or more diverged, and the median of the largest climbs."""
    losses, climbs, lost = [], [], 0
    for trial in group:
        curve = whole_run(trial)
        lost += trial.diverged
        if trial.done and curve and math.isfinite(curve[-1]):
            losses.append(curve[-1])
        climbs.append(_climb(curve))
    rate = float(group[0].varied["learning_rate"])
    return rate, tuple(losses), 2 * lost >= len(group) or not losses, median(climbs)


def _climb(curve: Sequence[float]) -> float:
    """How far the loss climbed above where it had already been."""
    lowest, most = math.inf, 0.0
    for value in curve:
        most = max(most, value - lowest if math.isfinite(lowest) else 0.0)
        lowest = min(lowest, value)
    return most


def _judge(
    rate: float, losses: tuple[float, ...], diverged: bool, climb: float, start: float, best: float, way: float,
    best_rate: float,
) -> Rung:  # fmt: skip
    loss = mean(losses) if losses else math.inf
    gap, rebound = ((loss - best) / way, climb / way) if way > 0 else (math.inf, 0.0)
    blown_up = loss > best + (BLOWN_UP - 1) * abs(start) + way if way > 0 else False
    if diverged or blown_up:
        why = "the cost became infinite or not a number" if diverged else "the loss grew to a multiple of the start"
        return Rung(rate, losses, diverged, gap, rebound, "too big", f"diverged: {why}")
    if gap <= GOOD:
        return Rung(rate, losses, diverged, gap, rebound, "good", f"within {GOOD:.0%} of the best final loss")
    idle = gap > 1 - IDLE
    if rebound > REBOUND:
        why = f"oscillating: the loss climbed back by {rebound:.0%} of the way"
        return Rung(rate, losses, diverged, gap, rebound, "too big", why)
    why = "not improving" if idle else f"ended {gap:.0%} of the way short of the best"
    side = "too small" if rate < best_rate else "too big"
    return Rung(rate, losses, diverged, gap, rebound, side, f"slow: {why}" if side == "too small" and not idle else why)


def _start(groups: Sequence[Sequence[Trial]]) -> float:
    """The loss of the untrained network: what the smallest rate, which hardly moves, reports first."""
    found = [start for group in groups[:1] for trial in group if (start := start_of(trial)) is not None]
    return mean(found) if found else math.inf


def _told(rungs: Sequence[Rung], best: Rung, start: float) -> tuple[str, Certainty, list[str]]:
    if not math.isfinite(best.loss):
        hint = f"Every rate diverged; try rates below {number(rungs[0].rate)}."
        return f"All {len(rungs)} rates are too big: every run diverged.", "clear", [hint]
    if start - best.loss < TOO_LITTLE * abs(start):
        verdict = "No conclusion: no rate lowered the loss, so something else is in the way."
        hint = "Look at the inputs (are they scaled?), the labels and the network; or train for longer."
        return verdict, "none", [hint]
    good = [rung for rung in rungs if rung.judged == "good"]
    ends = f"{number(good[0].rate)} to {number(good[-1].rate)}" if len(good) > 1 else number(good[0].rate)
    wide = half_width(best.losses)
    verdict = f"Good: {ends}. Best: {number(best.rate)}, with a final loss of {amount(best.loss, wide)}."
    for side in ("too small", "too big"):
        if those := [number(rung.rate) for rung in rungs if rung.judged == side]:
            verdict += f" {side.capitalize()}: {listed(those)}."
    findings = [f"{number(r.rate)} is {r.judged} ({r.why})." for r in rungs if r.judged != "good"]
    inside = good[0] is not rungs[0] and good[-1] is not rungs[-1]
    if not inside:
        findings.append("The ladder ends among good rates: with more rungs there, the stretch may prove wider.")
    runs = len(best.losses)
    findings.append(
        "One seed: rates whose final losses are close may change places. Extend the study by some seeds."
        if runs < 2 else f"Means of {runs} seeds."
    )  # fmt: skip
    return verdict, "clear" if inside else "weak", findings


def _panels(rungs: Sequence[Rung], groups: Sequence[Sequence[Trial]], start: float) -> list[Panel]:
    ceiling = 1.5 * start if math.isfinite(start) else math.inf
    curves = [
        Line(f"{number(rung.rate)} ({rung.judged})", shown(epochs_of(group[0]), ceiling), "line")
        for rung, group in zip(rungs, groups, strict=True)
    ]
    ends = []
    for rung in rungs:
        if math.isfinite(rung.loss):
            wide = half_width(rung.losses)
            around = () if wide is None else (rung.loss - wide, min(rung.loss + wide, ceiling))
            ends.append((rung.rate, min(rung.loss, ceiling), *around))
    good = [rung.rate for rung in rungs if rung.judged == "good"]
    spans = [Span(good[0], good[-1], "good")] if good else []
    return [
        Panel("Loss while training", "epoch", "loss", curves),
        Panel("Final loss by learning rate", "learning rate", "final loss",
              [Line("mean of the seeds", ends)], log_x=True, spans=spans),
    ]  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
