"""A whole training step on the simulated GPU: the network learns the same weights as on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.backend import Backend, CpuBackend, open_backend
from kernels.simulator import SimulatedBackend
from services.job_spec import LOSSES, OPTIMIZERS
from services.plan import Clipping, Plan, Recipe
from services.preflight import check
from services.spec import parse_job
from tests.kernels.fake_gpu import FakeGpu

LAYERS = [
    {"type": "conv2d", "filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"},
    {"type": "max_pooling2d", "pool_size": 2},
    {"type": "flatten"},
    {"type": "dropout", "rate": 0.25},
    {"type": "dense", "units": 10, "activation": "softmax"},
]
SPEC = {
    "task": "classification",
    "dataset": {"name": "digits"},
    "network": {"layers": LAYERS},
    "training": {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "batch_size": 4, "epochs": 1},
}
ROWS, STEPS = 6, 4


def learned(backend: Backend) -> dict[str, np.ndarray[Any, Any]]:
    """State after four steps of two epochs; the second batch of each is short."""
    job, rng = parse_job(SPEC), np.random.default_rng(3)
    flight = check(job)
    loss, optimizer = LOSSES.build(job.training.loss), OPTIMIZERS.build(job.training.optimizer)
    recipe = Recipe(loss, flight.target, optimizer, Clipping(clipnorm=1.0), 5)
    plan = Plan(flight.network, backend, recipe)
    plan.initialize(5)
    x, t = rng.random((ROWS, 8, 8, 1)).astype(np.float32), rng.integers(0, 10, ROWS).astype(np.int32)
    schedule, losses = backend.array(np.full(STEPS, 0.01, np.float32)), backend.zeros((STEPS, 4))
    outputs = backend.zeros((STEPS, *flight.network.output.shape))
    program = plan.training(plan.feed(x, t), schedule, losses, outputs)
    for epoch in range(2):
        plan.set_clock(2 * epoch, 0, 2 * epoch)
        program.run(2)
    return {**plan.state(), "losses": backend.get(losses)}


def test_a_convolutional_network_learns_the_same_on_the_simulated_gpu_as_on_the_cpu() -> None:
    expected, found = learned(CpuBackend()), learned(SimulatedBackend())
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_captured_step_on_the_fake_gpu_gives_the_same_bits_as_the_simulated_launches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = learned(SimulatedBackend())
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    found = learned(open_backend("gpu:0"))
    assert {name: (found[name] == values).all() for name, values in expected.items()} == dict.fromkeys(expected, True)
    assert gpu.asked.count("capture") == 1
    assert gpu.asked.count("replay") == STEPS - 1
