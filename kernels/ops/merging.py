"""Layers with several inputs of one shape: their sum, their difference, and their product."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from kernels.columns import copy
from kernels.launch import Launch, each
from kernels.operator import Example, Frame, Operator, ShapeError, Signature
from kernels.tensor import TensorSpec


@each
def add_two(i: int, a: Any, b: Any, y: Any) -> None:
    """y = a + b; y may be a."""
    y[i] = a[i] + b[i]


@each
def subtract_two(i: int, a: Any, b: Any, y: Any) -> None:
    """y = a − b."""
    y[i] = a[i] - b[i]


@each
def negate(i: int, a: Any, y: Any) -> None:
    """y = −a."""
    y[i] = -a[i]


@each
def multiply_two(i: int, a: Any, b: Any, y: Any) -> None:
    """y = a · b; y may be a."""
    y[i] = a[i] * b[i]


class _Merging(Operator):
    arity: ClassVar[int | None] = None

    def infer(self, *xs: TensorSpec) -> Signature:
        """The shape that all inputs have."""
        if len(xs) < 2:
            raise ShapeError(f"{self.type} needs two inputs or more, got {len(xs)}; name them in `inputs`")
        if len({x.shape for x in xs}) > 1:
            shapes = ", ".join(str(x.shape) for x in xs)
            raise ShapeError(f"{self.type} needs inputs of one shape, got {shapes}; bring them to the same shape first")
        return Signature(xs[0])

    @classmethod
    @abc.abstractmethod
    def examples(cls) -> list[Example]:
        """Two inputs and more."""

    def flops(self, *xs: TensorSpec) -> int:
        """One operation per element and further input."""
        return (len(xs) - 1) * xs[0].size


def _fold(operation: each, xs: list[Any], y: Any) -> Iterator[Launch]:
    """y = x0 ∘ x1 ∘ …, from left to right."""
    yield operation.over(y.size, xs[0], xs[1], y)
    for x in xs[2:]:
        yield operation.over(y.size, y, x, y)


@final
@dataclass(frozen=True)
class Add(_Merging):
    """The sum of several inputs of one shape: y = x₀ + x₁ + …; every dx is dy (residual networks: He et al. 2015)."""

    type: ClassVar[str] = "add"
    aliases: ClassVar[tuple[str, ...]] = ("Add",)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One addition after another."""
        return _fold(add_two, f.xs, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """Every input gets the whole gradient."""
        for dx in f.dxs:
            if dx is not None:
                yield copy.over(f.dy.size, f.dy, dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """Two vectors, and three images."""
        vector, image = TensorSpec((3, 7)), TensorSpec((2, 3, 2, 5))
        return [Example(cls(), vector, more=(vector,)), Example(cls(), image, more=(image, image))]


@final
@dataclass(frozen=True)
class Subtract(_Merging):
    """The first of two inputs less the second: y = x₀ − x₁; dx₀ = dy, dx₁ = −dy."""

    type: ClassVar[str] = "subtract"
    aliases: ClassVar[tuple[str, ...]] = ("Subtract",)
    arity: ClassVar[int | None] = 2

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One difference."""
        yield subtract_two.over(f.y.size, *f.xs, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """The second input gets the gradient with its sign turned."""
        for operation, dx in zip((copy, negate), f.dxs, strict=True):
            if dx is not None:
                yield operation.over(f.dy.size, f.dy, dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """Two vectors, and two images."""
        vector, image = TensorSpec((3, 7)), TensorSpec((2, 3, 2, 5))
        return [Example(cls(), x, more=(x,)) for x in (vector, image)]


@final
@dataclass(frozen=True)
class Multiply(_Merging):
    """The product of several inputs of one shape: y = x₀ · x₁ · …; dx of one is dy times all the others (a gate)."""

    type: ClassVar[str] = "multiply"
    aliases: ClassVar[tuple[str, ...]] = ("Multiply",)

    def forward(self, f: Frame, training: bool) -> Iterator[Launch]:
        """One product after another."""
        return _fold(multiply_two, f.xs, f.y)

    def backward(self, f: Frame) -> Iterator[Launch]:
        """For each input the product of dy and the others: never a quotient, so zeros do no harm."""
        for number, dx in enumerate(f.dxs):
            if dx is not None:
                others = [x for k, x in enumerate(f.xs) if k != number]
                yield from _fold(multiply_two, [f.dy, *others], dx)

    @classmethod
    def examples(cls) -> list[Example]:
        """Two vectors, and three images."""
        vector, image = TensorSpec((3, 7)), TensorSpec((2, 3, 2, 5))
        return [Example(cls(), vector, more=(vector,)), Example(cls(), image, more=(image, image))]
