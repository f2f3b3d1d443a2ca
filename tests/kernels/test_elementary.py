"""Elementary functions of the CPU kernels against the C library in float64, over the whole range of float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.backend import CpuBackend
from kernels.launch import each

Floats = npt.NDArray[np.float32]


@each
def exp(i: int, x: Any, y: Any) -> None:
    y[i] = math.exp(x[i])


@each
def expm1(i: int, x: Any, y: Any) -> None:
    y[i] = math.expm1(x[i])


@each
def tanh(i: int, x: Any, y: Any) -> None:
    y[i] = math.tanh(x[i])


@each
def erf(i: int, x: Any, y: Any) -> None:
    y[i] = math.erf(x[i])


TRUTHS: dict[str, tuple[each, Callable[[float], float]]] = {
    "exp": (exp, math.exp), "expm1": (expm1, math.expm1), "tanh": (tanh, math.tanh), "erf": (erf, math.erf),
}  # fmt: skip
each_function = pytest.mark.parametrize(("body", "truth"), TRUTHS.values(), ids=TRUTHS.keys())


def run(body: each, x: npt.ArrayLike, dtype: str = "float32") -> npt.NDArray[Any]:
    """The compiled function of every x."""
    device = CpuBackend()
    given = device.array(np.asarray(x, dtype))
    y = device.zeros(given.shape, dtype)
    device.program([body.over(given.size, given, y)]).run()
    return device.get(y)


def everywhere() -> Floats:
    """Numbers dense near 0 and over everything that does not overflow, of both signs."""
    small, large = np.geomspace(1e-37, 1, 20_000), np.linspace(-87.3, 88.7, 100_000)
    return np.concatenate([small, -small, large, np.linspace(-5, 5, 100_000)]).astype(np.float32)


@each_function
def test_float32_is_within_a_few_units_of_the_last_place(body: each, truth: Callable[[float], float]) -> None:
    x = everywhere()
    expected = np.array([truth(value) for value in x.tolist()])
    assert (np.abs(run(body, x) - expected) <= 3e-7 * np.abs(expected)).all()


@each_function
def test_float64_is_that_of_the_c_library(body: each, truth: Callable[[float], float]) -> None:
    x = np.linspace(-30, 30, 1001)
    assert run(body, x, "float64") == pytest.approx([truth(value) for value in x.tolist()], rel=1e-14)


@pytest.mark.parametrize(
    ("body", "limits"),
    [(exp, [0, np.inf]), (expm1, [-1, np.inf]), (tanh, [-1, 1]), (erf, [-1, 1])],
    ids=TRUTHS.keys(),
)
def test_infinity_and_what_is_no_number_keep_their_meaning(body: each, limits: list[float]) -> None:
    low, high, nothing, far_low, far_high = run(body, [-np.inf, np.inf, np.nan, -1e30, 1e30])
    assert [low, high, far_low, far_high] == [*limits, *limits]
    assert np.isnan(nothing)


def test_results_below_the_normal_range_fade_out_instead_of_breaking_off() -> None:
    x = np.linspace(-110, -87, 1000, dtype=np.float32)
    assert run(exp, x) == pytest.approx(np.exp(x.astype(np.float64)), abs=1.5e-45)
