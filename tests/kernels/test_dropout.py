"""Dropout: the mask follows from its place, keeps the mean, and is the same in both passes."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.ops.dropout import Dropout
from kernels.philox import random_bits
from kernels.tensor import TensorSpec
from tests.kernels.harness import Bound, bind

SHAPE = (40, 251)


def bound(rate: float, training: bool = True) -> Bound:
    """Dropout over ones, in both directions."""
    made = bind(Dropout(rate), TensorSpec(SHAPE), training=training)
    made.put("x", np.ones(SHAPE, np.float32))
    made.put("dy", np.ones(SHAPE, np.float32))
    return made


def test_the_mask_is_that_of_the_published_generator() -> None:
    made = bound(0.25)
    step = int(made.host("clock")[0])
    words = random_bits(made.frame.seed, made.frame.stream, step, SHAPE[0] * SHAPE[1])
    quarters = words.reshape(-1, 4).T.reshape(SHAPE)
    expected = np.where(quarters >= 2**30, np.float32(4 / 3), np.float32(0))
    assert made.forward().tobytes() == expected.tobytes()


def test_what_is_kept_is_scaled_up_so_that_the_mean_stays() -> None:
    y = bound(0.25).forward()
    assert sorted(set(y.ravel().tolist())) == pytest.approx([0, 4 / 3])
    assert (y == 0).mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / y.size))


def test_the_gradient_passes_exactly_where_the_value_passed() -> None:
    made = bound(0.5)
    assert made.forward().tobytes() == made.backward()["dx"].tobytes()


@pytest.mark.parametrize("size", range(1, 12))
def test_sizes_that_are_no_multiple_of_four_lose_no_element(size: int) -> None:
    assert (bind(Dropout(0.0), TensorSpec((1, size)), training=True).forward() != 0).all()


def test_every_step_has_its_own_mask() -> None:
    made = bound(0.5)
    first = made.forward()
    made.put("clock", np.array([6, 40, 40, 0], np.int32))
    assert (made.forward() != first).mean() == pytest.approx(0.5, abs=0.05)


def test_at_rest_nothing_is_dropped() -> None:
    assert (bound(0.9, training=False).forward() == 1).all()


def test_rate_zero_drops_nothing() -> None:
    assert (bound(0.0).forward() == 1).all()
