"""What `math` means inside a CPU kernel: exp, expm1, tanh and erf that a vector loop can hold.

The C library's functions are called one element at a time. These are straight-line float32 arithmetic, so LLVM
computes eight elements at once: two to ten times faster, within 3e-7 of the truth (float32 resolves 1.2e-7). Float64,
which only gradient checks use, and every other name go to the C library. The polynomials are minimax fits
(Lawson's weighted least squares on Chebyshev nodes); the reduction is Cody & Waite's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

EXACT: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
"""No reassociation: the reduction of exp lives on the order in which it rounds."""

ONE, HALF, TWO = np.float32(1), np.float32(0.5), np.float32(2)
LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
MAGIC = np.float32(3 << 22)
"""Added to a small float32, it leaves the nearest integer in the lowest bits."""
MAGIC_BITS = int(MAGIC.view(np.int32))
LOWEST, HIGHEST = np.float32(-104), np.float32(89)
"""Below e^x is 0, above it is infinite."""

EXP = tuple(map(np.float32, (0.0013814462, 0.00836878088, 0.0416683943, 0.166665201, 0.499999934)))
EXPM1 = tuple(map(np.float32, (0.000198498039, 0.00139961782, 0.00833357907, 0.0416653585, 0.16666664, 0.500000039)))
TANH = tuple(map(np.float32, (-0.00589514035, 0.0207959556, -0.0537838252, 0.133319241, -0.33333298)))
ERF = tuple(
    map(np.float32, (
        7.85385327e-05, -0.000801019118, 0.00518832741, -0.0268538118, 0.112835851, -0.376126258, 1.12837917,
    ))
)  # fmt: skip
ERFC = tuple(map(np.float32, (0.439941762, -0.973540961, 0.412168904, 0.576478702, 0.556532578, 0.000774631077)))
TANH_NEAR, EXPM1_NEAR, ERF_NEAR, ERF_FAR = np.float32(0.6), np.float32(0.5), np.float32(1), np.float32(4)


@intrinsic
def bits_of(_context: Any, _number: Any) -> Any:
    """The bits of a float32."""
    return types.int32(types.float32), lambda _c, builder, _s, values: builder.bitcast(values[0], ir.IntType(32))


@intrinsic
def float_of(_context: Any, _bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.int32), lambda _c, builder, _s, values: builder.bitcast(values[0], ir.FloatType())


@intrinsic
def choose(_context: Any, _condition: Any, _yes: Any, _no: Any) -> Any:
    """One of two float32, both computed: a branch here would keep the loop around it from becoming a vector loop."""
    f = types.float32
    return f(types.boolean, f, f), lambda _c, builder, _s, values: builder.select(*values)


@njit(**EXACT)
def exp32(x: Any) -> Any:
    """e^x = 2^k · e^r with |r| ≤ ln 2 / 2; the power of two is put together in two halves, so that none overflows."""
    inside = choose(x < LOWEST, LOWEST, choose(x > HIGHEST, HIGHEST, x))
    shifted = inside * LOG2_E + MAGIC
    n = shifted - MAGIC
    r = inside - n * LN2_HIGH - n * LN2_LOW
    p = (((EXP[0] * r + EXP[1]) * r + EXP[2]) * r + EXP[3]) * r + EXP[4]
    k = np.int32(bits_of(shifted) - MAGIC_BITS)
    half = np.int32(k >> 1)
    first, second = float_of(np.int32((half + 127) << 23)), float_of(np.int32((k - half + 127) << 23))
    return (r * r * p + r + ONE) * first * second


@njit(**EXACT)
def expm1_32(x: Any) -> Any:
    """e^x − 1: its own polynomial near 0, where the difference would cancel."""
    p = ((((EXPM1[0] * x + EXPM1[1]) * x + EXPM1[2]) * x + EXPM1[3]) * x + EXPM1[4]) * x + EXPM1[5]
    return choose(abs(x) < EXPM1_NEAR, x * x * p + x, exp32(x) - ONE)


@njit(**EXACT)
def tanh32(x: Any) -> Any:
    """tanh x = 1 − 2 / (e^2x + 1), and an odd polynomial near 0."""
    a, z = abs(x), x * x
    p = (((TANH[0] * z + TANH[1]) * z + TANH[2]) * z + TANH[3]) * z + TANH[4]
    far = ONE - TWO / (exp32(a + a) + ONE)
    return choose(a < TANH_NEAR, x + x * z * p, math.copysign(far, x))


@njit(**EXACT)
def erf32(x: Any) -> Any:
    """erf x: an odd polynomial up to 1, then 1 − e^−x² · P(1 / (1 + x))."""
    a, z = abs(x), x * x
    p = (((((ERF[0] * z + ERF[1]) * z + ERF[2]) * z + ERF[3]) * z + ERF[4]) * z + ERF[5]) * z + ERF[6]
    b = choose(a > ERF_FAR, ERF_FAR, a)
    t = ONE / (ONE + b)
    q = ((((ERFC[0] * t + ERFC[1]) * t + ERFC[2]) * t + ERFC[3]) * t + ERFC[4]) * t + ERFC[5]
    far = ONE - exp32(-b * b) * q
    return choose(a < ERF_NEAR, x * p, math.copysign(far, x))


def exp(x: Any) -> Any:
    """e^x."""
    return math.exp(x)


def expm1(x: Any) -> Any:
    """e^x − 1."""
    return math.expm1(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return math.tanh(x)


def erf(x: Any) -> Any:
    """The error function."""
    return math.erf(x)


def _speak(name: Any, narrow: Any) -> None:
    """Let `name` mean `narrow` for float32; for float64 its own body stands."""

    @overload(name, jit_options=EXACT)
    def meaning(x: Any) -> Any:
        return narrow.py_func if x is types.float32 else name


for _name, _narrow in ((exp, exp32), (expm1, expm1_32), (tanh, tanh32), (erf, erf32)):
    _speak(_name, _narrow)


def __getattr__(name: str) -> Any:
    return getattr(math, name)
