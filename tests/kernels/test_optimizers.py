"""What every optimizer in the registry promises, and each update rule against a float64 closed form and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.optimizer import Optimizer
from kernels.optimizers.adam import Adam
from kernels.optimizers.adamw import AdamW
from kernels.optimizers.sgd import Sgd
from kernels.registry import optimizers

Floats = npt.NDArray[np.float64]

COUNT, STEPS, RATE = 1003, 20, 0.05
RULES: dict[str, Optimizer] = {
    "sgd": Sgd(),
    "sgd with decay": Sgd(weight_decay=0.1),
    "momentum": Sgd(momentum=0.9),
    "momentum with decay": Sgd(momentum=0.9, weight_decay=0.1),
    "nesterov": Sgd(momentum=0.9, nesterov=True),
    "nesterov with decay": Sgd(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": Adam(),
    "adam, other betas": Adam(beta_1=0.5, beta_2=0.9, epsilon=1e-3),
    "adam without memory": Adam(beta_1=0.0, beta_2=0.0),
    "adamw": AdamW(),
    "adamw, strong decay": AdamW(weight_decay=0.3),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def gradients() -> list[Floats]:
    """The gradients of every step, the same for all."""
    rng = np.random.default_rng(7)
    return [rng.normal(size=COUNT) for _ in range(STEPS)]


def start() -> Floats:
    """The weights before the first step."""
    return np.random.default_rng(3).normal(size=COUNT)


def descended(rule: Optimizer, dtype: str = "float64", threads: int = 1) -> npt.NDArray[Any]:
    """The weights after all steps by our kernels."""
    device = CpuBackend(threads)
    w, dw = device.array(start().astype(dtype)), device.zeros((COUNT,), dtype)
    slots = {name: device.zeros((COUNT,), dtype) for name in rule.slots()}
    rates, clock = device.array(np.array([RATE, 0, 0, 0], dtype)), device.zeros((4,), "int32")
    program = device.program(list(rule.update(w, dw, slots, rates, clock)))
    for step, gradient in enumerate(gradients()):
        device.put(dw, gradient.astype(dtype))
        device.put(clock, np.array([step, 1, 1, 0], np.int32))
        program.run()
    return device.get(w)


def by_the_book(rule: Any) -> Floats:
    """The weights after all steps by the published formulas, in float64."""
    w, velocity, m, v = start(), np.zeros(COUNT), np.zeros(COUNT), np.zeros(COUNT)
    for t, g in enumerate(gradients(), 1):
        decay = RATE * getattr(rule, "weight_decay", 0.0) * w
        if isinstance(rule, Sgd):
            velocity = rule.momentum * velocity - RATE * g
            w = w + (rule.momentum * velocity - RATE * g if rule.nesterov else velocity) - decay
            continue
        m = rule.beta_1 * m + (1 - rule.beta_1) * g
        v = rule.beta_2 * v + (1 - rule.beta_2) * g**2
        alpha = RATE * np.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
        w = w - alpha * m / (np.sqrt(v) + rule.epsilon) - decay
    return w


@each_rule
def test_twenty_steps_follow_the_published_formula(rule: Optimizer) -> None:
    assert np.allclose(descended(rule), by_the_book(rule), rtol=0, atol=2e-6)


@each_rule
def test_float32_follows_float64(rule: Optimizer) -> None:
    assert np.abs(descended(rule, "float32") - descended(rule)).max() < 2e-5


@each_rule
def test_the_number_of_threads_changes_no_bit(rule: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PARALLEL_WORK", 0)
    assert descended(rule, "float32", 1).tobytes() == descended(rule, "float32", 2).tobytes()


def test_every_optimizer_of_the_registry_is_tested_here() -> None:
    assert {rule.type for rule in RULES.values()} == set(optimizers.members)


@pytest.mark.parametrize("optimizer", optimizers.members.values(), ids=optimizers.members.keys())
def test_an_optimizer_explains_itself_with_its_update(optimizer: type[Optimizer]) -> None:
    assert optimizer.__doc__ is not None
    assert "w ← w − α" in optimizer.__doc__


def test_one_step_of_descent_by_hand() -> None:
    device = CpuBackend()
    w, dw = device.array(np.float32([1, -2, 3])), device.array(np.float32([10, -20, 0]))
    rates, clock = device.array(np.float32([0.1, 0, 0, 0])), device.zeros((4,), "int32")
    device.program(list(Sgd().update(w, dw, {}, rates, clock))).run()
    assert w == pytest.approx([0, 0, 3], abs=1e-6), "a weight moves against its gradient, whatever the sign"


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradient() -> None:
    device = CpuBackend()
    w, dw = device.zeros((3,)), device.array(np.float32([1e-3, -1e3, 0]))
    slots = {name: device.zeros((3,)) for name in Adam().slots()}
    rates, clock = device.array(np.float32([0.1, 0, 0, 0])), device.zeros((4,), "int32")
    device.program(list(Adam().update(w, dw, slots, rates, clock))).run()
    assert w == pytest.approx([-0.1, 0.1, 0], rel=1e-2)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("rule", "peer", "options"),
    [
        (Sgd(), "SGD", {}),
        (Sgd(weight_decay=0.1), "SGD", {"weight_decay": 0.1}),
        (Sgd(momentum=0.9), "SGD", {"momentum": 0.9}),
        (Sgd(momentum=0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}),
        (Adam(epsilon=1e-12), "Adam", {"eps": 1e-12}),
        (AdamW(weight_decay=0.3, epsilon=1e-12), "AdamW", {"eps": 1e-12, "weight_decay": 0.3}),
    ],
    ids=str,
)
def test_pytorch_goes_the_same_way(rule: Optimizer, peer: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor(start(), requires_grad=True)
    optimizer = getattr(torch.optim, peer)([w], lr=RATE, **options)
    for gradient in gradients():
        w.grad = torch.tensor(gradient)
        optimizer.step()
    assert np.allclose(descended(rule), w.detach().numpy(), rtol=0, atol=1e-5)
