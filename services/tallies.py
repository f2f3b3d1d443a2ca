"""What metrics count of a batch: float64 sums that can be joined, and the value of what was counted.

The metric of a whole part is so the same number however it was cut into batches. Class targets are int (n, …) or
one-hot (n, …, k); outputs (n, …, k) are scores of which the largest wins, and outputs (n, 1) are probabilities judged
at 0.5. Positions of a sequence count as rows.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tally = NDArray[np.float64]

_TINY = float(np.finfo(np.float32).tiny)


def answers(outputs: Array) -> NDArray[np.int64]:
    """The class that each row of outputs names."""
    if outputs.shape[-1] == 1 or outputs.ndim == 1:
        return (outputs.reshape(-1) > 0.5).astype(np.int64)
    return np.asarray(outputs.reshape(-1, outputs.shape[-1]).argmax(axis=1))


def truths(outputs: Array, targets: Array) -> NDArray[np.int64]:
    """The class that each row of targets means, in whatever form they are beside these outputs."""
    if outputs.shape[-1] == 1 or outputs.ndim == 1:
        return (targets.reshape(-1) > 0.5).astype(np.int64)
    if targets.size != outputs.size:
        return targets.reshape(-1).astype(np.int64)
    return np.asarray(targets.reshape(-1, outputs.shape[-1]).argmax(axis=1))


def hits(outputs: Array, targets: Array) -> Tally:
    """Right answers, and all."""
    return _counted(answers(outputs) == truths(outputs, targets))


def sides(outputs: Array, targets: Array) -> Tally:
    """Outputs on the right side of 0.5, and all."""
    return _counted(np.equal(outputs.reshape(-1) > 0.5, targets.reshape(-1) > 0.5))


def among_best(k: int) -> Callable[[Array, Array], Tally]:
    """Rows with fewer than k scores above that of the right class, and all."""

    def tally(outputs: Array, targets: Array) -> Tally:
        rows = outputs.reshape(-1, outputs.shape[-1])
        wanted = rows[np.arange(len(rows)), truths(outputs, targets)]
        ahead = (rows > wanted[:, np.newaxis]).sum(axis=1)
        return _counted((ahead < k) & np.isfinite(wanted))

    return tally


def by_class(outputs: Array, targets: Array) -> Tally:
    """Right answers, answers and rows; one column per class, or of the second class alone where outputs are single."""
    found, true = answers(outputs), truths(outputs, targets)
    single = outputs.shape[-1] == 1 or outputs.ndim == 1
    k = 2 if single else outputs.shape[-1]
    counts = np.stack([np.bincount(labels, minlength=k) for labels in (true[found == true], found, true)])
    return counts[:, int(single) :].astype(np.float64)


def surprise(outputs: Array, targets: Array) -> Tally:
    """The sum of −log p of the right classes, and how many."""
    rows = outputs.reshape(-1, outputs.shape[-1]).astype(np.float64)
    wanted = rows[np.arange(len(rows)), truths(outputs, targets)]
    return np.array([-np.log(np.maximum(wanted, _TINY)).sum(), wanted.size])


def squared_errors(outputs: Array, targets: Array) -> Tally:
    """The sum of (y − ŷ)², and of how many."""
    return np.array([np.square(_errors(outputs, targets)).sum(), targets.size])


def absolute_errors(outputs: Array, targets: Array) -> Tally:
    """The sum of |y − ŷ|, and of how many."""
    return np.array([np.abs(_errors(outputs, targets)).sum(), targets.size])


def energies(outputs: Array, targets: Array) -> Tally:
    """The sum of y² and of (y − ŷ)²."""
    signal = np.square(targets.astype(np.float64)).sum()
    return np.array([signal, np.square(_errors(outputs, targets)).sum()])


def errors_and_range(outputs: Array, targets: Array) -> Tally:
    """The sum of (y − ŷ)², of how many, and the lowest and highest y."""
    return np.array([*squared_errors(outputs, targets), targets.min(), targets.max()], np.float64)


def join_ranges(a: Tally, b: Tally) -> Tally:
    """Two tallies of errors and range as one."""
    return np.array([*(a + b)[:2], min(a[2], b[2]), max(a[3], b[3])])


def spread(outputs: Array, targets: Array) -> Tally:
    """Count, mean, sum of squares about the mean, sum of squared errors; one column per output."""
    y = targets.reshape(len(outputs), -1).astype(np.float64)
    errors = y - outputs.reshape(y.shape)
    mean = y.mean(axis=0)
    return np.stack([np.full_like(mean, len(y)), mean, np.square(y - mean).sum(axis=0), np.square(errors).sum(axis=0)])


def join_spreads(a: Tally, b: Tally) -> Tally:
    """Two spreads as one: Chan, Golub, LeVeque 1979, so nothing is lost when the mean is far from zero."""
    n = a[0] + b[0]
    apart = b[1] - a[1]
    about_mean = a[2] + b[2] + np.square(apart) * a[0] * b[0] / n
    return np.stack([n, a[1] + apart * b[0] / n, about_mean, a[3] + b[3]])


def mean(tally: Tally) -> float:
    """Sum over count."""
    return float(tally[0] / tally[1])


def root_mean(tally: Tally) -> float:
    """The root of sum over count."""
    return math.sqrt(tally[0] / tally[1])


def exp_mean(tally: Tally) -> float:
    """e to the mean."""
    return math.exp(tally[0] / tally[1])


def explained(tally: Tally) -> float:
    """The share of the spread that the errors leave out, averaged over outputs."""
    _, _, about_mean, errors = tally
    constant = np.where(errors == 0, 1.0, 0.0)
    share = 1 - errors / np.where(about_mean == 0, 1.0, about_mean)
    return float(np.where(about_mean == 0, constant, share).mean())


def decibels(signal: float, noise: float) -> float:
    """10·log10(signal / noise): infinite without noise, not a number without either."""
    if noise == 0:
        return math.inf if signal > 0 else math.nan
    ratio = signal / noise
    return -math.inf if ratio == 0 else 10 * math.log10(ratio)


def signal_to_noise(tally: Tally) -> float:
    """Energies in decibels."""
    return decibels(*map(float, tally))


def peak_to_noise(tally: Tally) -> float:
    """The squared range over the mean squared error, in decibels."""
    total, count, lowest, highest = map(float, tally)
    return decibels((highest - lowest) ** 2, total / count)


def ratios(counts: Array) -> NDArray[np.float64]:
    """Precision, recall and F1 of each class from (right answers, answers, rows); 0 over 0 is 0, as in scikit-learn."""
    right, answered, rows = np.asarray(counts, np.float64)
    over = np.stack([answered, rows, (answered + rows) / 2])
    shares: NDArray[np.float64] = np.divide(right, over, out=np.zeros_like(over), where=over > 0)
    return shares


def precision(tally: Tally) -> float:
    """Averaged over the classes met."""
    return _macro(tally, 0)


def recall(tally: Tally) -> float:
    """Averaged over the classes met."""
    return _macro(tally, 1)


def f1(tally: Tally) -> float:
    """Averaged over the classes met."""
    return _macro(tally, 2)


def _macro(tally: Tally, which: int) -> float:
    met = tally[1] + tally[2] > 0
    return float(ratios(tally)[which][met].mean()) if met.any() else 0.0


def _counted(right: NDArray[np.bool_]) -> Tally:
    return np.array([np.count_nonzero(right), right.size], np.float64)


def _errors(outputs: Array, targets: Array) -> NDArray[np.float64]:
    return targets.reshape(outputs.shape).astype(np.float64) - outputs
