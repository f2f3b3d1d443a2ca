"""An agent's networks on a backend: one that answers, one that learns, and the critic that goes with a policy.

The user's layers map observations to actions. Networks that share weights share the array itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.operator import Loss
from kernels.optimizer import Optimizer
from kernels.tensor import TensorSpec
from services.errors import Invalid, Mistake
from services.outline import Outline, outline
from services.plan import Clipping, Plan, Recipe
from services.train import Diverged

Array = NDArray[Any]
Floats = NDArray[np.float32]
CRITIC_SEED = 1 << 40
"""Added to the seed of a critic, so that it does not begin as its policy does."""


@final
class Blueprint:
    """A network for any number of rows at once: the user's layers, up to the scores of the actions."""

    def __init__(self, layers: Sequence[Any], features: int) -> None:
        self.layers, self.features = layers, features

    def of(self, rows: int) -> Outline:
        """The network for `rows` rows. A softmax at its end is left to the cost, which works on scores."""
        whole = outline(self.layers, TensorSpec((rows, self.features)))
        if whole.nodes[-1].operator.type == "softmax":
            return Outline(whole.nodes[:-1], whole.segments)
        return whole

    def critic(self) -> Blueprint:
        """The network that says what a state is worth: the same hidden layers, one number at the end."""
        layers = list(self.layers)
        if layers[-1].type == "softmax":
            layers.pop()
        last = layers[-1].model_copy(update={"units": 1, "activation": None})
        return Blueprint([*layers[:-1], last], self.features)


def check_head(layers: Sequence[Any], shapes: Outline, actions: Sequence[str], probabilities: bool) -> None:
    """Invalid unless the network ends in a dense layer with a number per action, and without moving averages."""
    mistakes = [
        Mistake(n.path, "keeps_averages", f"{n.operator.type} averages over rows that an agent never sees twice", hint)
        for n in shapes.nodes
        for hint in ["Use layer_normalization, or leave it out."]
        if n.signature.state
    ]
    place = len(layers) - 1 - (layers[-1].type == "softmax" and len(layers) > 1)
    last, path = layers[place], f"network.layers[{place}]"
    if last.type != "dense" or len(shapes.output.shape) != 2:
        message = f"an agent's network ends in a dense layer with a number per action, not in {last.type}"
        mistakes.append(Mistake(path, "output_unfit", message, f"End it in dense with units: {len(actions)}."))
    elif last.units != len(actions):
        message = f"the network gives {last.units} numbers, and there are {len(actions)} actions: {', '.join(actions)}"
        mistakes.append(Mistake(f"{path}.units", "output_unfit", message, f"Give it units: {len(actions)}."))
    end = shapes.nodes[-1].operator
    allowed = ("softmax",) if probabilities else ()
    if last.type == "dense" and end.is_activation and end.type not in (*allowed, "linear"):
        wants = "softmax or linear" if probabilities else "linear: a value may be any number"
        message = f"{end.type} does not fit at the end of this agent's network"
        mistakes.append(Mistake(shapes.nodes[-1].path, "output_unfit", message, f"Make the last activation {wants}."))
    if mistakes:
        raise Invalid(mistakes)


@final
class Answers:
    """A network that only answers, `rows` rows at once, with the weights `w` of another or its own."""

    def __init__(self, blueprint: Blueprint, backend: Backend, rows: int, w: Any = None) -> None:
        self.plan = Plan(blueprint.of(rows), backend, w=w)
        self._program = backend.program([*self.plan.forward(training=False)])
        self.rows, self._backend = rows, backend

    def of(self, x: Floats) -> Floats:
        """The outputs for exactly `rows` rows."""
        self._backend.put(self.plan.x, x)
        self._program.run()
        return self._backend.get(self.plan.y)

    def of_many(self, x: Floats) -> Floats:
        """The outputs for any number of rows."""
        found = np.empty((len(x), *self.plan.y.shape[1:]), np.float32)
        ready = np.zeros((self.rows, *x.shape[1:]), np.float32)
        for first in range(0, len(x), self.rows):
            some = x[first : first + self.rows]
            ready[: len(some)] = some
            found[first : first + len(some)] = self.of(ready)[: len(some)]
        return found

    def copy(self, w: Any) -> None:
        """Take the weights of another network over."""
        self._backend.put(self.plan.w, self._backend.get(w))


@final
class Learns:
    """A network that learns from `steps` batches of `batch` rows at a time, as one run of a program."""

    def __init__(
        self, blueprint: Blueprint, backend: Backend, loss: Loss, optimizer: Optimizer, clipping: Clipping,
        seed: int, batch: int, steps: int, width: int, rates: Floats,
    ) -> None:  # fmt: skip
        shapes = blueprint.of(batch)
        recipe = Recipe(loss, TensorSpec((batch, width)), optimizer, clipping, seed)
        self.plan = Plan(shapes, backend, recipe)
        self.plan.initialize(seed)
        self.updates = 0
        self.rates = rates
        self._backend, self._steps = backend, steps
        self._schedule = backend.array(rates)
        self._losses = backend.zeros((steps, batch))
        self._outputs = backend.zeros((steps, *shapes.output.shape))
        rows = batch * steps
        self._x = np.zeros((rows, blueprint.features), np.float32)
        self._feed = self.plan.feed(self._x, np.zeros((rows, width), np.float32))
        self._program = self.plan.training(self._feed, self._schedule, self._losses, self._outputs)

    def learn(self, x: Floats, t: Floats) -> float:
        """Learn from `batch` · `steps` rows in their order; the mean cost. Diverged when it is no longer finite."""
        put = self._backend.put
        put(self._feed.x, x)
        put(self._feed.t, t)
        self.plan.set_clock(self.updates, 0)
        self._program.run(self._steps)
        return self._judged(self._steps * self.plan.batch)

    def learn_from(self, x: Floats, t: Floats, rate: float) -> float:
        """One step on any number of rows up to `batch`, at a learning rate of its own; the mean cost."""
        rows = len(x)
        self.rates[self.updates] = rate
        put = self._backend.put
        put(self._schedule, self.rates)
        self._x[:rows] = x
        put(self._feed.x, self._x)
        wide = np.zeros(self._feed.t.shape, np.float32)
        wide[:rows] = t
        put(self._feed.t, wide)
        feed = type(self._feed)(rows, self._feed.x, self._feed.t, self._feed.order)
        self.plan.set_clock(self.updates, 0)
        self.plan.training(feed, self._schedule, self._losses, self._outputs).run()
        return self._judged(rows)

    def _judged(self, rows: int) -> float:
        losses = self._backend.get(self._losses).reshape(-1)[:rows]
        finite = np.isfinite(losses)
        if not finite.all():
            step = self.updates + int(np.argmin(finite)) // self.plan.batch
            raise Diverged(step + 1, float(self.rates[step]))
        self.updates += self._steps
        return float(losses.mean(dtype=np.float64))

    @property
    def rate(self) -> float:
        """The learning rate of the last update."""
        return float(self.rates[max(0, self.updates - 1)])
