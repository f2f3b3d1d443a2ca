"""Does more data help, and whom? The network and classical models on growing parts of one data set."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, final

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Interval, Le, Len

from services.errors import Mistake
from services.intervals import half_width, mean
from services.studies.kind import Base, Conclusion, Kind, Line, Panel, Trial, Variant
from services.studies.power_law import FEWEST as FEWEST_SIZES
from services.studies.power_law import Laws, around, crossing, fit, interval, resampled
from services.studies.words import amount, listed, number, signed

Floats = npt.NDArray[np.float64]
Table = dict[int, dict[int, float]]
"""Scores by number of rows, then by seed."""

NETWORK: Final = "network"
BEST: Final = "best classical"
FEWEST_SEEDS: Final = 3
MISFIT: Final = 0.15
"""A power law whose points lie further off than this, relative to the errors, is not believed."""


@final
@dataclass(frozen=True)
class DataSize(Kind):
    """The network and classical models on nested parts of the train rows, judged on one fixed test part.

    Each seed deals the rows anew (weights and order too), and a smaller part always lies in the larger ones. The
    classical models are fitted in the network's own job on the very same rows, within `classical_seconds` for each job;
    one that does not get through all rows in that time is left out there. Where there are fewer rows, the network
    trains for more epochs, so that it makes as many steps, but never for more than `longest` times as many.
    """

    type: ClassVar[str] = "data_size"
    aliases: ClassVar[tuple[str, ...]] = ("learning_curve",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "forecasting")
    default_seeds: ClassVar[int] = 3
    seeded: ClassVar[tuple[str, ...]] = ("training.seed", "dataset.split.seed")
    compares: ClassVar[bool] = True
    fractions: Annotated[tuple[Annotated[float, Gt(0), Le(1)], ...], Len(2, 20)] = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    classical: bool = True
    classical_seconds: Annotated[float, Gt(0), Le(300)] = 60.0
    longest: Annotated[int, Interval(ge=1, le=1000)] = 10

    def mistakes(self, base: Base) -> list[Mistake]:
        """Different fractions must be different numbers of rows."""
        rows = [self._rows(base, fraction) for fraction in sorted(self.fractions)]
        if len(set(rows)) == len(rows):
            return []
        message = f"of {base.rows:,} train rows these fractions are {listed([f'{n:,}' for n in rows])} rows"
        return [Mistake("fractions", "too_close", message, "Choose fractions further apart, or more rows.")]

    def variants(self, base: Base) -> Sequence[Variant]:
        """One for each fraction, from the smallest to the largest."""
        whole = float(base.job["dataset"]["train_fraction"])
        epochs = int(base.job["training"]["epochs"])
        baseline = {"seconds": self.classical_seconds, "whole": True} if self.classical else False
        return [
            Variant(
                {"fraction": fraction},
                {
                    "dataset.train_fraction": whole * fraction,
                    "training.epochs": min(100_000, math.ceil(epochs * min(1 / fraction, self.longest))),
                    "baseline": baseline,
                },
            )
            for fraction in sorted(self.fractions)
        ]

    def conclude(self, base: Base, trials: Sequence[Trial]) -> Conclusion:
        """Means with intervals, power laws, and who is ahead where."""
        tables, names = _tables(base, trials)
        curves = {name: _Curve.of(base, table) for name, table in tables.items() if table}
        columns = ["model", "rows", base.metric, "±", "runs"]
        rows = [
            [name, n, mean([*seeds.values()]), half_width([*seeds.values()]), len(seeds)]
            for name, table in tables.items()
            for n, seeds in sorted(table.items())
        ]
        if NETWORK not in curves:
            return Conclusion("No conclusion: no trial of the network has a score.", "none", columns, rows)
        panels = _panels(base, tables, curves)
        telling = _Telling(base, curves, names)
        return telling.conclusion(columns, rows, panels, _left_out(trials))

    def _rows(self, base: Base, fraction: float) -> int:
        return max(1, math.floor(base.rows * fraction + 0.5))


@final
@dataclass(frozen=True)
class _Curve:
    """Errors of one model where all its seeds have one: `n` (sizes,), `errors` (seeds, sizes); its law and laws of the
    bootstrap where there are sizes and seeds enough."""

    n: Floats
    errors: Floats
    seeds: tuple[int, ...]
    law: Laws | None
    laws: Laws | None

    @classmethod
    def of(cls, base: Base, table: Table) -> "_Curve":
        """From scores; a seed that is missing at a size takes that size out only where others are whole."""
        most = max(len(seeds) for seeds in table.values())
        n = [rows for rows, seeds in sorted(table.items()) if len(seeds) == most]
        common = sorted(set.intersection(*(set(table[rows]) for rows in n)))
        values = np.array([[error(base, table[rows][seed]) for rows in n] for seed in common], np.float64)
        sizes = np.array(n, np.float64)
        if len(n) < FEWEST_SIZES or not common:
            return cls(sizes, values, tuple(common), None, None)
        law = fit(sizes, values.mean(axis=0)[None])
        laws = fit(sizes, np.maximum(resampled(values), 0.0)) if len(common) > 1 else None
        return cls(sizes, values, tuple(common), law, laws)

    def part(self, seeds: Sequence[int], sizes: Floats) -> Floats:
        """The errors of these seeds at these sizes."""
        rows = np.array([self.seeds.index(seed) for seed in seeds], np.intp)
        return self.errors[rows][:, np.searchsorted(self.n, sizes)]

    def gain(self) -> tuple[float, float, float] | None:
        """What twice the most rows would bring, and its interval; None where the law is not to be believed."""
        if self.law is None or self.laws is None or float(self.law.misfit[0]) > MISFIT:
            return None
        most = float(self.n[-1])
        gain = float(self.law.gain(most)[0])
        return gain, *around(gain, self.laws.gain(most))


def error(base: Base, score: float) -> float:
    """What a law describes: the score itself where less is better, 1 − score otherwise."""
    return score if base.better == "min" else 1.0 - score


def _tables(base: Base, trials: Sequence[Trial]) -> tuple[dict[str, Table], Counter[str]]:
    """Scores of every model, and how often each was the best classical one with the most rows."""
    found: dict[str, Table] = {NETWORK: {}}
    best: Counter[str] = Counter()
    most = max(int(trial.outline["rows"]["train"]) for trial in trials)
    for trial in trials:
        rows, seed = int(trial.outline["rows"]["train"]), int(trial.varied["seed"])
        if (score := trial.score(base.metric)) is not None and trial.done:
            found[NETWORK].setdefault(rows, {})[seed] = score
        for name, value in _classical(base, (trial.outcome or {}).get("baseline") or {}):
            found.setdefault(name, {}).setdefault(rows, {})[seed] = value
        chosen = ((trial.outcome or {}).get("baseline") or {}).get("best")
        if chosen and rows == most:
            best[chosen["name"]] += 1
    return found, best


def _classical(base: Base, baseline: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The scores of one job's classical models, the trivial guess and the one that validation chose among them."""
    told = [(one.get("name"), one) for one in [*(baseline.get("tried") or []), baseline.get("trivial")] if one]
    told += [(BEST, baseline["best"])] if baseline.get("best") else []
    return [
        (str(name), float(value))
        for name, one in told
        if isinstance(value := (one.get("scores") or {}).get(base.metric), int | float) and math.isfinite(value)
    ]


