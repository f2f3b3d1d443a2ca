"""Error against the amount of data: e(n) = a + b · n^(−c) with a, b ≥ 0 and c > 0.

The law of many learning curves (Cortes, Jackel et al. 1994; Hestness et al. 2017). For a given c the best a and b are a
linear least squares problem with two unknowns, solved in closed form; c is searched on a fine grid. All curves of a
bootstrap are fitted at once.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXPONENTS: Final = np.geomspace(0.02, 3.0, 241)
FEWEST: Final = 3
"""Sizes that a fit needs; with fewer than FLOOR of them the floor a is left at 0."""
FLOOR: Final = 4
REPLICATES: Final = 1000


@final
@dataclass(frozen=True)
class Laws:
    """Fitted laws, one for each curve: arrays of shape (curves,). `misfit`: root mean square of the relative errors."""

    a: Floats
    b: Floats
    c: Floats
    misfit: Floats

    def at(self, n: float) -> Floats:
        """The error of every law with n rows."""
        return np.asarray(self.a + self.b * n ** (-self.c))

    def gain(self, n: float) -> Floats:
        """How much smaller the error is with twice the rows."""
        return np.asarray(self.at(n) - self.at(2 * n))


def fit(n: Floats, errors: Floats) -> Laws:
    """The best law through each row of `errors` (curves, sizes); residuals count relative to the mean error."""
    with_floor = len(n) >= FLOOR
    weight = 1.0 / np.maximum(errors.mean(axis=0), 1e-12) ** 2
    # Measured in units of the largest size, so that b is of the size of the errors.
    x = (n[None, :] / n.max()) ** (-EXPONENTS[:, None])
    a, b = _least_squares(x, errors, weight, with_floor)
    residual = errors[None] - a[..., None] - b[..., None] * x[:, None, :]
    cost = (weight * residual**2).sum(axis=-1)
    best = cost.argmin(axis=0)
    curves = np.arange(errors.shape[0])
    c = EXPONENTS[best]
    misfit = np.sqrt(cost[best, curves] / len(n))
    return Laws(a[best, curves], b[best, curves] * n.max() ** c, c, misfit)


def _least_squares(x: Floats, errors: Floats, weight: Floats, with_floor: bool) -> tuple[Floats, Floats]:
    """a and b ≥ 0 for every exponent and curve, (exponents, curves)."""
    sw, sx, sxx = weight.sum(), x @ weight, (x**2) @ weight
    se, sxe = errors @ weight, (x * weight) @ errors.T
    only_b = np.maximum(sxe / sxx[:, None], 0.0)
    if not with_floor:
        return np.zeros_like(only_b), only_b
    det = np.maximum(sw * sxx - sx**2, 1e-300)[:, None]
    a, b = (sxx[:, None] * se - sx[:, None] * sxe) / det, (sw * sxe - sx[:, None] * se) / det
    flat = np.broadcast_to(se / sw, a.shape)
    low, rising = a < 0, b < 0
    return np.where(rising, flat, np.where(low, 0.0, a)), np.where(rising, 0.0, np.where(low, only_b, b))


def resampled(values: Floats, seed: int = 0, count: int = REPLICATES) -> Floats:
    """Means as they might have come out with other seeds, (count, sizes), from `values` (seeds, sizes) or from several
    such tables (seeds, series, sizes), whose seeds stay together.

    A parametric bootstrap over seeds: mean + Σ zₛ·(xₛ − mean) / √(n(n − 1)), over √(χ²/(n − 1)), with z normal. For any
    linear combination of the means this is Student's t with n − 1 degrees of freedom, correlations included; drawing a
    handful of seeds with replacement would claim to know more.
    """
    n = len(values)
    rng = np.random.Generator(np.random.Philox(key=seed))
    mean = values.mean(axis=0)
    z = rng.standard_normal((count, n)) / np.sqrt(rng.chisquare(n - 1, count) / (n - 1))[:, None]
    return np.asarray(mean + np.tensordot(z, values - mean, axes=1) / np.sqrt(n * (n - 1)))


def interval(values: Floats) -> tuple[float, float]:
    """The middle 95 % of a bootstrap; infinite ends stay infinite."""
    ordered = np.sort(values)
    low, high = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.025, 0.975))
    return float(low), float(high)


def around(value: float, values: Floats) -> tuple[float, float]:
    """value ± the farther end of the bootstrap's interval: where a bound (a ≥ 0) bends the bootstrap to one side, its
    own middle 95 % would claim too much."""
    low, high = interval(values)
    half = max(value - low, high - value)
    return value - half, value + half


def crossing(n: Floats, lead: Floats) -> Floats:
    """Where each row of `lead` (curves, sizes) comes to stay above 0, interpolated in log n: −∞ where it always was, ∞
    where it is not above 0 with the most rows."""
    found: Any = np.full(len(lead), np.inf)
    logs = np.log(n)
    for k, row in enumerate(lead):
        behind = np.flatnonzero(row <= 0)
        if row[-1] <= 0:
            continue
        if not len(behind):
            found[k] = -np.inf
            continue
        i = int(behind[-1])
        share = -row[i] / (row[i + 1] - row[i])
        found[k] = float(np.exp(logs[i] + share * (logs[i + 1] - logs[i])))
    return np.asarray(found)
