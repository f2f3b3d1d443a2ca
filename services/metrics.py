"""Metrics in NumPy under their Keras names, exact over batches.

A metric is a tally of a batch (float64 sums), a way to join two tallies, and the value of a tally. So the metric of a
whole part is the same number however it was cut into batches. Class targets are int (n,) or one-hot (n, k); outputs
(n, k) are scores of which the largest wins, and outputs (n, 1) are probabilities judged at 0.5.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from services.names import lookup

Array = NDArray[Any]
Tally = NDArray[np.float64]
Form = Literal["index", "one_hot", "binary", "values"]

_CLASSES: tuple[Form, ...] = ("index", "one_hot", "binary")
_COLUMNS: tuple[Form, ...] = ("one_hot", "binary", "values")
_TOP = 5


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
    return lookup("metric", name, METRICS, ALIASES)


def _hits(outputs: Array, targets: Array) -> NDArray[np.bool_]:
    if outputs.shape[-1] == 1 or outputs.ndim == 1:
        return _sides(outputs, targets)
    hits: NDArray[np.bool_] = np.equal(_labels(outputs, targets), outputs.reshape(-1, outputs.shape[-1]).argmax(axis=1))
    return hits


def _sides(outputs: Array, targets: Array) -> NDArray[np.bool_]:
    sides: NDArray[np.bool_] = np.equal(outputs.reshape(-1) > 0.5, targets.reshape(-1) > 0.5)
    return sides


def _labels(outputs: Array, targets: Array) -> Array:
    if targets.size != outputs.size:
        return targets.reshape(-1).astype(np.int64)
    return np.asarray(targets.reshape(-1, outputs.shape[-1]).argmax(axis=1))


def _accuracy(outputs: Array, targets: Array) -> Tally:
    return _counted(_hits(outputs, targets))


def _binary_accuracy(outputs: Array, targets: Array) -> Tally:
    return _counted(_sides(outputs, targets))


def _top_k(outputs: Array, targets: Array) -> Tally:
    rows = outputs.reshape(-1, outputs.shape[-1])
    wanted = rows[np.arange(len(rows)), _labels(outputs, targets)]
    ahead = (rows > wanted[:, np.newaxis]).sum(axis=1)
    return _counted((ahead < _TOP) & np.isfinite(wanted))


def _counted(hits: NDArray[np.bool_]) -> Tally:
    return np.array([np.count_nonzero(hits), hits.size], np.float64)


def _squared_error(outputs: Array, targets: Array) -> Tally:
    return np.array([np.square(_errors(outputs, targets)).sum(), targets.size])


def _absolute_error(outputs: Array, targets: Array) -> Tally:
    return np.array([np.abs(_errors(outputs, targets)).sum(), targets.size])


def _errors(outputs: Array, targets: Array) -> NDArray[np.float64]:
    return targets.reshape(outputs.shape).astype(np.float64) - outputs


def _spread(outputs: Array, targets: Array) -> Tally:
    # Rows: count, mean, sum of squares about the mean, sum of squared errors; one column per output.
    y = targets.reshape(len(outputs), -1).astype(np.float64)
    errors = y - outputs.reshape(y.shape)
    mean = y.mean(axis=0)
    return np.stack([np.full_like(mean, len(y)), mean, np.square(y - mean).sum(axis=0), np.square(errors).sum(axis=0)])


def _join_spreads(a: Tally, b: Tally) -> Tally:
    # Chan, Golub, LeVeque 1979: no difference of large sums, so nothing is lost when the mean is far from zero.
    n = a[0] + b[0]
    apart = b[1] - a[1]
    about_mean = a[2] + b[2] + np.square(apart) * a[0] * b[0] / n
    return np.stack([n, a[1] + apart * b[0] / n, about_mean, a[3] + b[3]])


def _explained(spread: Tally) -> float:
    _, _, about_mean, errors = spread
    constant = np.where(errors == 0, 1.0, 0.0)
    share = 1 - errors / np.where(about_mean == 0, 1.0, about_mean)
    return float(np.where(about_mean == 0, constant, share).mean())


def _mean(tally: Tally) -> float:
    return float(tally[0] / tally[1])


def _root_mean(tally: Tally) -> float:
    return math.sqrt(tally[0] / tally[1])


METRICS = {
    found.name: found
    for found in (
        Metric(
            "accuracy",
            "max",
            "share of rows whose highest score is the right class",
            _CLASSES,
            _accuracy,
            _mean,
            aliases=("acc", "categorical_accuracy", "sparse_categorical_accuracy"),
        ),
        Metric(
            "binary_accuracy",
            "max",
            "share of outputs on the right side of 0.5",
            ("one_hot", "binary"),
            _binary_accuracy,
            _mean,
        ),
        Metric(
            "top_k_categorical_accuracy",
            "max",
            f"share of rows with fewer than {_TOP} scores above that of the right class",
            ("index", "one_hot"),
            _top_k,
            _mean,
            aliases=("top_5_accuracy", "top_k_accuracy", "sparse_top_k_categorical_accuracy"),
        ),
        Metric("mean_squared_error", "min", "mean of (y − ŷ)²", _COLUMNS, _squared_error, _mean, aliases=("mse",)),
        Metric("mean_absolute_error", "min", "mean of |y − ŷ|", _COLUMNS, _absolute_error, _mean, aliases=("mae",)),
        Metric(
            "root_mean_squared_error",
            "min",
            "√ mean of (y − ŷ)²",
            _COLUMNS,
            _squared_error,
            _root_mean,
            aliases=("rmse",),
        ),
        Metric(
            "r2_score",
            "max",
            "1 − Σ(y − ŷ)² / Σ(y − ȳ)², averaged over outputs",
            ("values",),
            _spread,
            _explained,
            _join_spreads,
            aliases=("r2",),
        ),
    )
}
ALIASES = {alias: found.name for found in METRICS.values() for alias in found.aliases}
