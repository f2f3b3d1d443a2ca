"""What every optimizer in the registry promises, and each update rule against a float64 closed form and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels import backend
from kernels.backend import CpuBackend
from kernels.optimizer import Optimizer
from kernels.optimizers.adagrad import Adagrad
from kernels.optimizers.adam import Adam
from kernels.optimizers.adamw import AdamW
from kernels.optimizers.lion import Lion
from kernels.optimizers.nadam import Nadam
from kernels.optimizers.rmsprop import RMSprop
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
    "rmsprop": RMSprop(),
    "rmsprop, other numbers": RMSprop(rho=0.5, epsilon=1e-3, weight_decay=0.3),
    "rmsprop without memory": RMSprop(rho=0.0),
    "rmsprop with momentum": RMSprop(momentum=0.8, weight_decay=0.3),
    "rmsprop, centred": RMSprop(centered=True, epsilon=1e-2),
    "rmsprop, centred with momentum": RMSprop(momentum=0.5, centered=True, epsilon=1e-2),
    "adagrad": Adagrad(),
    "adagrad, other numbers": Adagrad(initial_accumulator_value=0.5, epsilon=1e-2, weight_decay=0.3),
    "nadam": Nadam(),
    "nadam, other numbers": Nadam(beta_1=0.5, beta_2=0.9, epsilon=1e-3, weight_decay=0.3),
    "nadam without memory": Nadam(beta_1=0.0, beta_2=0.0),
    "lion": Lion(),
    "lion, other numbers": Lion(beta_1=0.5, beta_2=0.8, weight_decay=0.3),
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


Step = Callable[[Floats, int], Floats]
"""What is taken off the weights for a gradient, at step t = 1, 2, …; it remembers the steps before."""


def sgd_by_the_book(rule: Sgd) -> Step:
    """Polyak's and Nesterov's momentum as Sutskever et al. write them."""
    velocity = np.zeros(COUNT)

    def step(g: Floats, t: int) -> Floats:
        nonlocal velocity
        velocity = rule.momentum * velocity - RATE * g
        return -(rule.momentum * velocity - RATE * g if rule.nesterov else velocity)

    return step


def adam_by_the_book(rule: Adam | AdamW) -> Step:
    """Kingma & Ba, the form before section 2.1."""
    m, v = np.zeros(COUNT), np.zeros(COUNT)

    def step(g: Floats, t: int) -> Floats:
        nonlocal m, v
        m = rule.beta_1 * m + (1 - rule.beta_1) * g
        v = rule.beta_2 * v + (1 - rule.beta_2) * g**2
        alpha = RATE * np.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
        return alpha * m / (np.sqrt(v) + rule.epsilon)

    return step


def rmsprop_by_the_book(rule: RMSprop) -> Step:
    """Keras 3: the epsilon under the root, momentum over whole steps."""
    v, a, b = np.zeros(COUNT), np.zeros(COUNT), np.zeros(COUNT)

    def step(g: Floats, t: int) -> Floats:
        nonlocal v, a, b
        v = rule.rho * v + (1 - rule.rho) * g**2
        a = rule.rho * a + (1 - rule.rho) * g
        b = rule.momentum * b + RATE * g / np.sqrt(v - rule.centered * a**2 + rule.epsilon)
        return b

    return step


def adagrad_by_the_book(rule: Adagrad) -> Step:
    """Keras 3: the accumulator starts at a value of its own."""
    accumulator = np.full(COUNT, rule.initial_accumulator_value)

    def step(g: Floats, t: int) -> Floats:
        accumulator[:] += g**2
        return RATE * g / np.sqrt(accumulator + rule.epsilon)

    return step


def nadam_by_the_book(rule: Nadam) -> Step:
    """Dozat's algorithm with the momentum schedule of Keras 3, its product kept from step to step."""
    m, v, product = np.zeros(COUNT), np.zeros(COUNT), 1.0

    def step(g: Floats, t: int) -> Floats:
        nonlocal m, v, product
        now, ahead = (rule.beta_1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
        product *= now
        m = rule.beta_1 * m + (1 - rule.beta_1) * g
        v = rule.beta_2 * v + (1 - rule.beta_2) * g**2
        looked = ahead * m / (1 - product * ahead) + (1 - now) * g / (1 - product)
        return RATE * looked / (np.sqrt(v / (1 - rule.beta_2**t)) + rule.epsilon)

    return step


def lion_by_the_book(rule: Lion) -> Step:
    """Chen et al., algorithm 2."""
    m = np.zeros(COUNT)

    def step(g: Floats, t: int) -> Floats:
        nonlocal m
        sign = np.sign(rule.beta_1 * m + (1 - rule.beta_1) * g)
        m = rule.beta_2 * m + (1 - rule.beta_2) * g
        return RATE * sign

    return step


BOOKS: dict[str, Callable[[Any], Step]] = {
    "sgd": sgd_by_the_book,
    "adam": adam_by_the_book,
    "adamw": adam_by_the_book,
    "rmsprop": rmsprop_by_the_book,
    "adagrad": adagrad_by_the_book,
    "nadam": nadam_by_the_book,
    "lion": lion_by_the_book,
}


def by_the_book(rule: Any) -> Floats:
    """The weights after all steps by the published formulas, in float64."""
    w, step = start(), BOOKS[rule.type](rule)
    for t, g in enumerate(gradients(), 1):
        w = w - step(g, t) - RATE * getattr(rule, "weight_decay", 0.0) * w
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


def one_step(rule: Optimizer, gradient: list[float]) -> list[float]:
    """The weights after one step of 0.1 from 0."""
    device = CpuBackend()
    w, dw = device.zeros((len(gradient),)), device.array(np.float32(gradient))
    slots = {name: device.zeros(w.shape) for name in rule.slots()}
    rates, clock = device.array(np.float32([0.1, 0, 0, 0])), device.zeros((4,), "int32")
    device.program(list(rule.update(w, dw, slots, rates, clock))).run()
    return list(map(float, w))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RMSprop(), [-0.1 / 0.1**0.5, 0.1 / 0.1**0.5, 0]),
        (Adagrad(), [-0.3 / 9.1**0.5, 0.3 / 9.1**0.5, 0]),
        (Lion(), [-0.1, 0.1, 0]),
        # u = 0.9·0.52, u' = 0.9·0.5392, P = u: 0.1·(u'·0.1/(1 − P·u') + 1)
        (Nadam(), [-0.1 * (0.048528 / 0.77288896 + 1), 0.1 * (0.048528 / 0.77288896 + 1), 0]),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_the_first_step_by_hand(rule: Optimizer, expected: list[float]) -> None:
    assert one_step(rule, [3, -3, 0]) == pytest.approx(expected, rel=1e-5)


