"""What a layer is: hyperparameters, a shape rule, and the launches of its forward and backward pass."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, final

from kernels.launch import Launch
from kernels.tensor import TensorSpec


class ShapeError(ValueError):
    """The shapes do not fit; the message says what was expected, what came, and the remedy."""


@final
@dataclass(frozen=True, slots=True)
class Param:
    """A trainable array: its shape, how it starts (an initializer's name) and the fans that scale the start."""

    spec: TensorSpec
    initializer: str
    fan_in: int = 1
    fan_out: int = 1


@final
@dataclass(frozen=True, slots=True)
class Signature:
    """The arrays an operator needs beside its inputs.

    `params` are trained; `state` is kept from step to step and with the model but not trained (running averages);
    `saved` is kept from forward to backward; `scratch` is used within one pass.
    """

    output: TensorSpec
    params: Mapping[str, Param] = field(default_factory=dict)
    state: Mapping[str, Param] = field(default_factory=dict)
    saved: Mapping[str, TensorSpec] = field(default_factory=dict)
    scratch: Mapping[str, TensorSpec] = field(default_factory=dict)


@final
class Frame(SimpleNamespace):
    """The bound arrays of one operator, by name.

    `x` input, `y` output, `dx` and `dy` their gradients, each parameter and saved array by its own name, and
    `d<name>` for a parameter's gradient. `dx` is None where nobody needs it (the first layer). Every gradient is
    written, never added to. `clock` is int32 [step, batch, valid rows, 0]; `seed` and `stream` key random numbers.
    For a loss: `x` prediction, `t` target, `loss` one value per row, `dx` the gradient of the mean loss.
    """

    x: Any
    y: Any
    dx: Any
    dy: Any
    t: Any
    loss: Any
    clock: Any
    seed: int
    stream: int

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the frame has no array {name!r}; it has {', '.join(sorted(vars(self)))}")


@final
@dataclass(frozen=True, slots=True)
class Example:
    """One case for the registry-wide tests, benchmarks and docs: an operator on inputs of these shapes.

    `onnx` names the ONNX operator (and attributes) that computes the same, where there is one. `inputs` says which
    numbers to feed: any `normal` ones, `distinct` ones (no two alike, so that a maximum is unique), or
    `probabilities` (rows that sum to 1).
    """

    operator: Operator
    x: TensorSpec
    inputs: Literal["normal", "distinct", "probabilities"] = "normal"
    differentiable: bool = True
    more: tuple[TensorSpec, ...] = ()
    """The inputs after the first, for an operator that takes several."""

    @property
    def xs(self) -> tuple[TensorSpec, ...]:
        """All inputs."""
        return (self.x, *self.more)


class Operator(abc.ABC):
    """A layer. Concrete ones are final frozen dataclasses: the fields are the hyperparameters, Keras 3's names.

    The docstring of a concrete class is its documentation: first line, formula, shapes, source.
    """

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    takes_activation: ClassVar[bool] = False
    """Whether the layer may name an activation that follows it."""
    arity: ClassVar[int | None] = 1
    """How many inputs it takes; None: two or more. With other than one, the frame has lists `xs` and `dxs`."""
    is_activation: ClassVar[bool] = False
    """Whether a layer may name this operator as its activation."""
    reshapes: ClassVar[bool] = False
    """Whether the output is the input in another shape: no launch, the plan binds views."""

    @property
    def teachable(self) -> bool:
        """Whether a gradient passes through it; plain descent cannot train what lies before one that lets none."""
        return True

    @abc.abstractmethod
    def infer(self, x: TensorSpec) -> Signature:
        """Output, parameters and buffers for an input; raises ShapeError with the remedy. An operator with several
        inputs takes them all: infer(x, *more)."""

    @abc.abstractmethod
    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """Launches that fill f.y (and saved arrays) from f.x. Asked once, when the plan is compiled."""

    @abc.abstractmethod
    def backward(self, f: Frame) -> Iterator[Launch]:
        """Launches that fill f.dx (unless None) and every f.d<param> from f.dy."""

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[Example]:
        """Small cases that cover every hyperparameter and every edge."""

    def flops(self, x: TensorSpec) -> int:
        """Floating-point operations of one forward pass; a multiply-add counts as two."""
        return self.infer(x).output.size


class Loss(abc.ABC):
    """A cost function: one value per row of the batch, and the gradient of their mean over the valid rows.

    Concrete ones are final frozen dataclasses. `fused` maps the type of a final activation to the loss that works
    on that activation's input instead: the same value, without the overflow of computing it in two steps.
    """

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    target: ClassVar[Literal["labels", "one_hot", "binary", "values", "actions"]]
    """What it compares with; `actions` is an agent's record of what it did, and only an agent chooses such a loss."""
    fused: ClassVar[Fusions] = {}

    @abc.abstractmethod
    def infer(self, x: TensorSpec, target: TensorSpec) -> None:
        """Check that prediction and target fit; raises ShapeError with the remedy."""

    @abc.abstractmethod
    def forward(self, f: Frame) -> Iterator[Launch]:
        """Launches that fill f.loss, one value per row; rows from clock[2] on are padding and get 0."""

    @abc.abstractmethod
    def backward(self, f: Frame) -> Iterator[Launch]:
        """Launches that fill f.dx = d(mean of f.loss over valid rows) / d(f.x); 0 in padding rows."""

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[LossExample]:
        """Small cases: prediction shape, target shape, and the number of target classes where there are labels."""


Fusions = Mapping[str, type[Loss]]
"""Which loss to take instead behind an activation of that type."""


@final
@dataclass(frozen=True, slots=True)
class LossExample:
    """A loss on predictions of shape `x` and targets of shape `target`; `inputs` as in Example."""

    loss: Loss
    x: TensorSpec
    target: TensorSpec
    inputs: Literal["normal", "probabilities", "unit"] = "normal"