def _left_out(trials: Sequence[Trial]) -> list[str]:
    """Models that did not get through all rows in their time, and trials without a score."""
    runs = Counter(int(trial.outline["rows"]["train"]) for trial in trials)
    slow: dict[str, Counter[int]] = {}
    for trial in trials:
        for name in ((trial.outcome or {}).get("baseline") or {}).get("skipped", []):
            slow.setdefault(name, Counter())[int(trial.outline["rows"]["train"])] += 1
    told = []
    for name, missed in slow.items():
        where = listed([f"{count} of {runs[rows]} with {rows:,} rows" for rows, count in sorted(missed.items())])
        told.append(f"{name} ran out of time ({where}) and is left out there; give more classical_seconds.")
    failed = [trial for trial in trials if not trial.done]
    return told + ([f"{len(failed)} of {len(trials)} trials have no score."] if failed else [])


@final
class _Telling:
    """From curves to sentences."""

    def __init__(self, base: Base, curves: Mapping[str, _Curve], names: Counter[str]) -> None:
        self.base, self.network = base, curves[NETWORK]
        self.rival = curves.get(BEST)
        self.rival_name = names.most_common(1)[0][0] if names else BEST
        self.named = curves.get(self.rival_name)
        self.absent = _absent(curves, self.rival_name)
        self.figures: dict[str, Any] = {"most_rows": int(self.network.n[-1]), "seeds": len(self.network.seeds)}
        self.findings: list[str] = []

    def conclusion(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], panels: Sequence[Panel], notes: Sequence[str]
    ) -> Conclusion:
        """Who is ahead, from where on, and what more data would bring."""
        verdict, certainty = self._ahead()
        for name, curve in ((NETWORK, self.network), (self.rival_name, self.named)):
            if curve is not None:
                self._more(name, curve)
        return Conclusion(verdict, certainty, columns, rows, panels, [*self.findings, *notes], self.figures)

    def _ahead(self) -> tuple[str, Any]:
        shared = self._shared()
        score, metric = self._score(self.network), self.base.metric
        n = f"{int(self.network.n[-1]):,}"
        if shared is None:
            return f"With {n} rows the network's {metric} is {score}; there is no classical model beside it.", "weak"
        sizes, both = shared
        last = [float(ours_theirs[1] - ours_theirs[0]) for ours_theirs in both[:, :, -1]]
        difference, wide = mean(last), half_width(last)
        self.figures |= {"lead": difference, "lead_half_width": wide, "best_classical": self.rival_name}
        told = (
            f"{metric} {score} against {self._score(self.rival)} of the best classical model ({self.rival_name});"
            f" the lead is {signed(difference, wide)}"
        )
        at = f"{int(sizes[-1]):,} rows"
        if wide is None or len(last) < FEWEST_SEEDS:
            hint = f"{len(last)} seed{'s' if len(last) > 1 else ''}: too few to say who is ahead. Extend the study."
            self.findings.append(hint)
            return f"No conclusion with {at}: {told}.", "none"
        self._cross(sizes, both)
        if abs(difference) <= wide:
            return f"No conclusion with {at}: {told}, which may be luck.", "none"
        if difference > 0:
            self.findings += [
                f"{name} was better than {self.rival_name} with {rows:,} rows, the most it got through: the lead may be"
                " smaller."
                for name, rows in self.absent.items()
            ]
            return f"The network is ahead with {at}: {told}.", "weak" if self.absent else "clear"
        return f"The network does not win with {at}: {told}.", "clear"

    def _shared(self) -> tuple[Floats, Floats] | None:
        """Sizes at which both were measured, and the errors of network and rival there (seeds, 2, sizes)."""
        if self.rival is None:
            return None
        sizes = np.intersect1d(self.network.n, self.rival.n)
        seeds = sorted(set(self.network.seeds) & set(self.rival.seeds))
        if not len(sizes) or not seeds:
            return None
        return sizes, np.stack([curve.part(seeds, sizes) for curve in (self.network, self.rival)], axis=1)

    def _cross(self, sizes: Floats, both: Floats) -> None:
        """Where the network overtakes, with its interval."""
        if len(sizes) < 2:
            return
        where = float(crossing(sizes, _ratio(both.mean(axis=0)[None]))[0])
        low, high = interval(crossing(sizes, _ratio(resampled(both))))
        ends = [None if not math.isfinite(end) else end for end in (where, low, high)]
        self.figures["crossing"] = {"rows": ends[0], "low": ends[1], "high": ends[2]}
        if math.isfinite(where):
            self.findings.append(
                f"The network overtakes the best classical model at about {_rows(where)} rows"
                f" (95 %: {_end(low, sizes)} to {_end(high, sizes)})."
            )
        elif where < 0:
            self.findings.append(f"It is ahead from the smallest part on ({int(sizes[0]):,} rows).")
        else:
            self.findings.append(f"Up to {int(sizes[-1]):,} rows the network does not overtake.")

    def _more(self, name: str, curve: _Curve) -> None:
        """What twice the data would bring."""
        gained = curve.gain()
        if curve.law is None:
            self.findings.append(f"{name}: a power law needs {FEWEST_SIZES} sizes.")
        elif gained is None:
            why = "with one seed its uncertainty is not known" if curve.laws is None else "the points do not follow one"
            self.findings.append(f"{name}: no conclusion about more data; {why}.")
        else:
            gain, low, high = gained
            figures = {"gain": gain, "low": low, "high": high, "exponent": float(curve.law.c[0])}
            self.figures.setdefault("twice_the_data", {})[name] = figures
            sure = "" if low > 0 else ", which may be nothing"
            what = "error" if self.base.better == "min" else self.base.metric
            moved = -1 if self.base.better == "min" else 1
            self.findings.append(
                f"{name}: twice the data → {what} {signed(moved * gain, (high - low) / 2)}{sure} (power law, exponent"
                f" {number(float(curve.law.c[0]))})."
            )

    def _score(self, curve: _Curve | None) -> str:
        if curve is None:
            return "nothing"
        last = [float(value) if self.base.better == "min" else 1.0 - float(value) for value in curve.errors[:, -1]]
        return amount(mean(last), half_width(last))


