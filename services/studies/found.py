"""What a search has found out: the trials of each suggestion together, and which of them were beyond hope, and when."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from services.intervals import mean
from services.studies.curves import per_epoch
from services.studies.kind import Base, Trial, by_variant
from services.studies.places import at
from services.studies.suggest import Past, Pruner, State, given_up


@final
@dataclass(frozen=True)
class Found:
    """All trials of one suggestion. `past.score` is the mean of `scores`, one for each seed that has one; of what was
    given up it is the value at that epoch `end`, for how far a job got meanwhile is chance."""

    trials: Sequence[Trial]
    past: Past
    end: int | None
    scores: tuple[float, ...]

    @property
    def number(self) -> int:
        """Which suggestion this is; 0 is the job as posted."""
        return int(self.trials[0].varied["trial"])

    @property
    def score(self) -> float | None:
        """The score of one that ran to its end."""
        return self.past.score if self.past.state == "done" else None

    @property
    def told(self) -> str:
        """What became of it."""
        if self.end is not None:
            return f"given up after epoch {self.end}"
        return "succeeded" if self.past.state == "done" else self.past.state


def validated(base: Base) -> bool:
    """Whether the job keeps rows to judge trials by."""
    return int(base.outline.get("rows", {}).get("validation", 0)) > 0


def part_of(base: Base) -> str:
    """The part that trials are judged on."""
    return "validation" if validated(base) else "test"


def past_of(base: Base, names: Mapping[str, str], trial: Trial) -> Past:
    """One trial as samplers and pruners see it; `names` are what `varied` calls each place."""
    steps = per_epoch(trial)
    told = [(round(step / steps), value) for step, value in trial.series(f"val_{base.metric}") if math.isfinite(value)]
    score = trial.score(base.metric, part_of(base)) if trial.done else None
    values = {place: trial.varied.get(name) for place, name in names.items()}
    return Past(values, told, int(at(trial.spec, "training.epochs", 0) or 0), score, _state(trial, score))


def found_of(
    base: Base, names: Mapping[str, str], trials: Sequence[Trial], rounds: Sequence[Sequence[Trial]], pruner: Pruner
) -> list[Found]:
    """The suggestions in the order of the search; `rounds` are the same trials by round."""
    pasts = {trial.number: past_of(base, names, trial) for trial in trials}
    ends: dict[int, int | None] = dict.fromkeys(pasts)
    if pruner != "none":
        judged = given_up(pruner, base.better, [[pasts[trial.number] for trial in round_] for round_ in rounds])
        for round_, stops in zip(rounds, judged, strict=True):
            ends |= {trial.number: stop for trial, stop in zip(round_, stops, strict=True)}
    return [_joined(group, pasts, ends) for group in by_variant(trials)]


def _joined(group: Sequence[Trial], pasts: Mapping[int, Past], ends: Mapping[int, int | None]) -> Found:
    """A suggestion is given up when one of its seeds is."""
    mine: list[Past] = [pasts[trial.number] for trial in group]
    stops = [(end, past) for trial, past in zip(group, mine, strict=True) if (end := ends[trial.number]) is not None]
    values: Mapping[str, Any] = mine[0].values
    if stops:
        end, past = min(stops, key=lambda one: one[0])
        curve = [point for point in past.curve if point[0] <= end]
        return Found(group, Past(values, curve, past.epochs, curve[-1][1], "given up"), end, ())
    scores = tuple(past.score for past in mine if past.score is not None)
    states = {past.state for past in mine}
    state: State = "done" if scores else "diverged" if "diverged" in states else "failed"
    return Found(
        group, Past(values, mine[0].curve, mine[0].epochs, mean(scores) if scores else None, state), None, scores
    )


def _state(trial: Trial, score: float | None) -> State:
    """One that still trains may yet be done."""
    if score is not None or trial.state == "running":
        return "done"
    return "diverged" if trial.diverged else "failed"
