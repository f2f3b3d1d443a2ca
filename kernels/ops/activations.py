"""Activations that work element by element: one short block each.

Every block has two bodies: `value` computes y from x, `slope` computes dx from x, y and dy. Names are Keras 3's.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge

from kernels.launch import Launch, device, each
from kernels.operator import Example, Frame, Operator, Signature
from kernels.tensor import TensorSpec

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
ROOT_HALF = np.float32(math.sqrt(0.5))
ROOT_TWO_OVER_PI = np.float32(math.sqrt(2 / math.pi))
INVERSE_ROOT_TWO_PI = np.float32(1 / math.sqrt(2 * math.pi))
CUBE = np.float32(0.044715)
THREE_CUBE = np.float32(3 * 0.044715)


class Activation(Operator):
    """An operator whose output has its input's shape and depends on one element of it at a time."""

    is_activation: ClassVar[bool] = True
    value: ClassVar[each]
    slope: ClassVar[each]
    work: ClassVar[int] = 1
    """Arithmetic operations per element, roughly."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """The hyperparameters that both bodies take, in the order of the fields."""
        return tuple(float(getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        return Signature(output=x)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """y = value(x)."""
        yield self.value.over(f.x.size, f.x, f.y, *self.numbers, work=self.work)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy · slope(x)."""
        if f.dx is not None:
            yield self.slope.over(f.x.size, f.x, f.y, f.dy, f.dx, *self.numbers, work=self.work)

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[Example]:
        """Small cases that cover every hyperparameter."""

    def flops(self, x: TensorSpec) -> int:
        """Operations of one forward pass."""
        return x.size * self.work


@device
def logistic(x: Any) -> Any:
    """1 / (1 + e^-x); far below zero e^-x is infinite and the quotient is 0."""
    return ONE / (ONE + math.exp(-x))


@final
@dataclass(frozen=True)
class Linear(Operator):
    """The identity: y = x, dy/dx = 1. No number moves: y is x, and dx is dy."""

    type: ClassVar[str] = "linear"
    is_activation: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def infer(self, x: TensorSpec) -> Signature:
        """The shape stays."""
        return Signature(output=x)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Nothing to do: y is x."""
        return iter(())

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Nothing to do: dx is dy."""
        return iter(())

    @classmethod
    def examples(cls) -> list[Example]:
        """One case."""
        return [Example(cls(), TensorSpec((3, 7)))]

    def flops(self, x: TensorSpec) -> int:
        """None."""
        return 0


def _step(i: int, x: Any, y: Any) -> None:
    y[i] = ONE if x[i] >= ZERO else ZERO


def _step_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    dx[i] = ZERO


