"""Metrics in NumPy under their Keras names, exact over batches.

A metric is a tally of a batch, a way to join two tallies, and the value of a tally (`services.tallies`). So the metric
of a whole part is the same number however it was cut into batches.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from services import tallies
from services.confusion import confusion, report
from services.names import canonical, lookup
from services.tallies import Array, Tally

__all__ = ["ALIASES", "METRICS", "Meter", "Metric", "confusion", "metric", "report"]

Form = Literal["index", "one_hot", "binary", "values"]

_CLASSES: tuple[Form, ...] = ("index", "one_hot", "binary")
_COLUMNS: tuple[Form, ...] = ("one_hot", "binary", "values")
_TOP_5 = "top_k_categorical_accuracy"
_TOP_NAME = re.compile(r"top_([1-9]\d{0,4})_(?:categorical_)?accuracy")


@final
@dataclass(frozen=True)
class Metric:
    """A named score: call it with (outputs, targets); `better` says which way is up, `forms` which targets it takes."""

    name: str
    better: Literal["max", "min"]
    formula: str
    forms: tuple[Form, ...]
    tally: Callable[[Array, Array], Tally]
    value: Callable[[Tally], float]
    join: Callable[[Tally, Tally], Tally] = np.add
    aliases: tuple[str, ...] = ()

    def __call__(self, outputs: Array, targets: Array) -> float:
        """The metric of these rows; not a number when there are none."""
        return self.value(self.tally(outputs, targets)) if len(outputs) else math.nan


@final
class Meter:
    """Metrics over batches: `add` every batch, then read `values`."""

    def __init__(self, names: Iterable[str]) -> None:
        """Start with no rows; NotFound for a name that is no metric."""
        self._metrics = {name: metric(name) for name in names}
        self._tallies: dict[str, Tally] = {}

    def add(self, outputs: Array, targets: Array) -> None:
        """Count the rows of one batch."""
        if not len(outputs):
            return
        for name, counted in self._metrics.items():
            tally = counted.tally(outputs, targets)
            self._tallies[name] = counted.join(self._tallies[name], tally) if name in self._tallies else tally

    def state(self) -> dict[str, Any]:
        """The tallies so far as plain JSON; floats keep every bit."""
        return {name: tally.tolist() for name, tally in self._tallies.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the tallies that `state` gave."""
        self._tallies = {name: np.array(tally, np.float64) for name, tally in state.items()}

    def values(self) -> dict[str, float]:
        """Every metric of all rows so far, by the name it was asked for; not a number before the first row."""
        return {
            name: counted.value(self._tallies[name]) if name in self._tallies else math.nan
            for name, counted in self._metrics.items()
        }


def metric(name: str) -> Metric:
    """The metric called `name`, by its Keras name, class name or short name; NotFound lists the known ones."""
    top = _TOP_NAME.fullmatch(canonical(name))
    if top:
        return METRICS[_TOP_5] if top[1] == "5" else _top(int(top[1]))
    return lookup("metric", name, METRICS, ALIASES)


def _top(k: int) -> Metric:
    formula = f"share of rows with fewer than {k} scores above that of the right class"
    return Metric(f"top_{k}_accuracy", "max", formula, ("index", "one_hot"), tallies.among_best(k), tallies.mean)


METRICS = {
    found.name: found
    for found in (
        Metric(
            "accuracy",
            "max",
            "share of rows whose highest score is the right class",
            _CLASSES,
            tallies.hits,
            tallies.mean,
            aliases=("acc", "categorical_accuracy", "sparse_categorical_accuracy"),
        ),
        Metric(
            "binary_accuracy",
            "max",
            "share of outputs on the right side of 0.5",
            ("one_hot", "binary"),
            tallies.sides,
            tallies.mean,
        ),
        Metric(
            _TOP_5,
            "max",
            f"{_top(5).formula}; top_3_accuracy and so on for another number than 5",
            ("index", "one_hot"),
            tallies.among_best(5),
            tallies.mean,
            aliases=("top_5_accuracy", "top_k_accuracy", "sparse_top_k_categorical_accuracy"),
        ),
        Metric(
            "precision",
            "max",
            "right answers of a class / all its answers; mean over classes, one output: of the second class",
            _CLASSES,
            tallies.by_class,
            tallies.precision,
        ),
        Metric(
            "recall",
            "max",
            "right answers of a class / all its rows; mean over classes, one output: of the second class",
            _CLASSES,
            tallies.by_class,
            tallies.recall,
        ),
        Metric(
            "f1_score",
            "max",
            "2·precision·recall / (precision + recall) of a class; mean over classes, one output: of the second class",
            _CLASSES,
            tallies.by_class,
            tallies.f1,
            aliases=("f1",),
        ),
        Metric(
            "perplexity",
            "min",
            "e^(mean of −log p), p the probability of the right class",
            ("index", "one_hot"),
            tallies.surprise,
            tallies.exp_mean,
        ),
        Metric(
            "mean_squared_error",
            "min",
            "mean of (y − ŷ)²",
            _COLUMNS,
            tallies.squared_errors,
            tallies.mean,
            aliases=("mse",),
        ),
        Metric(
            "mean_absolute_error",
            "min",
            "mean of |y − ŷ|",
            _COLUMNS,
            tallies.absolute_errors,
            tallies.mean,
            aliases=("mae",),
        ),
        Metric(
            "root_mean_squared_error",
            "min",
            "√ mean of (y − ŷ)²",
            _COLUMNS,
            tallies.squared_errors,
            tallies.root_mean,
            aliases=("rmse",),
        ),
        Metric(
            "r2_score",
            "max",
            "1 − Σ(y − ŷ)² / Σ(y − ȳ)², averaged over outputs",
            ("values",),
            tallies.spread,
            tallies.explained,
            tallies.join_spreads,
            aliases=("r2",),
        ),
        Metric(
            "peak_signal_to_noise_ratio",
            "max",
            "10·log10((highest y − lowest y)² / mean of (y − ŷ)²) dB",
            ("values",),
            tallies.errors_and_range,
            tallies.peak_to_noise,
            tallies.join_ranges,
            aliases=("psnr",),
        ),
        Metric(
            "signal_to_noise_ratio",
            "max",
            "10·log10(Σy² / Σ(y − ŷ)²) dB",
            ("values",),
            tallies.energies,
            tallies.signal_to_noise,
            aliases=("snr",),
        ),
    )
}
ALIASES = {alias: found.name for found in METRICS.values() for alias in found.aliases}
