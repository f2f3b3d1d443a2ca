"""Every combination of some values: which one is best, and is it better than the next beyond luck?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

from annotated_types import Len

from services.agents.spec import TASK
from services.errors import Mistake
from services.intervals import difference, half_width, mean
from services.studies.kind import SUPERVISED, Base, Conclusion, Kind, Line, Panel, Trial, Variant, by_variant, scores
from services.studies.places import short_names
from services.studies.words import amount, number

Values = Annotated[list[Any], Len(1, 50)]


@final
@dataclass(frozen=True)
class Grid(Kind):
    """Every combination of the values of `vary`, which names places in the job: `training.optimizer.learning_rate`,
    `network.layers[0].units`.

    The best combination is chosen on the validation part, so that the score of its test part is an honest one.
    """

    type: ClassVar[str] = "grid"
    aliases: ClassVar[tuple[str, ...]] = ("grid_search",)
    tasks: ClassVar[tuple[str, ...]] = (*SUPERVISED, TASK)
    vary: Annotated[dict[str, Values], Len(1, 8)]

    def mistakes(self, base: Base) -> list[Mistake]:
        """The seed is varied by `seeds`; a value stands there once."""
        found = []
        for place, values in self.vary.items():
            if place == "training.seed":
                found.append(
                    Mistake(f"vary.{place}", "misplaced_key", "seeds: N varies the seed", "Leave it out here.")
                )
            if any(value in values[:k] for k, value in enumerate(values)):
                found.append(Mistake(f"vary.{place}", "twice", "a value stands there twice"))
        return found

    def variants(self, base: Base) -> Sequence[Variant]:
        """The product of all values, the last place changing fastest."""
        names = dict(zip(self.vary, short_names(list(self.vary)), strict=True))
        return [
            Variant({names[place]: value for place, value in zip(self.vary, chosen, strict=True)},
                    dict(zip(self.vary, chosen, strict=True)))
            for chosen in itertools.product(*self.vary.values())
        ]  # fmt: skip

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """Rank the combinations by validation (by test where there are no validation rows)."""
        part = "validation" if any(t.score(base.metric, "validation") is not None for t in trials) else "test"
        groups = [group for group in by_variant(trials) if scores(group, base.metric, part)]
        names = [name for name in trials[0].varied if name != "seed"]
        columns = [*names, *dict.fromkeys([f"{part} {base.metric}", "±", f"test {base.metric}"]), "runs", "job"]
        if not groups:
            return Conclusion("No conclusion: no combination has a score.", "none", columns, [])
        sign = 1 if base.better == "max" else -1
        ranked = sorted(groups, key=lambda group: -sign * mean(scores(group, base.metric, part)))
        rows = [_row(group, names, base.metric, part) for group in ranked]
        verdict, certainty, findings, figures = _told(ranked, names, base.metric, part)
        return Conclusion(verdict, certainty, columns, rows, _panels(ranked, names, base.metric, part), findings,
                          figures)  # fmt: skip


def _row(group: Sequence[Trial], names: Sequence[str], metric: str, part: str) -> list[Any]:
    judged, tested = scores(group, metric, part), scores(group, metric)
    test = [mean(tested) if tested else None] if part != "test" else []
    return [*(group[0].varied[name] for name in names), mean(judged), half_width(judged), *test, len(judged),
            group[0].job]  # fmt: skip


def _told(
    ranked: Sequence[Sequence[Trial]], names: Sequence[str], metric: str, part: str
) -> tuple[str, Any, list[str], dict[str, Any]]:
    best = scores(ranked[0], metric, part)
    tested = scores(ranked[0], metric)
    chosen = _words(ranked[0], names)
    verdict = f"Best of {len(ranked)}: {chosen}, with a {part} {metric} of {amount(mean(best), half_width(best))}"
    if part != "test" and tested:
        verdict += f" (test part: {amount(mean(tested), half_width(tested))})"
    verdict += "."
    figures = {"best": {name: ranked[0][0].varied[name] for name in names}, "score": mean(best), "part": part}
    if len(ranked) < 2:
        return verdict, "weak", [], figures
    second = scores(ranked[1], metric, part)
    other = _words(ranked[1], names)
    if min(len(best), len(second)) < 2:
        hint = f"One seed: the lead over {other} may be luck. Extend the study by some seeds."
        return verdict, "none", [hint], figures
    lead, wide = difference(best, second)
    figures |= {"lead": lead, "lead_half_width": wide}
    told = f"Its lead over {other} is {amount(lead, wide)}"
    if lead > wide:
        return verdict, "clear", [f"{told}: more than luck."], figures
    return verdict, "weak", [f"{told}, which may be luck: these two cannot be told apart."], figures


def _words(group: Sequence[Trial], names: Sequence[str]) -> str:
    values = [group[0].varied[name] for name in names]
    return ", ".join(
        f"{name} {number(value) if isinstance(value, float) else value}"
        for name, value in zip(names, values, strict=True)
    )


def _panels(ranked: Sequence[Sequence[Trial]], names: Sequence[str], metric: str, part: str) -> list[Panel]:
    """The score along each place that varies over numbers; a line for each combination of the others."""
    made = []
    for name in names:
        values = [group[0].varied[name] for group in ranked]
        if len(set(map(str, values))) < 2 or not all(_is_number(value) for value in values):
            continue
        lines: dict[str, list[tuple[float, ...]]] = {}
        for group in ranked:
            rest = _words(group, [other for other in names if other != name]) or "mean of the seeds"
            judged = scores(group, metric, part)
            middle, wide = mean(judged), half_width(judged) or 0.0
            lines.setdefault(rest, []).append((float(group[0].varied[name]), middle, middle - wide, middle + wide))
        numbers = [float(value) for value in values]
        log = min(numbers) > 0 and max(numbers) / min(numbers) >= 20
        curves = [Line(rest, sorted(points)) for rest, points in sorted(lines.items())]
        made.append(Panel(f"{part} {metric} by {name}", name, metric, curves, log_x=log))
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
