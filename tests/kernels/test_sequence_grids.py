"""Sweeps and attention on the simulated GPU where threads have several columns each, and their code at real sizes."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.cuda_compiler import TARGETS, Target, cubins, target_name
from kernels.operator import Operator
from kernels.ops.embedding import Embedding
from kernels.ops.gru import GRU
from kernels.ops.lstm import LSTM
from kernels.ops.multi_head_attention import MultiHeadAttention
from kernels.ops.simple_rnn import SimpleRNN
from kernels.simulator import SimulatedBackend
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind

pytestmark = pytest.mark.timeout(600)

LARGER_THAN_A_BLOCK = [
    (LSTM(130, return_sequences=True), TensorSpec((1, 2, 1))),
    (GRU(175, go_backwards=True), TensorSpec((1, 2, 1))),
    (MultiHeadAttention(1, 2, causal=True), TensorSpec((1, 131, 1))),
    (MultiHeadAttention(1, 130), TensorSpec((1, 2, 1))),
]
REAL = [
    (LSTM(128, return_sequences=True), TensorSpec((32, 64, 16))),
    (GRU(512, go_backwards=True), TensorSpec((8, 10, 16))),
    (SimpleRNN(300), TensorSpec((8, 10, 16))),
    (MultiHeadAttention(4, 32, causal=True), TensorSpec((4, 256, 128))),
    (Embedding(5000, 128), TensorSpec((32, 64), "int32")),
]
OWN = ("lstm.", "gru.", "simple_rnn.", "attention.", "embedding.")


def briefly(value: Operator | TensorSpec) -> str:
    """A layer's type, an input's shape."""
    return value.type if isinstance(value, Operator) else str(value.shape)


@pytest.mark.parametrize(("layer", "x"), LARGER_THAN_A_BLOCK, ids=briefly)
def test_the_simulated_gpu_computes_what_the_cpu_computes(layer: Operator, x: TensorSpec) -> None:
    results = []
    for backend in (CpuBackend(), SimulatedBackend()):
        bound = bind(layer, x, backend)
        for name in bound.params:
            bound.put(name, bound.host(name) * np.float32(0.2))
        results.append({"y": bound.forward(), **bound.backward()})
    for name, expected in results[0].items():
        assert np.allclose(results[1][name], expected, rtol=1e-4, atol=1e-5 * max(1, np.abs(expected).max())), name


@pytest.mark.parametrize("target", TARGETS, ids=map(target_name, TARGETS))
@pytest.mark.parametrize(("layer", "x"), REAL, ids=briefly)
def test_the_machine_code_at_real_sizes_is_clean(layer: Operator, x: TensorSpec, target: Target) -> None:
    bound = bind(layer, x)
    own = [v for v in (*bound.forward_launches, *bound.backward_launches) if v.kernel.name.startswith(OWN)]
    made = [cubin for launch in own for cubin in cubins(launch, target)]
    assert len(made) >= 2
    assert {(cubin.stack, cubin.spills, cubin.doubles) for cubin in made} == {(0, 0, 0)}
    assert max(cubin.registers for cubin in made) * 512 <= 65536
