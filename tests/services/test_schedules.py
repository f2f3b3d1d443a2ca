"""Schedules: every table of learning rates against the closed form that its documentation states."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotFound
from services.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    ExponentialDecay,
    GeometricRise,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    Schedule,
    StepDecay,
    schedule,
)

EXAMPLES: list[Schedule] = [
    Constant(),
    Constant(warmup_fraction=0.2),
    Cosine(),
    Cosine(warmup_fraction=0.1, alpha=0.01),
    ExponentialDecay(decay_steps=10, decay_rate=0.5),
    ExponentialDecay(decay_steps=10, decay_rate=0.5, staircase=True),
    InverseTimeDecay(decay_steps=10, decay_rate=0.5),
    PolynomialDecay(),
    PolynomialDecay(decay_steps=20, end_learning_rate=0.01, power=2.0),
    PiecewiseConstantDecay(boundaries=(10, 20), values=(0.1, 0.01, 0.001)),
    StepDecay(step_size=10, gamma=0.5),
    GeometricRise(end_learning_rate=30.0),
]
BASE, STEPS = 0.3, 100


def rates(found: Schedule) -> np.ndarray:
    return found.rates(BASE, STEPS)


def test_every_schedule_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == set(SCHEDULES.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_table_has_one_finite_float32_above_or_at_zero_for_each_step(example: Schedule) -> None:
    for steps in (0, 1, 2, STEPS):
        table = example.rates(BASE, steps)
        assert table.shape == (steps,)
        assert table.dtype == np.float32
        assert np.all(np.isfinite(table) & (table >= 0))


@pytest.mark.parametrize(
    ("found", "formula"),
    [
        (Constant(), lambda t: BASE),
        (Cosine(), lambda t: BASE * 0.5 * (1 + math.cos(math.pi * t / STEPS))),
        (Cosine(alpha=0.2), lambda t: BASE * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * t / STEPS)))),
        (ExponentialDecay(7, 0.9), lambda t: BASE * 0.9 ** (t / 7)),
        (ExponentialDecay(7, 0.9, staircase=True), lambda t: BASE * 0.9 ** (t // 7)),
        (InverseTimeDecay(7, 0.9), lambda t: BASE / (1 + 0.9 * t / 7)),
        (InverseTimeDecay(7, 0.9, staircase=True), lambda t: BASE / (1 + 0.9 * (t // 7))),
        (PolynomialDecay(), lambda t: 0.0001 + (BASE - 0.0001) * (1 - t / STEPS)),
        (PolynomialDecay(20, 0.01, 2.0), lambda t: 0.01 + (BASE - 0.01) * (1 - min(t, 20) / 20) ** 2),
        (StepDecay(30), lambda t: BASE * 0.1 ** (t // 30)),
        (PiecewiseConstantDecay((10, 20), (3.0, 2.0, 1.0)), lambda t: 3.0 if t <= 10 else 2.0 if t <= 20 else 1.0),
    ],
    ids=lambda part: str(part) if isinstance(part, Schedule) else "formula",
)
def test_rates_follow_the_closed_form(found: Schedule, formula: object) -> None:
    np.testing.assert_allclose(rates(found), [formula(t) for t in range(STEPS)], rtol=1e-6)


@given(st.integers(1, 400), st.floats(0, 0.9))
def test_a_warmup_rises_in_a_straight_line_to_the_base_and_leaves_the_rest_alone(steps: int, fraction: float) -> None:
    warmup = round(fraction * steps)
    table = Cosine(warmup_fraction=fraction).rates(BASE, steps)
    np.testing.assert_allclose(table[:warmup], BASE * np.arange(1, warmup + 1) / (warmup + 1), rtol=1e-5)
    np.testing.assert_allclose(table[warmup:], Cosine().rates(BASE, steps - warmup), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(Constant(fraction).rates(BASE, steps)[warmup:], BASE, rtol=1e-6)


def test_a_cosine_never_rises_after_its_warmup() -> None:
    assert np.all(np.diff(rates(Cosine(warmup_fraction=0.3))[30:]) <= 0)


@pytest.mark.parametrize(
    ("boundaries", "values", "reason"),
    [
        ((10,), (0.1,), "1 boundaries need 2 values, and there are 1"),
        ((20, 10), (3.0, 2.0, 1.0), "boundaries are step numbers from 0 that rise"),
        ((-1,), (2.0, 1.0), "boundaries are step numbers from 0 that rise"),
        ((10,), (0.1, 0.0), "values are learning rates above 0"),
    ],
)
def test_a_piecewise_schedule_that_makes_no_sense_is_refused(
    boundaries: tuple[int, ...], values: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        PiecewiseConstantDecay(boundaries, values)


@pytest.mark.parametrize("found", SCHEDULES.values(), ids=lambda cls: cls.type)
def test_every_schedule_states_its_formula_and_keeps_its_fields(found: type[Schedule]) -> None:
    assert "rate = " in str(found.__doc__)
    assert dataclasses.is_dataclass(found)
    assert found.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "meant"), [("CosineDecay", Cosine), ("cosine", Cosine), ("step", StepDecay)])
def test_keras_class_names_are_understood(name: str, meant: type[Schedule]) -> None:
    assert schedule(name) is meant


def test_an_unknown_schedule_lists_the_known_ones() -> None:
    with pytest.raises(NotFound) as caught:
        schedule("cosin")
    assert "Did you mean 'cosine'?" in str(caught.value.hint)
    assert "exponential_decay" in str(caught.value.hint)


def test_a_geometric_rise_goes_from_the_base_to_its_end_by_the_same_factor() -> None:
    found = rates(GeometricRise(end_learning_rate=30.0)).astype(np.float64)
    assert found[0] == pytest.approx(BASE)
    assert found[-1] == pytest.approx(30.0)
    assert found[1:] / found[:-1] == pytest.approx(np.full(STEPS - 1, (30.0 / BASE) ** (1 / (STEPS - 1))), rel=1e-5)
