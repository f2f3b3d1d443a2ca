"""From a network as a wish to a network with all its shapes and costs, before any array exists.

The outline is the pre-flight: it allocates nothing and needs neither Numba nor a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from kernels.initializers import INITIALIZERS
from kernels.operator import Operator, ShapeError, Signature
from kernels.tensor import TensorSpec
from services.errors import Invalid, Mistake, did_you_mean
from services.job_spec import ACTIVATIONS, LAYERS

ALIGNMENT = 16
"""Every parameter starts at a multiple of 16 floats (64 bytes) of the flat buffer: a cache line, a vector."""


@final
@dataclass(frozen=True)
class Node:
    """One operator in its place: where the user wrote it, its name, what goes in and what it needs."""

    path: str
    name: str
    operator: Operator
    x: TensorSpec
    signature: Signature

    @property
    def parameters(self) -> int:
        """How many numbers the operator learns."""
        return sum(param.spec.size for param in self.signature.params.values())

    @property
    def buffers(self) -> int:
        """Bytes of activations, saved values and scratch of one batch."""
        views = 0 if self.operator.reshapes else self.signature.output.nbytes
        kept = [*self.signature.saved.values(), *self.signature.scratch.values()]
        return views + sum(spec.nbytes for spec in kept)


@final
@dataclass(frozen=True)
class Segment:
    """Where one trainable array lies in the flat parameter buffer, in elements."""

    name: str
    offset: int
    node: int
    param: str
    spec: TensorSpec


@final
@dataclass(frozen=True)
class Outline:
    """A network with all its shapes. `flops` are one forward pass of the whole batch."""

    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]

    @property
    def output(self) -> TensorSpec:
        """The network's output."""
        return self.nodes[-1].signature.output

    @property
    def flat(self) -> int:
        """Length of the flat parameter buffer, padding included."""
        return max((_aligned(s.offset + s.spec.size) for s in self.segments), default=0)

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(node.parameters for node in self.nodes)

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass."""
        return sum(node.operator.flops(node.x) for node in self.nodes)

    @property
    def activations(self) -> int:
        """Bytes of everything that lives between layers, gradients included, for one batch of training."""
        gradients = sum(0 if n.operator.reshapes else n.signature.output.nbytes for n in self.nodes)
        return sum(node.buffers for node in self.nodes) + gradients


def outline(layer_specs: Sequence[Any], x: TensorSpec) -> Outline:
    """Ask every operator for its shapes, in order; Invalid names the layer whose input does not fit, and the remedy."""
    nodes: list[Node] = []
    operators = _operators(layer_specs)
    _check_names(operators)
    for path, name, operator in operators:
        try:
            signature = operator.infer(x)
        except ShapeError as error:
            message, _, hint = str(error).partition("; ")
            raise Invalid([Mistake(path, "shape", message, hint or None)]) from error
        _check_starts(path, signature)
        nodes.append(Node(path, name, operator, x, signature))
        x = signature.output
    return Outline(tuple(nodes), tuple(_segments(nodes)))


def _check_names(operators: Sequence[tuple[str, str, Operator]]) -> None:
    taken: dict[str, str] = {}
    mistakes = [
        Mistake(f"{path}.name", "name_taken", f"{taken[name]} is called {name!r} already", "Choose another name.")
        for path, name, _ in operators
        if taken.setdefault(name, path) != path
    ]
    if mistakes:
        raise Invalid(mistakes)


def _check_starts(path: str, signature: Signature) -> None:
    unknown = {p.initializer for p in signature.params.values()} - INITIALIZERS.keys()
    if unknown:
        name = min(unknown)
        hint = did_you_mean(name, INITIALIZERS)
        raise Invalid([Mistake(path, "unknown_name", f"there is no initializer {name!r}", hint)])


def _operators(layer_specs: Sequence[Any]) -> list[tuple[str, str, Operator]]:
    """Path, name and operator of every layer and, after it, of the activation that it names."""
    found: list[tuple[str, str, Operator]] = []
    seen: Counter[str] = Counter()
    for number, spec in enumerate(layer_specs):
        count = seen[spec.type]
        seen[spec.type] += 1
        name = spec.name or (f"{spec.type}_{count}" if count else spec.type)
        path = f"network.layers[{number}]"
        found.append((path, name, LAYERS.build(spec)))
        activation = getattr(spec, "activation", None)
        if activation is not None and activation.type != "linear":
            found.append((f"{path}.activation", f"{name}.{activation.type}", ACTIVATIONS.build(activation)))
    return found


def _segments(nodes: Sequence[Node]) -> list[Segment]:
    found: list[Segment] = []
    offset = 0
    for number, node in enumerate(nodes):
        for param, declared in node.signature.params.items():
            found.append(Segment(f"{node.name}/{param}", offset, number, param, declared.spec))
            offset = _aligned(offset + declared.spec.size)
    return found


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT
