"""Power laws against closed forms, SciPy and planted noise."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from services.intervals import half_width, mean
from services.studies.power_law import around, crossing, fit, interval, resampled

N = np.array([100.0, 200, 400, 800, 1600, 3200])


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 2.0, 0.5), (0.05, 3.0, 0.7), (0.02, 1.0, 0.25), (0.1, 0.0, 1.0)])
def test_a_law_without_noise_is_found(a: float, b: float, c: float) -> None:
    law = fit(N, (a + b * N ** (-c))[None])
    for n in (100.0, 3200.0, 6400.0):
        assert law.at(n)[0] == pytest.approx(a + b * n ** (-c), rel=0.01)
    assert law.gain(3200)[0] == pytest.approx(b * 3200 ** (-c) - b * 6400 ** (-c), rel=0.05, abs=1e-6)
    assert law.misfit[0] < 0.003


def test_a_fit_is_as_good_as_scipy_s() -> None:
    errors = 0.04 + 2 * N**-0.6 + np.array([0.004, -0.003, 0.002, -0.001, 0.001, -0.0005])
    found = fit(N, errors[None])

    def law(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * n ** (-c)

    best, _ = curve_fit(law, N, errors, p0=(0.05, 1, 0.5), sigma=errors, bounds=(0, [1, 100, 3]))
    cost = np.sum(((errors - law(N, *best)) / errors) ** 2)
    assert len(N) * found.misfit[0] ** 2 == pytest.approx(cost, rel=0.01)


def test_errors_that_rise_with_the_data_promise_nothing() -> None:
    assert fit(N, np.linspace(0.1, 0.2, len(N))[None]).gain(3200)[0] == 0


def test_the_bootstrap_of_seeds_is_as_wide_as_student_s_interval() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.02, (5, 1))
    low, high = interval(resampled(values)[:, 0])
    wide = half_width([float(v) for v in values[:, 0]])
    assert wide is not None
    assert (high - low) / 2 == pytest.approx(wide, rel=0.1)
    assert (high + low) / 2 == pytest.approx(mean([float(v) for v in values[:, 0]]), abs=0.3 * wide)


def test_the_bootstrap_is_the_same_every_time() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    assert (resampled(values) == resampled(values)).all()


def test_intervals_cover_what_was_planted() -> None:
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        errors = 2 * N**-0.5 * (1 + 0.05 * rng.normal(size=(4, len(N))))
        gain = float(fit(N, errors.mean(axis=0)[None]).gain(3200)[0])
        low, high = around(gain, fit(N, np.maximum(resampled(errors, count=200), 0)).gain(3200))
        hits += low <= 2 * 3200**-0.5 - 2 * 6400**-0.5 <= high
    assert hits >= 36


def test_a_crossing_is_interpolated_on_the_logarithm() -> None:
    lead = np.array([[-1.0, -1, 1, 2, 3, 4], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, -1], [1, -1, 1, -3, 1, 1]])
    found = crossing(N, lead)
    assert found[0] == pytest.approx(np.sqrt(200 * 400))
    assert found[1] == -np.inf
    assert found[2] == np.inf
    assert found[3] == pytest.approx(800 * 2**0.75)
