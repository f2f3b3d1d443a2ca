"""A plan is bound work: every array of a network allocated once, every pass a flat list of launches.

Nothing is allocated and no operator is asked again while training. One plan serves training, evaluation and
prediction; each becomes a program of the backend.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
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
from services.outline import INPUT, Node, Outline

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
    """A network's arrays on a backend. `batch` rows go through at once; `w` are another plan's parameters, shared."""

    def __init__(self, outline: Outline, backend: Backend, recipe: Recipe | None = None, w: Any = None) -> None:
        self.outline, self.backend, self.recipe = outline, backend, recipe
        self.batch = outline.nodes[0].x.shape[0]
        self.w = backend.zeros((max(outline.flat, 1),)) if w is None else w
        self.dw = backend.zeros(self.w.shape) if recipe else None
        self.clock = backend.zeros((4,), "int32")
        self.x = backend.zeros(outline.nodes[0].x.shape, outline.nodes[0].x.dtype)
        self.kept: dict[str, Any] = {}
        self._shares: dict[int, list[Any]] = defaultdict(list)
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
        for node in self.outline.nodes:
            for name, param in node.signature.state.items():
                values = initialize(param.initializer, param.spec.shape, 1, 1, seed, 0)
                self.backend.put(self.kept[f"{node.name}/{name}"], values)

    def weights(self) -> dict[str, Floats]:
        """A host copy of every trainable array and of all that operators keep beside them, by name."""
        kept = {name: self.backend.get(array) for name, array in self.kept.items()}
        return self._named(self.backend.get(self.w)) | kept

    def load_weights(self, weights: Mapping[str, Array]) -> None:
        """Set every array that `weights()` gives; the names and shapes must be exactly the network's own."""
        self.backend.put(self.w, self._flat({n: v for n, v in weights.items() if n not in self.kept}))
        missing = self.kept.keys() - weights.keys()
        if missing:
            raise ValueError(f"these arrays are missing: {', '.join(sorted(missing))}")
        for name, array in self.kept.items():
            self.backend.put(array, np.asarray(weights[name]).reshape(array.shape))

    def state(self) -> dict[str, Floats]:
        """Weights and optimizer state by name: with the step number, all that the next step depends on."""
        found = {f"weights/{name}": value for name, value in self.weights().items()}
        for slot, array in (self.learning.slots if self.learning else {}).items():
            found |= {f"{slot}/{name}": value for name, value in self._named(self.backend.get(array)).items()}
        return found

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Set weights and optimizer state to what `state()` gave."""
        self.load_weights(_group(state, "weights/"))
        for slot, array in (self.learning.slots if self.learning else {}).items():
            self.backend.put(array, self._flat(_group(state, f"{slot}/")))

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

    def gradient(self, source: Feed) -> Program:
        """One batch forward, cost and back propagation, without an update: the gradient is left in `dw`, unclipped."""
        assert self.learning is not None
        launches = [
            *self._rows(source),
            *self.forward(training=True),
            *self.learning.loss.forward(self.learning.frame),
            *self.learning.loss.backward(self.learning.frame),
            *self._backward(),
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

    def inside(self, source: Feed, node: int, history: Any) -> Program:
        """One batch forward; the outputs of one node into their slot."""
        launches = [*self._rows(source), *self.forward(training=False)]
        return self.backend.program([*launches, *feed.record_rows(self.frames[node].y, history, self.clock)])

    def looking(self, source: Feed) -> Program:
        """One batch forward, for those who read the arrays between the layers."""
        return self.backend.program([*self._rows(source), *self.forward(training=False)])

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
        for number, (node, frame) in reversed([*enumerate(learned)]):
            for share in self._shares[number][1:]:
                yield feed.add_to.over(frame.dy.size, frame.dy, share)
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
        """Bind every operator: its inputs are the outputs of its sources, its gradients theirs."""
        learns = self._learns() if self.recipe is not None else [False] * len(self.outline.nodes)
        frames: list[Frame] = []
        for number, node in enumerate(self.outline.nodes):
            xs = [self.x if source == INPUT else frames[source].y for source in node.sources]
            dxs = [
                self._gradient(frames, source) if source != INPUT and learns[source] else None
                for source in node.sources
            ]
            frames.append(self._frame(number, node, xs, dxs, learns[number]))
        return frames

    def _learns(self) -> list[bool]:
        """For every node, whether a weight stands at or before it: whether anybody needs its gradient."""
        trained = {segment.node for segment in self.outline.segments}
        learns: list[bool] = []
        for number, node in enumerate(self.outline.nodes):
            learns.append(number in trained or any(source != INPUT and learns[source] for source in node.sources))
        return learns

    def _gradient(self, frames: list[Frame], source: int) -> Any:
        """Where a consumer of `source` writes its gradient: the first into dy itself, each further one beside it."""
        frame = frames[source]
        if not self._shares[source]:
            self._shares[source].append(frame.dy)
        else:
            self._shares[source].append(self.backend.zeros(frame.y.shape, frame.y.dtype.name))
        return self._shares[source][-1]

    def _frame(self, number: int, node: Node, xs: list[Any], dxs: list[Any], learns: bool) -> Frame:
        signature, out, zeros = node.signature, node.signature.output, self.backend.zeros
        view = node.operator.reshapes
        y = xs[0].reshape(out.shape) if view else zeros(out.shape, out.dtype)
        dy = None
        if learns:
            dy = dxs[0].reshape(out.shape) if view and dxs[0] is not None else zeros(out.shape, out.dtype)
        frame = Frame(y=y, dy=dy, clock=self.clock, seed=self._seed, stream=number)
        vars(frame).update({"x": xs[0], "dx": dxs[0]} if node.operator.arity == 1 else {"xs": xs, "dxs": dxs})
        kept = {**signature.saved, **signature.scratch}
        vars(frame).update({name: zeros(spec.shape, spec.dtype) for name, spec in kept.items()})
        for name, param in signature.state.items():
            self.kept[f"{node.name}/{name}"] = vars(frame)[name] = zeros(param.spec.shape, param.spec.dtype)
        vars(frame).update(self._params(number))
        return frame

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


def _group(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _shapes(named: Mapping[str, Array]) -> dict[str, Sequence[int]]:
    return {name: value.shape for name, value in named.items()}
