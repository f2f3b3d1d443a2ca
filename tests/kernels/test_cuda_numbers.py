"""Whatever the CPU computes, the simulated GPU computes too, for everything in the registries."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.simulator import SimulatedBackend
from tests.kernels.cuda_cases import Case, every_case

CASES = list(every_case())
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def near(simulated: np.ndarray, computed: np.ndarray) -> bool:
    """Equal but for the rounding of sums in another order; integers equal."""
    if computed.dtype.kind != "f":
        return bool((simulated == computed).all())
    scale = max(1.0, float(np.abs(computed).max(initial=0)))
    return bool(np.allclose(simulated, computed, rtol=1e-5, atol=4e-6 * scale))


@each_case
def test_the_simulated_gpu_computes_what_the_cpu_computes(case: Case) -> None:
    cpu, gpu = CpuBackend(), SimulatedBackend()
    expected, found = case.bind(cpu).run(cpu), case.bind(gpu).run(gpu)
    assert {name: near(found[name], values) for name, values in expected.items()} == dict.fromkeys(expected, True)
