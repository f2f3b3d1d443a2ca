"""From a network as a wish to a network with all its shapes and costs, before any array exists.

The outline is the pre-flight: it allocates nothing and needs neither Numba nor a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pydantic import BaseModel

from kernels.initializers import INITIALIZERS
from kernels.operator import Operator, ShapeError, Signature
from kernels.tensor import TensorSpec
from services.errors import Invalid, Mistake, did_you_mean
from services.job_spec import ACTIVATIONS, LAYERS

NETWORK_INPUT, INPUT = "input", -1
"""How `inputs` names the network's own input, and its number among sources."""

ALIGNMENT = 16
"""Every parameter starts at a multiple of 16 floats (64 bytes) of the flat buffer: a cache line, a vector."""


@final
@dataclass(frozen=True)
class Layer:
    """One entry of `network.layers`: its operators in a row, and the names of the layers it takes."""

    path: str
    name: str
    inputs: tuple[str, ...]
    operators: tuple[tuple[str, str, Operator], ...]


@final
@dataclass(frozen=True)
class Node:
    """One operator in its place: where the user wrote it, its name, what goes in and what it needs.

    `sources` are the numbers of the nodes whose outputs it takes; INPUT is the network's own input.
    """

    path: str
    name: str
    operator: Operator
    sources: tuple[int, ...]
    xs: tuple[TensorSpec, ...]
    signature: Signature

    @property
    def x(self) -> TensorSpec:
        """Its (first) input."""
        return self.xs[0]

    @property
    def parameters(self) -> int:
        """How many numbers the operator learns."""
        return sum(param.spec.size for param in self.signature.params.values())

    @property
    def flops(self) -> int:
        """Operations of one forward pass of the batch."""
        count: Any = self.operator.flops
        return int(count(*self.xs))

    @property
    def buffers(self) -> int:
        """Bytes of activations, saved values and scratch of one batch."""
        views = 0 if self.operator.reshapes else self.signature.output.nbytes
        state = [param.spec for param in self.signature.state.values()]
        kept = [*state, *self.signature.saved.values(), *self.signature.scratch.values()]
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
        return sum(node.flops for node in self.nodes)

    @property
    def activations(self) -> int:
        """Bytes of everything that lives between layers, gradients included, for one batch of training."""
        gradients = sum(0 if n.operator.reshapes else n.signature.output.nbytes for n in self.nodes)
        return sum(node.buffers for node in self.nodes) + gradients


def outline(layer_specs: Sequence[Any], x: TensorSpec, *, whole: bool = True) -> Outline:
    """Ask every operator for its shapes, in order; Invalid names the layer whose input does not fit, and the remedy.

    A layer takes the output of the one before it, or of those it names in `inputs` (`input` is the network's own).
    Not `whole`: more layers were meant to follow, so an output that nothing takes is no mistake.
    """
    layers = _layers(layer_specs)
    _check_names(layers)
    nodes: list[Node] = []
    ends = {NETWORK_INPUT: INPUT}
    for layer in layers:
        last = len(nodes) - 1
        sources = tuple(_source(layer, name, ends) for name in layer.inputs) if layer.inputs else (last,)
        for path, name, operator in layer.operators:
            xs = tuple(x if source == INPUT else nodes[source].signature.output for source in sources)
            nodes.append(_node(path, name, operator, sources, xs))
            sources = (len(nodes) - 1,)
        ends[layer.name] = len(nodes) - 1
    if whole:
        _check_ends(nodes)
    return Outline(tuple(nodes), tuple(_segments(nodes)))


def _node(path: str, name: str, operator: Any, sources: tuple[int, ...], xs: tuple[TensorSpec, ...]) -> Node:
    wanted = operator.arity
    if (wanted is None and len(xs) < 2) or (wanted is not None and len(xs) != wanted):
        counts = {None: "two or more inputs", 1: "one input", 2: "two inputs"}
        message = f"{operator.type} takes {counts[wanted]}, not {len(xs)}"
        hint = (
            "Join them with add or concatenate."
            if wanted == 1
            else "Name the layers it takes: inputs: [first, second]."
        )
        raise Invalid([Mistake(f"{path}.inputs", "inputs", message, hint)])
    try:
        signature = operator.infer(*xs)
    except ShapeError as error:
        message, _, hint = str(error).partition("; ")
        raise Invalid([Mistake(path, "shape", message, hint or None)]) from error
    _check_starts(path, signature)
    return Node(path, name, operator, sources, xs, signature)


def _source(layer: Layer, name: str, ends: Mapping[str, int]) -> int:
    if name not in ends:
        message = f"there is no layer {name!r} before this one"
        raise Invalid([Mistake(f"{layer.path}.inputs", "unknown_name", message, did_you_mean(name, ends))])
    return ends[name]


def _check_ends(nodes: Sequence[Node]) -> None:
    used = {source for node in nodes for source in node.sources} | {len(nodes) - 1}
    mistakes = [
        Mistake(node.path, "unused", f"nothing takes the output of {node.name!r}", "Name it in the inputs of a layer.")
        for number, node in enumerate(nodes)
        if number not in used
    ]
    if mistakes:
        raise Invalid(mistakes)


def _check_names(layers: Sequence[Layer]) -> None:
    taken = {NETWORK_INPUT: "the network's input"}
    mistakes = [
        Mistake(
            f"{layer.path}.name",
            "name_taken",
            f"{taken[layer.name]} is called {layer.name!r} already",
            "Choose another name.",
        )
        for layer in layers
        if taken.setdefault(layer.name, layer.path) != layer.path
    ]
    if mistakes:
        raise Invalid(mistakes)


def _check_starts(path: str, signature: Signature) -> None:
    unknown = {p.initializer for p in signature.params.values()} - INITIALIZERS.keys()
    if unknown:
        name = min(unknown)
        hint = did_you_mean(name, INITIALIZERS)
        raise Invalid([Mistake(path, "unknown_name", f"there is no initializer {name!r}", hint)])


def _layers(layer_specs: Sequence[Any]) -> list[Layer]:
    """Every layer with its operator and, after it, the activation that it names."""
    found: list[Layer] = []
    seen: Counter[str] = Counter()
    for number, spec in enumerate(layer_specs):
        count = seen[spec.type]
        seen[spec.type] += 1
        name = spec.name or (f"{spec.type}_{count}" if count else spec.type)
        path = f"network.layers[{number}]"
        operators = [(path, name, LAYERS.build(spec))]
        activation = getattr(spec, "activation", None)
        if isinstance(activation, BaseModel) and activation.type != "linear":  # type: ignore[attr-defined]
            operators.append((f"{path}.activation", f"{name}.{activation.type}", ACTIVATIONS.build(activation)))  # type: ignore[attr-defined]
        found.append(Layer(path, name, tuple(spec.inputs or ()), tuple(operators)))
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
