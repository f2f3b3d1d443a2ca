"""The same promises on a real GPU: `python3 run.py gpu`. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backend import Backend, BackendUnavailable, CpuBackend, open_backend
from kernels.cuda_compiler import cuda_key
from kernels.gemm import matmul
from tests.kernels.cuda_cases import Case, every_case
from tests.kernels.test_cuda_numbers import near

pytestmark = pytest.mark.gpu
CASES = list(every_case())


@pytest.fixture(scope="module")
def gpu() -> Backend:
    try:
        return open_backend("gpu:0")
    except BackendUnavailable as absent:
        pytest.skip(f"no GPU here: {absent}")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_gpu_computes_what_the_cpu_computes(case: Case, gpu: Backend) -> None:
    cpu = CpuBackend()
    expected, found = case.bind(cpu).run(cpu), case.bind(gpu).run(gpu)
    assert {name: near(found[name], values) for name, values in expected.items()} == dict.fromkeys(expected, True)


@pytest.mark.parametrize("shape", [(128, 512, 784), (2048, 1024, 512), (2047, 1031, 777)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_real_sizes_agree_with_float64(
    shape: tuple[int, int, int], transposed: tuple[bool, bool], gpu: Backend
) -> None:
    (m, n, k), rng = shape, np.random.default_rng(1)
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((m, k), (k, n)))
    stored = (a.T if transposed[0] else a, b.T if transposed[1] else b)
    c = gpu.zeros((m, n))
    left, right = (gpu.array(np.ascontiguousarray(array)) for array in stored)
    launch = matmul(left, right, c, m, n, k, transpose_a=transposed[0], transpose_b=transposed[1])
    gpu.program([launch]).run()
    expected = a.astype(np.float64) @ b
    assert np.abs(gpu.get(c) - expected).max() < 1e-6 * k


def test_a_captured_graph_gives_the_same_bits_as_single_launches(gpu: Backend) -> None:
    work = {name: case for name, case in ((case.name, case) for case in CASES)}
    case = next(case for name, case in work.items() if name.endswith(".trained") and case.bind(gpu).launches)
    once, often = case.bind(gpu), case.bind(gpu)
    expected = once.run(gpu)
    program = gpu.program(often.launches)
    program.run(5)
    assert cuda_key(once.launches[0]) == cuda_key(often.launches[0])
    for name, values in expected.items():
        np.testing.assert_array_equal(gpu.get(often.results[name]), values)


def test_memory_falls_by_what_is_taken(gpu: Backend) -> None:
    before = gpu.memory()
    taken = gpu.zeros((1 << 26,))
    assert before.free - gpu.memory().free >= taken.nbytes
    assert before.total >= before.free
