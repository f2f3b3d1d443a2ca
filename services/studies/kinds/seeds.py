"""How far do the results of one job lie apart when nothing but its luck changes?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from services.agents.spec import TASK
from services.intervals import deviation, half_width, mean
from services.studies.kind import SUPERVISED, Base, Conclusion, Kind, Line, Panel, Trial, Variant, scores
from services.studies.words import amount, listed, number


@final
@dataclass(frozen=True)
class Seeds(Kind):
    """The same job with several seeds: other initial weights, another order of the rows, other dropout.

    The mean of the scores with its 95 % interval (Student's t), their deviation, and how far apart two single runs
    must lie before that means anything.
    """

    type: ClassVar[str] = "seeds"
    tasks: ClassVar[tuple[str, ...]] = (*SUPERVISED, TASK)
    default_seeds: ClassVar[int] = 5

    def variants(self, base: Base) -> Sequence[Variant]:
        """The job itself."""
        return [Variant({}, {})]

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """Mean, spread and interval."""
        found = scores(trials, base.metric)
        rows = [[t.varied["seed"], t.state, t.score(base.metric), t.job] for t in trials]
        columns = ["seed", "state", base.metric, "job"]
        if not found:
            return Conclusion("No conclusion: no trial has a score.", "none", columns, rows)
        wide, spread = half_width(found), deviation(found)
        figures = {"metric": base.metric, "mean": mean(found), "half_width": wide, "deviation": spread,
                   "lowest": min(found), "highest": max(found), "seeds": len(found)}  # fmt: skip
        panel = _panel(base, trials, mean(found), wide)
        if wide is None or spread is None:
            verdict = f"{base.metric} is {number(found[0])} with one seed: how far luck reaches is not known."
            return Conclusion(verdict, "none", columns, rows, [panel], ["Extend the study by some seeds."], figures)
        verdict = (
            f"{base.metric} is {amount(mean(found), wide)} (95 % interval of the mean, {len(found)} seeds); single"
            f" runs lie between {number(min(found))} and {number(max(found))}."
        )
        # The difference of two independent runs has √2 times the deviation of one.
        apart = half_width(found) and 2.0 * 2**0.5 * spread
        findings = [
            f"Two single runs that differ by less than {number(apart or 0.0)} may differ by luck alone"
            f" (2·√2 times the deviation {number(spread)})."
        ]
        failed = [str(t.varied["seed"]) for t in trials if not t.done]
        findings += [f"Without a score: seed {listed(failed)}."] if failed else []
        return Conclusion(verdict, "clear" if len(found) >= 3 else "weak", columns, rows, [panel], findings, figures)


def _panel(base: Base, trials: Sequence[Trial], middle: float, wide: float | None) -> Panel:
    points = [(t.varied["seed"], score) for t in trials if (score := t.score(base.metric)) is not None]
    ends = (points[0][0], points[-1][0])
    width = wide or 0.0
    across = Line("mean and its 95 % interval", [(x, middle, middle - width, middle + width) for x in ends], "dashed")
    return Panel("Score by seed", "seed", base.metric, [Line("one run", points, "dots"), across])
