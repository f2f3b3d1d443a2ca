"""A plan is bound work: every array of a network allocated once, every pass a flat list of launches.

Nothing is allocated and no operator is asked again while training. One plan serves training, evaluation and
prediction; each becomes a program of the backend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from kernels import feed
from kernels.backend import Backend, Program
from kernels.clip import clip
from kernels.initializers import initialize
from kernels.launch import Launch
from kernels.operator import Frame, Loss
from kernels.optimizer import Optimizer
from kernels.tensor import TensorSpec
from services.outline import Outline

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@final
@dataclass(frozen=True)
class Clipping:
    """How gradients are kept in bounds; at most one is set. Keras 3's names and meanings."""

    clipnorm: float | None = None
    global_clipnorm: float | None = None
    clipvalue: float | None = None


@final
@dataclass(frozen=True)
class Recipe:
    """What turns a network into a learning network: cost, optimizer, clipping and the seed of its random numbers."""

    loss: Loss
    target: TensorSpec
    optimizer: Optimizer
    clipping: Clipping = Clipping()
    seed: int = 0


@final
@dataclass(frozen=True)
class Feed:
    """Rows on the device, and the order in which they are taken. `t` is None where there is nothing to compare."""

    rows: int
    x: Any
    t: Any
    order: Any


@final
@dataclass
class Learning:
    """The arrays that only a learning network has."""

    recipe: Recipe
    loss: Loss
    frame: Frame
    fused: bool
    slots: dict[str, Any]
    rates: Any = field(repr=False)