def _absent(curves: Mapping[str, _Curve], rival: str) -> dict[str, int]:
    """Classical models that are missing with the most rows but were better than the rival with the most they have."""
    most, named, found = curves[NETWORK].n[-1], curves.get(rival), {}
    for name, curve in curves.items():
        n = curve.n[-1]
        if name in (NETWORK, BEST) or n >= most or named is None or n not in named.n:
            continue
        if curve.errors[:, -1].mean() < named.part(named.seeds, curve.n[-1:]).mean():
            found[name] = int(n)
    return found


def _ratio(both: Floats) -> Floats:
    """log of the rival's error over the network's (curves, sizes): along two power laws it is straight in log n."""
    logs = np.log(np.maximum(both, 1e-9))
    return np.asarray(logs[:, 1] - logs[:, 0])


def _rows(value: float) -> str:
    """Two digits are enough for a place on a logarithmic axis."""
    digits = max(0, math.floor(math.log10(value)) - 1)
    return f"{round(value / 10**digits) * 10**digits:,}"


def _end(value: float, sizes: Floats) -> str:
    if math.isfinite(value):
        return _rows(value)
    return f"below {int(sizes[0]):,}" if value < 0 else f"beyond {int(sizes[-1]):,}"


def _panels(base: Base, tables: Mapping[str, Table], curves: Mapping[str, _Curve]) -> list[Panel]:
    lines = []
    for name, table in tables.items():
        if name == BEST or not table:
            continue
        points: list[tuple[float, ...]] = []
        for n, seeds in sorted(table.items()):
            values = [*seeds.values()]
            wide = half_width(values)
            around = () if wide is None else (mean(values) - wide, mean(values) + wide)
            points.append((float(n), mean(values), *around))
        lines.append(Line(name, points))
    laws = []
    for name in (NETWORK, BEST):
        if name in curves:
            curve = curves[name]
            means = curve.errors.mean(axis=0)
            laws.append(Line(name, [(float(n), float(e)) for n, e in zip(curve.n, means, strict=True)], "dots"))
            if curve.law is not None:
                law = curve.law
                along = np.geomspace(curve.n[0], 2 * curve.n[-1], 40)
                drawn = [(float(n), float(law.at(float(n))[0])) for n in along]
                laws.append(Line(f"power law of {name}", drawn, "dashed"))
    title = "error" if base.better == "min" else f"1 − {base.metric}"
    return [
        Panel("Score by amount of data", "train rows", base.metric, lines, log_x=True),
        Panel("Error and its power law", "train rows", title, laws, log_x=True, log_y=True),
    ]
