"""What a search concludes: its trials from best to worst, how far to trust the lead, what went with the score."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from services.intervals import difference, half_width, mean
from services.studies.found import Found, part_of
from services.studies.kind import Base, Certainty, Conclusion, Line, Panel, Point, scores
from services.studies.space import Axis
from services.studies.words import amount, number

EDGE: Final = 0.05
"""A best value so near to an end of its axis, as a share of it, says that the space may be too small."""
ENOUGH: Final = 8
"""Trials that it takes to say which place mattered."""
MATTERS: Final = 0.3
"""Rank correlations below that are not worth a sentence."""


def ranked(base: Base, names: Mapping[str, str], space: Mapping[str, Axis], found: Sequence[Found]) -> Conclusion:
    """The conclusion of a search over `space`; `names` are what tables call its places."""
    part = part_of(base)
    several = len({trial.varied["seed"] for trial in found[0].trials}) > 1
    columns = ["trial", *names.values(), f"{part} {base.metric}", *(["±"] if several else []),
               *([f"test {base.metric}"] if part != "test" else []), "state", "job"]  # fmt: skip
    order = sorted(found, key=lambda one: _place(one, base.better))
    rows = [_row(base, one, names, part, several) for one in order]
    best = order[0]
    if best.score is None:
        return Conclusion("No conclusion: no trial has a score.", "none", columns, rows)
    verdict, certainty, findings, figures = _told(base, names, found, best, part)
    findings = [*findings, *_edges(names, space, best), *_mattered(base, names, space, found)]
    panels = _panels(base, names, space, found, f"{part} {base.metric}")
    return Conclusion(verdict, certainty, columns, rows, panels, findings, figures)


def _place(one: Found, better: str) -> tuple[int, float, int]:
    """Those with a score first, best first; then what was given up, by what it had; then the rest."""
    had = one.past.score
    worth = math.inf if had is None else -had if better == "max" else had
    return (0 if one.score is not None else 1 if had is not None else 2), worth, one.number


def _row(base: Base, one: Found, names: Mapping[str, str], part: str, several: bool) -> list[Any]:
    varied, tested = one.trials[0].varied, scores(one.trials, base.metric) if one.score is not None else []
    wide = [half_width(one.scores) if one.scores else None] if several else []
    test = [mean(tested) if tested else None] if part != "test" else []
    values = [_cell(varied[name]) for name in names.values()]
    return [one.number, *values, one.past.score, *wide, *test, one.told, one.trials[0].job]


def _told(
    base: Base, names: Mapping[str, str], found: Sequence[Found], best: Found, part: str
) -> tuple[str, Certainty, list[str], dict[str, Any]]:
    varied, first = best.trials[0].varied, found[0]
    words = ", ".join(f"{name} {_word(varied[name])}" for name in names.values())
    tested = scores(best.trials, base.metric) if part != "test" else []
    verdict = f"Best of {len(found)}: {words}, with a {part} {base.metric} of {_amount(best)}"
    verdict += f" (test part: {amount(mean(tested), half_width(tested))})" if tested else ""
    figures = {"best": {place: varied[name] for place, name in names.items()}, "trial": best.number,
               "score": best.score, "part": part, "posted": first.score}  # fmt: skip
    findings = []
    if part == "test":
        findings.append("The best was chosen on the test part itself: expect less from new data.")
    if best is first:
        return f"{verdict}: the job as posted. Nothing better was found.", "weak", findings, figures
    if first.score is None:
        return f"{verdict}. The job as posted has no score.", "weak", findings, figures
    verdict += f". The job as posted has {_amount(first)}."
    if min(len(best.scores), len(first.scores)) < 2:
        hint = "One seed: the best of many is lucky too. A study `seeds` of it says how much is left of the lead."
        return verdict, "weak", [*findings, hint], figures
    lead, wide = difference(best.scores, first.scores)
    figures |= {"lead": lead, "lead_half_width": wide}
    findings.append(f"Its lead over the job as posted is {amount(lead, wide)}.")
    return verdict, "clear" if lead > wide else "weak", findings, figures


def _edges(names: Mapping[str, str], space: Mapping[str, Axis], best: Found) -> list[str]:
    told = []
    for place, axis in space.items():
        share = axis.share(best.past.values[place])
        if share is not None and not EDGE <= share <= 1 - EDGE:
            side = "lower" if share < EDGE else "upper"
            told.append(f"The best {names[place]} lies at the {side} end of its axis: widen it there.")
    return told


def _mattered(base: Base, names: Mapping[str, str], space: Mapping[str, Axis], found: Sequence[Found]) -> list[str]:
    """The place whose rank goes most with the rank of the score."""
    shifts = []
    for place in space:
        inside = _inside(space[place], place, found)
        if len(inside) >= ENOUGH:
            shifts.append((_rank_correlation(*zip(*inside, strict=True)), names[place]))
    if not shifts or abs((most := max(shifts, key=lambda one: abs(one[0])))[0]) < MATTERS:
        return []
    shift, name = most
    way = "larger" if (shift > 0) == (base.better == "max") else "smaller"
    return [f"What went most with the score was {name}: {way} ones did better (rank correlation {shift:+.2f})."]


def _panels(
    base: Base, names: Mapping[str, str], space: Mapping[str, Axis], found: Sequence[Found], judged: str
) -> list[Panel]:
    dots: list[Point] = [(float(one.number), one.score) for one in found if one.score is not None]
    best: list[Point] = []
    for at, score in dots:
        so_far = score if not best else (max if base.better == "max" else min)(best[-1][1], score)
        best.append((at, so_far))
    lines = [Line("trials", dots, "dots"), Line("best so far", best, "line")]
    made = [Panel(f"{judged} by trial", "trial", base.metric, lines)]
    for place, axis in space.items():
        if points := sorted(_inside(axis, place, found)):
            line = Line("trials", points, "dots")
            title = f"{judged} by {names[place]}"
            made.append(Panel(title, names[place], base.metric, [line], log_x=axis.scale == "log"))
    return made


def _inside(axis: Axis, place: str, found: Sequence[Found]) -> list[tuple[float, float]]:
    """Value and score of the trials that have both, on an axis of numbers."""
    return [
        (float(one.past.values[place]), one.score)
        for one in found
        if one.score is not None and axis.choices is None and axis.holds(one.past.values[place])
    ]


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman 1904; equal values share their mean rank; 0 where one side does not vary."""
    x, y = (np.array([np.mean(np.flatnonzero(np.sort(side) == value)) for value in side]) for side in (a, b))
    return 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])


def _amount(one: Found) -> str:
    return amount(math.nan if one.score is None else one.score, half_width(one.scores))


def _word(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(_cell(value))


def _cell(value: Any) -> Any:
    """A choice that is a whole section is told by its type."""
    return value.get("type", str(value)) if isinstance(value, Mapping) else value
