"""Gaussian noise: the published generator's normal numbers, fresh at every step, none at rest."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.ops.gaussian_noise import GaussianNoise
from kernels.philox import normal
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind

SHAPE = (40, 250)


def bound(stddev: float, training: bool = True) -> Bound:
    """Noise on zeros."""
    made = bind(GaussianNoise(stddev), TensorSpec(SHAPE), training=training)
    made.put("x", np.zeros(SHAPE, np.float32))
    return made


def test_the_noise_is_that_of_the_published_generator() -> None:
    made = bound(0.5)
    step = int(made.host("clock")[0])
    numbers = normal(made.frame.seed, made.frame.stream, step, SHAPE[0] * SHAPE[1])
    expected = 0.5 * numbers.reshape(-1, 4).T.reshape(SHAPE)
    assert made.forward() == pytest.approx(expected, abs=1e-3)
    assert np.abs(made.forward() - expected).mean() < 1e-6


def test_the_noise_has_the_moments_of_a_normal_variable() -> None:
    y, n = bound(2.0).forward().ravel().astype(float) / 2, SHAPE[0] * SHAPE[1]
    assert y.mean() == pytest.approx(0, abs=4 / np.sqrt(n))
    assert y.var() == pytest.approx(1, abs=4 * np.sqrt(2 / n))
    assert (y**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / n))
    assert (np.abs(y) < 1).mean() == pytest.approx(0.6827, abs=4 * np.sqrt(0.22 / n))


def test_every_step_has_its_own_noise() -> None:
    made = bound(1.0)
    first = made.forward()
    made.put("clock", np.array([6, 40, 40, 0], np.int32))
    assert abs(np.corrcoef(first.ravel(), made.forward().ravel())[0, 1]) < 4 / np.sqrt(first.size)


def test_the_gradient_passes_as_it_is() -> None:
    made = bound(1.0)
    assert made.backward()["dx"].tobytes() == made.host("dy").tobytes()


@pytest.mark.parametrize("size", range(1, 12))
def test_sizes_that_are_no_multiple_of_four_lose_no_element(size: int) -> None:
    assert (bind(GaussianNoise(1.0), TensorSpec((1, size))).forward() != 0).all()


def test_at_rest_nothing_is_added() -> None:
    assert (bound(9.0, training=False).forward() == 0).all()


def test_no_deviation_adds_nothing() -> None:
    assert (bound(0.0).forward() == 0).all()
