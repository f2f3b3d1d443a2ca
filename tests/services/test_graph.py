"""A network may branch and join: gradients of an output that several layers take are added."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.registry import losses, optimizers
from kernels.tensor import TensorSpec
from services.errors import Invalid
from services.job_spec import NetworkSpec
from services.outline import outline
from services.plan import Plan, Recipe

BATCH, FEATURES = 8, 6
RESIDUAL: list[dict[str, Any]] = [
    {"type": "dense", "units": 5, "activation": "tanh", "name": "a"},
    {"type": "dense", "units": 5, "activation": "tanh", "name": "b"},
    {"type": "dense", "units": 5, "inputs": ["a"], "name": "c"},
    {"type": "add", "inputs": ["a", "b", "c"], "name": "sum"},
    {"type": "concatenate", "inputs": ["sum", "input"]},
    {"type": "dense", "units": 3, "activation": "softmax", "name": "out"},
]


def plan_of(layers: list[dict[str, Any]], optimizer: str = "sgd") -> Plan:
    network = NetworkSpec.model_validate({"layers": layers})
    shapes = outline(network.layers, TensorSpec((BATCH, FEATURES)))
    loss = losses["sparse_categorical_crossentropy"]()
    recipe = Recipe(loss, TensorSpec((BATCH,), "int32"), optimizers[optimizer](learning_rate=0.1))  # type: ignore[call-arg]
    plan = Plan(shapes, CpuBackend(), recipe)
    plan.initialize(7)
    return plan


def one_step(plan: Plan, x: Any, t: Any) -> float:
    lost = plan.backend.zeros((1, BATCH))
    rates = plan.backend.array(np.full(4, 0.1, np.float32))
    program = plan.training(plan.feed(x, t), rates, lost, plan.backend.zeros((1, *plan.outline.output.shape)))
    plan.set_clock(0, 0)
    program.run()
    return float(lost.mean())


@pytest.mark.peers
@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed on this machine")
def test_gradients_through_branches_and_joins_are_pytorchs() -> None:
    import torch

    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((BATCH, FEATURES)).astype(np.float32), rng.integers(0, 3, BATCH).astype(np.int32)
    plan = plan_of(RESIDUAL)
    before = {k: torch.tensor(v, requires_grad=True) for k, v in plan.weights().items()}

    def dense(name: str, v: Any) -> Any:
        return v @ before[f"{name}/w"] + before[f"{name}/b"]

    inputs = torch.tensor(x)
    a = torch.tanh(dense("a", inputs))
    b = torch.tanh(dense("b", a))
    joined = torch.cat([a + b + dense("c", a), inputs], dim=1)
    loss = torch.nn.functional.cross_entropy(dense("out", joined), torch.tensor(t).long())
    loss.backward()
    assert one_step(plan, x, t) == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, value in plan.weights().items():
        expected = (before[name] - 0.1 * before[name].grad).detach().numpy()
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("change", "path", "hint"),
    [
        ({"type": "add", "inputs": ["a", "d"]}, "network.layers[3].inputs", "Known: a, b, c, input"),
        ({"type": "add", "inputs": ["a"]}, "network.layers[3].inputs", "inputs: [first, second]"),
        ({"type": "subtract", "inputs": ["a", "b", "c"]}, "network.layers[3].inputs", "inputs: [first, second]"),
        ({"type": "dense", "units": 5, "inputs": ["a", "b"]}, "network.layers[3].inputs", "concatenate"),
        ({"type": "dense", "units": 5, "inputs": ["c"]}, "network.layers[1]", "inputs of a layer"),
        ({"type": "add", "inputs": ["a", "input"]}, "network.layers[3]", ""),
    ],
)
def test_a_graph_that_does_not_join_up_is_explained(change: dict[str, Any], path: str, hint: str) -> None:
    layers = [*RESIDUAL[:3], change, RESIDUAL[-1]]
    with pytest.raises(Invalid) as caught:
        plan_of(layers)
    found = {mistake.path.removesuffix(".activation"): mistake for mistake in caught.value.mistakes}
    assert path in found
    assert hint in (found[path].hint or "")


def test_moving_averages_travel_with_the_weights_and_are_not_trained() -> None:
    layers = [{"type": "dense", "units": 4}, {"type": "batch_normalization"}, RESIDUAL[-1]]
    plan = plan_of(layers)
    start = plan.weights()
    rng = np.random.default_rng(1)
    one_step(plan, rng.standard_normal((BATCH, FEATURES)).astype(np.float32), np.zeros(BATCH, np.int32))
    after = plan.weights()
    moved = [name for name in after if not np.array_equal(after[name], start[name])]
    averages = [name for name in after if name in plan.kept]
    assert len(averages) == 2
    assert set(averages) <= set(moved)
    other = plan_of(layers)
    other.load_state(plan.state())
    assert all(np.array_equal(value, after[name]) for name, value in other.weights().items())
