"""How parameters start: Keras 3's initializers, computed on the host from counter-based random numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels import philox

Floats = npt.NDArray[np.float64]
Draw = Callable[[int, int, int], Floats]
"""Count, seed, stream -> that many numbers of variance 1 (or a constant)."""

TRUNCATED_DEVIATION = 0.87962566103423978
"""The standard deviation of a normal variable cut off at ±2 deviations."""


class UnknownInitializer(LookupError):
    """No initializer of that name; the message lists the known ones and the nearest."""


def uniform(n: int, seed: int, stream: int) -> Floats:
    """n numbers of variance 1, uniform in ±√3."""
    return (2 * philox.uniform(seed, stream, 0, n) - 1 + 2.0**-24) * math.sqrt(3)


def normal(n: int, seed: int, stream: int) -> Floats:
    """n normal numbers of variance 1."""
    return philox.normal(seed, stream, 0, n)


def truncated_normal(n: int, seed: int, stream: int) -> Floats:
    """n normal numbers, those beyond two deviations drawn again, scaled back to variance 1."""
    values = philox.normal(seed, stream, 0, n)
    for draw in range(1, 64):
        far = np.flatnonzero(np.abs(values) > 2)
        if far.size == 0:
            break
        values[far] = philox.normal(seed, stream, draw, n)[far]
    return values / TRUNCATED_DEVIATION


def zeros(n: int, seed: int, stream: int) -> Floats:
    """n zeros."""
    return np.zeros(n)


def ones(n: int, seed: int, stream: int) -> Floats:
    """n ones."""
    return np.ones(n)


Scale = Callable[[int, int], float]
"""Fan in, fan out -> standard deviation."""


def glorot(fan_in: int, fan_out: int) -> float:
    """√(2 / (fan_in + fan_out)): keeps the variance of activations and of gradients (Glorot & Bengio 2010)."""
    return math.sqrt(2 / max(1, fan_in + fan_out))


def he(fan_in: int, fan_out: int) -> float:
    """√(2 / fan_in): keeps the variance behind rectifiers (He et al. 2015)."""
    return math.sqrt(2 / max(1, fan_in))


def lecun(fan_in: int, fan_out: int) -> float:
    """√(1 / fan_in): keeps the variance of the forward pass (LeCun et al. 1998)."""
    return math.sqrt(1 / max(1, fan_in))


def as_is(fan_in: int, fan_out: int) -> float:
    """1: no scaling."""
    return 1.0


def small(fan_in: int, fan_out: int) -> float:
    """0.05: Keras's default deviation."""
    return 0.05


def narrow(fan_in: int, fan_out: int) -> float:
    """The deviation of numbers uniform in ±0.05: Keras's default range."""
    return 0.05 / math.sqrt(3)


INITIALIZERS: dict[str, tuple[Draw, Scale]] = {
    "glorot_normal": (truncated_normal, glorot),
    "glorot_uniform": (uniform, glorot),
    "he_normal": (truncated_normal, he),
    "he_uniform": (uniform, he),
    "lecun_normal": (truncated_normal, lecun),
    "lecun_uniform": (uniform, lecun),
    "ones": (ones, as_is),
    "random_normal": (normal, small),
    "random_uniform": (uniform, narrow),
    "zeros": (zeros, as_is),
}
"""Every initializer: what is drawn, and the standard deviation it is scaled to."""


def initialize(
    name: str, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int
) -> npt.NDArray[np.float32]:
    """The starting values of a parameter: a function of its arguments alone, the same on every machine."""
    if name not in INITIALIZERS:
        near = difflib.get_close_matches(name, INITIALIZERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownInitializer(f"unknown initializer {name!r}{hint} (known: {', '.join(INITIALIZERS)})")
    draw, scale = INITIALIZERS[name]
    values = draw(math.prod(shape), seed, philox.START + stream) * scale(fan_in, fan_out)
    return values.astype(np.float32).reshape(shape)
