"""Column sums against exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.reduce import column_sums
from kernels.simulator import SimulatedBackend
from tests.kernels.harness import Array

SIZES = [(1, 1), (3, 5), (100, 64), (17, 65), (9, 200)]


def sums(x: Array, device: backend.Backend) -> Array:
    """The column sums, computed on this device."""
    given, out = device.array(x), device.array(np.full(x.shape[1], np.nan, x.dtype))
    device.program([column_sums(given, out, *x.shape)]).run()
    return device.get(out)


def test_three_rows_by_hand() -> None:
    assert sums(np.array([[1, 2], [3, 4], [5, 6]], np.float32), CpuBackend()).tolist() == [9, 12]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("device", [CpuBackend(), SimulatedBackend()], ids=lambda d: d.name)
def test_every_column_is_summed(size: tuple[int, int], device: backend.Backend) -> None:
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    assert np.allclose(sums(x, device), x.astype(np.float64).sum(0), rtol=1e-5, atol=1e-5)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    x = np.random.default_rng(0).normal(size=(50, 333)).astype(np.float32)
    assert sums(x, CpuBackend(1)).tobytes() == sums(x, CpuBackend(2)).tobytes()