@final
class Plan:
    """A network's arrays on a backend. `batch` rows go through at once."""

    def __init__(self, outline: Outline, backend: Backend, recipe: Recipe | None = None) -> None:
        self.outline, self.backend, self.recipe = outline, backend, recipe
        self.batch = outline.nodes[0].x.shape[0]
        self.w = backend.zeros((max(outline.flat, 1),))
        self.dw = backend.zeros(self.w.shape) if recipe else None
        self.clock = backend.zeros((4,), "int32")
        self.x = backend.zeros(outline.nodes[0].x.shape, outline.nodes[0].x.dtype)
        self.frames = self._frames()
        self.learning = self._learning(recipe) if recipe else None

    @property
    def y(self) -> Any:
        """The network's output array (batch, …)."""
        return self.frames[-1].y

    def feed(self, x: Floats, t: Array | None = None) -> Feed:
        """Put rows on the device, in their own order."""
        put = self.backend.array
        rows = np.arange(len(x), dtype=np.int32)
        return Feed(
            len(x), put(np.ascontiguousarray(x)), None if t is None else put(np.ascontiguousarray(t)), put(rows)
        )

    def initialize(self, seed: int) -> None:
        """Draw the initial weights: the same for the same seed on every device."""
        flat = np.zeros(self.w.shape, np.float32)
        for stream, segment in enumerate(self.outline.segments):
            param = self.outline.nodes[segment.node].signature.params[segment.param]
            values = initialize(param.initializer, segment.spec.shape, param.fan_in, param.fan_out, seed, stream)
            flat[segment.offset : segment.offset + segment.spec.size] = values.ravel()
        self.backend.put(self.w, flat)

    def weights(self) -> dict[str, Floats]:
        """A host copy of every trainable array, by name."""
        return self._named(self.backend.get(self.w))

    def load_weights(self, weights: Mapping[str, Array]) -> None:
        """Set every trainable array; the names and shapes must be exactly the network's own."""
        self.backend.put(self.w, self._flat(weights))

    def state(self) -> dict[str, Floats]:
        """Weights and optimizer state by name: with the step number, all that the next step depends on."""
        found = {f"weights/{name}": value for name, value in self.weights().items()}
        for slot, array in (self.learning.slots if self.learning else {}).items():
            found |= {f"{slot}/{name}": value for name, value in self._named(self.backend.get(array)).items()}
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Set weights and optimizer state to what `state()` gave."""
        groups = {"weights": self.w, **(self.learning.slots if self.learning else {})}
        for group, array in groups.items():
            named = {name.removeprefix(f"{group}/"): v for name, v in state.items() if name.startswith(f"{group}/")}
            self.backend.put(array, self._flat(named))

    def set_clock(self, step: int, batch: int, slot: int = 0) -> None:
        """Where the next run begins: the global step, the batch within the epoch, the first free slot."""
        self.backend.put(self.clock, np.array([step, batch, 0, slot], np.int32))

    def forward(self, training: bool) -> Iterator[Launch]:
        """Launches of the forward pass; `training` decides about dropout and the like."""
        for node, frame in zip(self.outline.nodes, self.frames, strict=True):
            yield from node.operator.forward(frame, training)

    def training(self, source: Feed, schedule: Any, losses: Any, outputs: Any) -> Program:
        """One step: rows in, forward, cost, back propagation, update; row losses and outputs into their slot."""
        assert self.learning is not None
        launches = [
            *self._rows(source),
            feed.set_rate.over(1, self.clock, schedule, self.learning.rates),
            *self.forward(training=True),
            *self.learning.loss.forward(self.learning.frame),
            *self.learning.loss.backward(self.learning.frame),
            *self._backward(),
            *self._update(),
            *feed.record_rows(self.learning.frame.loss, losses, self.clock),
            *feed.record_rows(self.y, outputs, self.clock),
            feed.advance.over(1, self.clock),
        ]
        return self.backend.program(launches)

    def evaluation(self, source: Feed, losses: Any, outputs: Any) -> Program:
        """One batch forward; row losses (where there are targets) and outputs into their slot."""
        launches = [*self._rows(source), *self.forward(training=False)]
        if self.learning is not None and source.t is not None:
            launches += self.learning.loss.forward(self.learning.frame)
            launches += feed.record_rows(self.learning.frame.loss, losses, self.clock)
        launches += [*feed.record_rows(self.y, outputs, self.clock), feed.advance.over(1, self.clock)]
        return self.backend.program(launches)

    def _rows(self, source: Feed) -> Iterator[Launch]:
        yield feed.begin.over(1, self.clock, source.rows, self.batch)
        yield from feed.gather_rows(source.x, source.order, self.clock, self.x)
        if self.learning is not None and source.t is not None:
            yield from feed.gather_rows(source.t, source.order, self.clock, self.learning.frame.t)

    def _backward(self) -> Iterator[Launch]:
        assert self.learning is not None
        learned = [*zip(self.outline.nodes, self.frames, strict=True)]
        if self.learning.fused:
            learned.pop()
        for node, frame in reversed(learned):
            if frame.dy is not None and not node.operator.reshapes:
                yield from node.operator.backward(frame)

    def _update(self) -> Iterator[Launch]:
        assert self.learning is not None
        assert self.recipe is not None
        segments = [(s.offset, s.spec.size) for s in self.outline.segments]
        yield from clip(self.dw, segments, self.backend.zeros, **dataclasses.asdict(self.recipe.clipping))
        learning = self.learning
        yield from self.recipe.optimizer.update(self.w, self.dw, learning.slots, learning.rates, self.clock)

    def _frames(self) -> list[Frame]:
        """Bind every operator: y of one is x of the next, dx of one is dy of the one before."""
        nodes, zeros = self.outline.nodes, self.backend.zeros
        first = min((s.node for s in self.outline.segments), default=len(nodes))
        frames: list[Frame] = []
        x, dx = self.x, None
        for number, node in enumerate(nodes):
            signature, out = node.signature, node.signature.output
            view = node.operator.reshapes
            y = x.reshape(out.shape) if view else zeros(out.shape, out.dtype)
            dy = None
            if self.recipe is not None and number >= first:
                dy = dx.reshape(out.shape) if view and dx is not None else zeros(out.shape, out.dtype)
            kept = {**signature.saved, **signature.scratch}
            frame = Frame(x=x, y=y, dx=dx, dy=dy, clock=self.clock, seed=self._seed, stream=number)
            vars(frame).update({name: zeros(spec.shape, spec.dtype) for name, spec in kept.items()})
            vars(frame).update(self._params(number))
            frames.append(frame)
            x, dx = y, dy
        return frames

    @property
    def _seed(self) -> int:
        return self.recipe.seed if self.recipe else 0

    def _params(self, node: int) -> dict[str, Any]:
        views: dict[str, Any] = {}
        for s in self.outline.segments:
            if s.node == node:
                views[s.param] = self.w[s.offset : s.offset + s.spec.size].reshape(s.spec.shape)
                if self.dw is not None:
                    views[f"d{s.param}"] = self.dw[s.offset : s.offset + s.spec.size].reshape(s.spec.shape)
        return views

    def _learning(self, recipe: Recipe) -> Learning:
        last, frame = self.outline.nodes[-1], self.frames[-1]
        fused = recipe.loss.fused.get(last.operator.type)
        loss = recipe.loss if fused is None else fused(**dataclasses.asdict(recipe.loss))  # type: ignore[call-overload]
        x, dx = (frame.y, frame.dy) if fused is None else (frame.x, frame.dx)
        zeros = self.backend.zeros
        bound = Frame(
            x=x, dx=dx, y=frame.y, t=zeros(recipe.target.shape, recipe.target.dtype), loss=zeros((self.batch,)),
            clock=self.clock, seed=self._seed, stream=len(self.frames),
        )  # fmt: skip
        slots = {name: zeros(self.w.shape) for name in recipe.optimizer.slots()}
        return Learning(recipe, loss, bound, fused is not None, slots, zeros((4,)))

    def _named(self, flat: Floats) -> dict[str, Floats]:
        return {
            s.name: flat[s.offset : s.offset + s.spec.size].reshape(s.spec.shape).copy() for s in self.outline.segments
        }

    def _flat(self, named: Mapping[str, Array]) -> Floats:
        flat = np.zeros(self.w.shape, np.float32)
        expected = {s.name: s.spec.shape for s in self.outline.segments}
        if {name: value.shape for name, value in named.items()} != expected:
            raise ValueError(f"these arrays are not this network's: {_shapes(named)}; expected {expected}")
        for s in self.outline.segments:
            flat[s.offset : s.offset + s.spec.size] = np.asarray(named[s.name], np.float32).ravel()
        return flat


def _shapes(named: Mapping[str, Array]) -> dict[str, Sequence[int]]:
    return {name: value.shape for name, value in named.items()}
