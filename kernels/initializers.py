"""How parameters start: Keras 3's initializers, computed on the host from counter-based random numbers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels import philox

Floats = npt.NDArray[np.float64]
Shape = tuple[int, ...]
Draw = Callable[[Shape, int, int], Floats]
"""Shape, seed, stream -> an array of it, of variance 1 (or a constant, or a table)."""

TRUNCATED_DEVIATION = 0.87962566103423978
"""The standard deviation of a normal variable cut off at ±2 deviations."""


class UnknownInitializer(LookupError):
    """No initializer of that name; the message lists the known ones and the nearest."""


def uniform(shape: Shape, seed: int, stream: int) -> Floats:
    """Numbers of variance 1, uniform in ±√3."""
    drawn = philox.uniform(seed, stream, 0, math.prod(shape))
    return ((2 * drawn - 1 + 2.0**-24) * math.sqrt(3)).reshape(shape)


def normal(shape: Shape, seed: int, stream: int) -> Floats:
    """Normal numbers of variance 1."""
    return philox.normal(seed, stream, 0, math.prod(shape)).reshape(shape)


def truncated_normal(shape: Shape, seed: int, stream: int) -> Floats:
    """Normal numbers, those beyond two deviations drawn again, scaled back to variance 1."""
    n = math.prod(shape)
    values = philox.normal(seed, stream, 0, n)
    for draw in range(1, 64):
        far = np.flatnonzero(np.abs(values) > 2)
        if far.size == 0:
            break
        values[far] = philox.normal(seed, stream, draw, n)[far]
    return (values / TRUNCATED_DEVIATION).reshape(shape)


def orthogonal(shape: Shape, seed: int, stream: int) -> Floats:
    """A matrix (all axes but the last are its rows) with orthonormal columns, or rows where it has fewer of them.

    Saxe, McClelland & Ganguli 2014; the signs of R's diagonal make the factorisation unique and Q uniform.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = philox.normal(seed, stream, 0, rows * columns).reshape(max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (q.T if rows < columns else q).reshape(shape)


def zeros(shape: Shape, seed: int, stream: int) -> Floats:
    """Zeros."""
    return np.zeros(shape)


def ones(shape: Shape, seed: int, stream: int) -> Floats:
    """Ones."""
    return np.ones(shape)


def unit_forget(shape: Shape, seed: int, stream: int) -> Floats:
    """An LSTM's bias (4 · units): ones for the forget gate, the second quarter, zeros for the others."""
    values = np.zeros(shape)
    values[shape[0] // 4 : shape[0] // 2] = 1
    return values


def sinusoidal(shape: Shape, seed: int, stream: int) -> Floats:
    """Positions in waves (t, features): sin(t / 10000^(2i/features)) in column 2i, the cosine in column 2i + 1.

    Vaswani et al. 2017, section 3.5.
    """
    steps, features = shape
    column = np.arange(features)
    angle = np.arange(steps)[:, None] / 10_000.0 ** (column // 2 * 2 / features)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle))


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
    "orthogonal": (orthogonal, as_is),
    "random_normal": (normal, small),
    "random_uniform": (uniform, narrow),
    "sinusoidal": (sinusoidal, as_is),
    "unit_forget": (unit_forget, as_is),
    "zeros": (zeros, as_is),
}
"""Every initializer: what is drawn, and the standard deviation it is scaled to."""


def initialize(name: str, shape: Shape, fan_in: int, fan_out: int, seed: int, stream: int) -> npt.NDArray[np.float32]:
    """The starting values of a parameter: a function of its arguments alone, the same on every machine."""
    if name not in INITIALIZERS:
        near = difflib.get_close_matches(name, INITIALIZERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownInitializer(f"unknown initializer {name!r}{hint} (known: {', '.join(INITIALIZERS)})")
    draw, scale = INITIALIZERS[name]
    values = draw(shape, seed, philox.START + stream) * scale(fan_in, fan_out)
    return values.astype(np.float32)