def _step_straight_through(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    dx[i] = dy[i]


def _step_like_sigmoid(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    s = logistic(x[i])
    dx[i] = dy[i] * s * (ONE - s)


@final
@dataclass(frozen=True)
class Step(Activation):
    """The threshold of the perceptron: y = 1 if x ≥ 0, else 0.

    Its true derivative is 0 everywhere, so descent learns nothing through it: train it with the `perceptron` loss,
    or choose a surrogate `gradient` for dy/dx. `straight_through`: 1 (Bengio, Léonard & Courville 2013);
    `sigmoid`: σ(x)·(1 − σ(x)), the derivative of the smooth step.
    """

    type: ClassVar[str] = "step"
    aliases: ClassVar[tuple[str, ...]] = ("heaviside",)
    value: ClassVar[each] = each(_step)
    slope: ClassVar[each] = each(_step_slope)
    surrogates: ClassVar[dict[str, each]] = {
        "none": slope,
        "straight_through": each(_step_straight_through),
        "sigmoid": each(_step_like_sigmoid),
    }

    gradient: Literal["none", "straight_through", "sigmoid"] = "none"

    @property
    def teachable(self) -> bool:
        """Whether a gradient passes through it."""
        return self.gradient != "none"

    @property
    def numbers(self) -> tuple[float, ...]:
        """None: the surrogate is chosen by body, not by a number."""
        return ()

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy · surrogate(x)."""
        if f.dx is not None:
            yield self.surrogates[self.gradient].over(f.x.size, f.x, f.y, f.dy, f.dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """Each surrogate. The steps' true slope is not theirs, so finite differences do not apply."""
        surrogates = ("none", "straight_through", "sigmoid")
        return [Example(cls(g), TensorSpec((3, 7)), differentiable=False) for g in surrogates]  # type: ignore[arg-type]


def _sigmoid(i: int, x: Any, y: Any) -> None:
    y[i] = logistic(x[i])


def _sigmoid_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    dx[i] = dy[i] * y[i] * (ONE - y[i])


@final
@dataclass(frozen=True)
class Sigmoid(Activation):
    """The logistic curve: y = 1 / (1 + e^−x), dy/dx = y·(1 − y)."""

    type: ClassVar[str] = "sigmoid"
    value: ClassVar[each] = each(_sigmoid)
    slope: ClassVar[each] = each(_sigmoid_slope)
    work: ClassVar[int] = 8

    @classmethod
    def examples(cls) -> list[Example]:
        """One case."""
        return [Example(cls(), TensorSpec((3, 7)))]


def _tanh(i: int, x: Any, y: Any) -> None:
    y[i] = math.tanh(x[i])


def _tanh_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    dx[i] = dy[i] * (ONE - y[i] * y[i])


@final
@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent: y = tanh(x), dy/dx = 1 − y²."""

    type: ClassVar[str] = "tanh"
    value: ClassVar[each] = each(_tanh)
    slope: ClassVar[each] = each(_tanh_slope)
    work: ClassVar[int] = 20

    @classmethod
    def examples(cls) -> list[Example]:
        """One case."""
        return [Example(cls(), TensorSpec((3, 7)))]


def _relu(i: int, x: Any, y: Any) -> None:
    # Written so that NaN stays NaN: a network that diverges must not look healthy.
    y[i] = ZERO if x[i] < ZERO else x[i]


def _relu_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    dx[i] = dy[i] if y[i] > ZERO else ZERO


@final
@dataclass(frozen=True)
class Relu(Activation):
    """The rectifier: y = max(0, x), dy/dx = 1 where x > 0, else 0 (Nair & Hinton 2010)."""

    type: ClassVar[str] = "relu"
    aliases: ClassVar[tuple[str, ...]] = ("ReLU",)
    value: ClassVar[each] = each(_relu)
    slope: ClassVar[each] = each(_relu_slope)

    @classmethod
    def examples(cls) -> list[Example]:
        """A vector, an image, and one element more than a vector register holds."""
        return [Example(cls(), TensorSpec(shape)) for shape in ((3, 7), (2, 5, 4, 3), (1, 129))]


def _leaky_relu(i: int, x: Any, y: Any, negative_slope: Any) -> None:
    y[i] = negative_slope * x[i] if x[i] < ZERO else x[i]


def _leaky_relu_slope(i: int, x: Any, y: Any, dy: Any, dx: Any, negative_slope: Any) -> None:
    dx[i] = dy[i] if x[i] > ZERO else negative_slope * dy[i]


@final
@dataclass(frozen=True)
class LeakyRelu(Activation):
    """The rectifier that leaks: y = x where x > 0, else negative_slope · x (Maas, Hannun & Ng 2013)."""

    type: ClassVar[str] = "leaky_relu"
    aliases: ClassVar[tuple[str, ...]] = ("LeakyReLU",)
    value: ClassVar[each] = each(_leaky_relu)
    slope: ClassVar[each] = each(_leaky_relu_slope)

    negative_slope: Annotated[float, Ge(0)] = 0.3

    @classmethod
    def examples(cls) -> list[Example]:
        """Keras's default slope and PyTorch's."""
        return [Example(cls(), TensorSpec((3, 7))), Example(cls(negative_slope=0.01), TensorSpec((3, 7)))]


def _elu(i: int, x: Any, y: Any, alpha: Any) -> None:
    y[i] = alpha * math.expm1(x[i]) if x[i] < ZERO else x[i]


def _elu_slope(i: int, x: Any, y: Any, dy: Any, dx: Any, alpha: Any) -> None:
    dx[i] = dy[i] if x[i] > ZERO else dy[i] * (y[i] + alpha)


@final
@dataclass(frozen=True)
class Elu(Activation):
    """The exponential linear unit: y = x where x > 0, else alpha·(e^x − 1) (Clevert, Unterthiner & Hochreiter 2015)."""

    type: ClassVar[str] = "elu"
    aliases: ClassVar[tuple[str, ...]] = ("ELU",)
    value: ClassVar[each] = each(_elu)
    slope: ClassVar[each] = each(_elu_slope)
    work: ClassVar[int] = 8

    alpha: Annotated[float, Ge(0)] = 1.0

    @classmethod
    def examples(cls) -> list[Example]:
        """The default and another height."""
        return [Example(cls(), TensorSpec((3, 7))), Example(cls(alpha=0.5), TensorSpec((3, 7)))]


def _gelu(i: int, x: Any, y: Any) -> None:
    y[i] = HALF * x[i] * (ONE + math.erf(x[i] * ROOT_HALF))


def _gelu_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    v = x[i]
    density = INVERSE_ROOT_TWO_PI * math.exp(-HALF * v * v)
    dx[i] = dy[i] * (HALF * (ONE + math.erf(v * ROOT_HALF)) + v * density)


def _gelu_tanh(i: int, x: Any, y: Any) -> None:
    v = x[i]
    y[i] = HALF * v * (ONE + math.tanh(ROOT_TWO_OVER_PI * (v + CUBE * v * v * v)))


def _gelu_tanh_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    v = x[i]
    t = math.tanh(ROOT_TWO_OVER_PI * (v + CUBE * v * v * v))
    bend = ROOT_TWO_OVER_PI * (ONE + THREE_CUBE * v * v)
    dx[i] = dy[i] * HALF * (ONE + t + v * (ONE - t * t) * bend)


@final
@dataclass(frozen=True)
class Gelu(Activation):
    """The Gaussian error linear unit: y = x · Φ(x) = x/2 · (1 + erf(x/√2)) (Hendrycks & Gimpel 2016).

    `approximate` takes x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))) instead.
    """

    type: ClassVar[str] = "gelu"
    aliases: ClassVar[tuple[str, ...]] = ("GELU",)
    value: ClassVar[each] = each(_gelu)
    slope: ClassVar[each] = each(_gelu_slope)
    approximate_value: ClassVar[each] = each(_gelu_tanh)
    approximate_slope: ClassVar[each] = each(_gelu_tanh_slope)
    work: ClassVar[int] = 24

    approximate: bool = False

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """y = x · Φ(x)."""
        body = self.approximate_value if self.approximate else self.value
        yield body.over(f.x.size, f.x, f.y, work=self.work)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """dx = dy · (Φ(x) + x · φ(x))."""
        body = self.approximate_slope if self.approximate else self.slope
        if f.dx is not None:
            yield body.over(f.x.size, f.x, f.y, f.dy, f.dx, work=self.work)

    @classmethod
    def examples(cls) -> list[Example]:
        """Both forms."""
        return [Example(cls(approximate), TensorSpec((3, 7))) for approximate in (False, True)]


def _silu(i: int, x: Any, y: Any) -> None:
    y[i] = x[i] * logistic(x[i])


def _silu_slope(i: int, x: Any, y: Any, dy: Any, dx: Any) -> None:
    s = logistic(x[i])
    dx[i] = dy[i] * s * (ONE + x[i] * (ONE - s))


@final
@dataclass(frozen=True)
class Silu(Activation):
    """The sigmoid linear unit, or swish: y = x · σ(x) (Elfwing, Uchibe & Doya 2018)."""

    type: ClassVar[str] = "silu"
    aliases: ClassVar[tuple[str, ...]] = ("swish", "SiLU")
    value: ClassVar[each] = each(_silu)
    slope: ClassVar[each] = each(_silu_slope)
    work: ClassVar[int] = 9

    @classmethod
    def examples(cls) -> list[Example]:
        """One case."""
        return [Example(cls(), TensorSpec((3, 7)))]