def test_keras_s_own_example_of_rmsprop() -> None:
    assert 10 + one_step(RMSprop(), [10.0])[0] == pytest.approx(9.683772, abs=1e-6)


def test_a_slope_without_spread_does_not_turn_centred_rmsprop_into_nonsense() -> None:
    device, rule = CpuBackend(), RMSprop(centered=True)
    w, dw = device.zeros((1000,)), device.array(np.linspace(1, 1e4, 1000, dtype=np.float32))
    slots = {name: device.zeros(w.shape) for name in rule.slots()}
    rates, clock = device.array(np.float32([0.1, 0, 0, 0])), device.zeros((4,), "int32")
    device.program(list(rule.update(w, dw, slots, rates, clock))).run(200)
    assert np.isfinite(w).all()


@pytest.mark.parametrize("t", [1, 2, 7, 40, 150, 1000, 2**20])
def test_nadam_knows_the_product_of_its_momenta_at_any_step(t: int) -> None:
    device, rule = CpuBackend(), Nadam()
    w, dw, m, v, rates = (device.array(np.float64([value] * 4)) for value in (0, 1, 0, 0, 1))
    prepare, _ = rule.update(w, dw, {"m": m, "v": v}, rates, device.array(np.array([t - 1, 0, 0, 0], np.int32)))
    device.program([prepare]).run()
    product = np.prod(0.9 * (1 - 0.5 * 0.96 ** np.arange(1.0, min(t, 2000) + 1)))
    now, ahead = (0.9 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    bias = np.sqrt(1 - 0.999**t)
    assert rates[1:] == pytest.approx([ahead * bias / (1 - product * ahead), (1 - now) * bias / (1 - product), bias])


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
        (RMSprop(epsilon=1e-14), "RMSprop", {"alpha": 0.9, "eps": 1e-12}),
        (RMSprop(epsilon=1e-14, momentum=0.8), "RMSprop", {"alpha": 0.9, "eps": 1e-12, "momentum": 0.8}),
        (
            RMSprop(0.1, 0.5, 0.8, 1e-14, True),
            "RMSprop",
            {"alpha": 0.5, "eps": 1e-12, "momentum": 0.8, "centered": True},
        ),
        (Adagrad(epsilon=1e-14), "Adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-12}),
        (Nadam(epsilon=1e-12), "NAdam", {"eps": 1e-12, "momentum_decay": 1.0}),
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
