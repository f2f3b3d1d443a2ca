"""Gradient clipping: by value, by each parameter's norm, and by the norm of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.clip import BLOCK, clip

LENGTHS = (5, 3 * BLOCK + 7, 1, BLOCK)


def clipped(values: npt.NDArray[Any], segments: list[tuple[int, int]], threads: int = 1, **limit: float) -> Any:
    """The gradient after clipping."""
    device = CpuBackend(threads)
    dw = device.array(values)
    device.program(list(clip(dw, segments, device.zeros, **limit))).run()
    return device.get(dw)


def gradient(dtype: str = "float64") -> tuple[npt.NDArray[Any], list[tuple[int, int]]]:
    """A flat gradient of several parameters with gaps between them, and where they lie."""
    segments, begin = [], 0
    for length in LENGTHS:
        segments.append((begin, length))
        begin += length + 3
    return np.random.default_rng(1).normal(size=begin).astype(dtype), segments


def test_by_value_every_element_is_bounded() -> None:
    values = np.float32([-3, -1, 0, 0.5, 7, np.nan])
    assert clipped(values, [(0, 6)], clipvalue=1.0).tolist()[:5] == [-1, -1, 0, 0.5, 1]


def test_a_gradient_that_is_not_a_number_stays_visible() -> None:
    values = np.float32([1, np.nan])
    for limit in ("clipvalue", "clipnorm", "global_clipnorm"):
        assert np.isnan(clipped(values, [(0, 2)], **{limit: 0.5})[1])


def test_by_norm_a_gradient_keeps_its_direction() -> None:
    assert clipped(np.float32([3, 4]), [(0, 2)], clipnorm=1.0) == pytest.approx([0.6, 0.8])


def test_by_norm_each_parameter_is_clipped_alone_and_short_ones_are_left() -> None:
    values, segments = gradient()
    result = clipped(values, segments, clipnorm=30.0)
    for begin, length in segments:
        part = values[begin : begin + length]
        expected = part * min(1, 30 / np.linalg.norm(part))
        assert result[begin : begin + length] == pytest.approx(expected, rel=1e-12)


def test_by_global_norm_all_parameters_shrink_alike_and_gaps_do_not_count() -> None:
    values, segments = gradient()
    inside = np.concatenate([np.arange(begin, begin + length) for begin, length in segments])
    gaps = np.setdiff1d(np.arange(values.size), inside)
    values[gaps] = 1e6
    result = clipped(values, segments, global_clipnorm=1.0)
    assert np.linalg.norm(result[inside]) == pytest.approx(1)
    assert result[inside] == pytest.approx(values[inside] / np.linalg.norm(values[inside]), rel=1e-12)
    assert (result[gaps] == 1e6).all()


@pytest.mark.parametrize("limit", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_the_number_of_threads_changes_no_bit(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    values, segments = gradient("float32")
    assert (
        clipped(values, segments, 1, **{limit: 0.5}).tobytes() == clipped(values, segments, 2, **{limit: 0.5}).tobytes()
    )


def test_nothing_is_done_where_nothing_is_asked() -> None:
    values, segments = gradient()
    assert list(clip(values, segments, CpuBackend().zeros)) == []


def test_two_limits_at_once_are_refused() -> None:
    values, segments = gradient()
    with pytest.raises(ValueError, match="only one of"):
        list(clip(values, segments, CpuBackend().zeros, clipnorm=1.0, clipvalue=1.0))
