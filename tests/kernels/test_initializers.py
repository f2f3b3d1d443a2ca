"""How parameters start: each initializer's law, its scale, and that it is a function of its arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels.initializers import INITIALIZERS, UnknownInitializer, initialize

FAN_IN, FAN_OUT, SHAPE = 300, 100, (300, 100)
DEVIATIONS = {
    "glorot_uniform": math.sqrt(2 / 400),
    "glorot_normal": math.sqrt(2 / 400),
    "he_uniform": math.sqrt(2 / 300),
    "he_normal": math.sqrt(2 / 300),
    "lecun_uniform": math.sqrt(1 / 300),
    "lecun_normal": math.sqrt(1 / 300),
    "random_normal": 0.05,
    "random_uniform": 0.05 / math.sqrt(3),
}


@pytest.mark.parametrize(("name", "deviation"), DEVIATIONS.items())
def test_the_published_mean_and_deviation(name: str, deviation: float) -> None:
    values = initialize(name, SHAPE, FAN_IN, FAN_OUT, seed=1, stream=2)
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=4 * deviation / math.sqrt(values.size))
    assert values.std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(
    ("name", "limit"), [("glorot_uniform", math.sqrt(6 / 400)), ("he_uniform", math.sqrt(6 / 300))]
)
def test_uniform_values_fill_their_range_and_never_leave_it(name: str, limit: float) -> None:
    values = initialize(name, SHAPE, FAN_IN, FAN_OUT, 1, 2)
    assert np.abs(values).max() <= limit
    assert values.max() > 0.999 * limit
    assert values.min() < -0.999 * limit


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal"])
def test_truncated_values_stay_within_two_deviations(name: str) -> None:
    values = initialize(name, SHAPE, FAN_IN, FAN_OUT, 1, 2)
    assert np.abs(values).max() <= 2 * DEVIATIONS[name] / 0.8796


@pytest.mark.parametrize(("name", "value"), [("zeros", 0), ("ones", 1)])
def test_constants(name: str, value: float) -> None:
    assert (initialize(name, (3, 4), 3, 4, 1, 2) == value).all()


@pytest.mark.parametrize("shape", [(6, 6), (5, 20), (20, 5), (2, 3, 4)], ids=str)
def test_orthogonal_rows_or_columns_have_length_one_and_stand_upright_on_each_other(shape: tuple[int, ...]) -> None:
    matrix = initialize("orthogonal", shape, 1, 1, 1, 2).reshape(-1, shape[-1])
    gram = matrix @ matrix.T if len(matrix) < shape[-1] else matrix.T @ matrix
    assert np.abs(gram - np.eye(len(gram))).max() <= 1e-6


def test_an_orthogonal_start_prefers_no_direction() -> None:
    corners = [initialize("orthogonal", (3, 3), 1, 1, seed, 2)[0, 0] for seed in range(400)]
    assert np.mean(corners) == pytest.approx(0, abs=0.1)
    assert np.mean(np.square(corners)) == pytest.approx(1 / 3, abs=0.06)


def test_only_the_forget_gate_starts_open() -> None:
    assert initialize("unit_forget", (12,), 1, 1, 1, 2).tolist() == [0] * 3 + [1] * 3 + [0] * 6


def test_positions_are_waves_of_growing_length() -> None:
    table = initialize("sinusoidal", (50, 4), 1, 1, 1, 2)
    t = np.arange(50)
    for column, wave in enumerate((np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100))):
        assert np.allclose(table[:, column], wave, atol=1e-6)


def test_every_initializer_is_tested_here() -> None:
    assert set(INITIALIZERS) == {*DEVIATIONS, "zeros", "ones", "orthogonal", "sinusoidal", "unit_forget"}


@pytest.mark.parametrize("name", [*DEVIATIONS, "orthogonal"])
def test_the_values_follow_from_seed_and_stream(name: str) -> None:
    def draw(seed: int, stream: int) -> bytes:
        return initialize(name, (5, 7), 5, 7, seed, stream).tobytes()

    assert draw(1, 2) == draw(1, 2)
    assert len({draw(1, 2), draw(2, 2), draw(1, 3)}) == 3


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownInitializer, match="did you mean 'glorot_uniform'") as caught:
        initialize("glorot_unifrom", (2, 2), 2, 2, 1, 2)
    assert all(name in str(caught.value) for name in INITIALIZERS)
