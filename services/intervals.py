"""Means with their uncertainty: Student's t for a few seeds."""

import math
from collections.abc import Sequence
from typing import Final

T95: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t for a two-sided interval of 95 %, by degrees of freedom from 1 to 30 (then the normal's 1.96)."""

NORMAL95: Final = 1.96


def t95(freedom: int) -> float:
    """The factor for so many degrees of freedom, from 1 on."""
    return T95[freedom - 1] if freedom <= len(T95) else NORMAL95


def mean(values: Sequence[float]) -> float:
    """The mean of one or more values."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample's standard deviation (n − 1); None for a single value."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return 0.0
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean, t · s / √n; None for a single value."""
    spread = deviation(values)
    return None if spread is None else t95(len(values) - 1) * spread / math.sqrt(len(values))


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """How far two means lie apart, and half the 95 % interval of that (Welch 1947); two values each, or more."""
    wide_a, wide_b = (half_width(values) or 0.0 for values in (a, b))
    va, vb = (wide_a / t95(len(a) - 1)) ** 2, (wide_b / t95(len(b) - 1)) ** 2
    below = va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)
    freedom = max(1, int((va + vb) ** 2 / below)) if below > 0 else min(len(a), len(b)) - 1
    return abs(mean(a) - mean(b)), t95(freedom) * (va + vb) ** 0.5
