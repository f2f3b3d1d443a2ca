"""Every launch that the registries can yield, found through their examples: what the CUDA tests run over.

No operator is named here: a new one is tested by being there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kernels.backend import Backend, CpuBackend
from kernels.clip import clip
from kernels.feed import advance, begin, gather_rows, record_rows, set_rate
from kernels.launch import Launch
from kernels.operator import Example, LossExample
from kernels.optimizer import Optimizer
from kernels.registry import optimizers
from tests.kernels.harness import Array, Bound, bind, bind_loss, every_example, every_loss_example

PARAMETERS = 37
"""Length of the flat parameter buffer that optimizers are tried on: no multiple of anything."""


@dataclass(frozen=True)
class Work:
    """Launches bound to one backend's arrays, and the arrays in which they leave their results."""

    launches: tuple[Launch, ...]
    results: dict[str, Any]

    def run(self, backend: Backend) -> dict[str, Array]:
        """Run everything once; host copies of the results."""
        backend.program(self.launches).run()
        return {name: backend.get(array) for name, array in self.results.items()}


@dataclass(frozen=True)
class Case:
    """One piece of work that can be bound to any backend, always over the same numbers."""

    name: str
    bind: Callable[[Backend], Work]


def every_case() -> Iterator[Case]:
    """Layers (as used and as trained), losses, optimizers, and a step's own bookkeeping."""
    for name, example in every_example():
        yield Case(f"{name}.used", lambda backend, e=example: _used(e, backend))
        yield Case(f"{name}.trained", lambda backend, e=example: _trained(e, backend))
    for name, loss in every_loss_example():
        yield Case(name, lambda backend, e=loss: _judged(e, backend))
    for name, optimizer in every_optimizer():
        yield Case(name, lambda backend, o=optimizer: _updated(o, backend))
    for name in ("clipvalue", "clipnorm", "global_clipnorm"):
        yield Case(name, lambda backend, n=name: _clipped(n, backend))
    yield Case("step", _bookkeeping)


def every_launch() -> Iterator[tuple[str, Launch]]:
    """(name, launch) for every launch of every case."""
    for case in every_case():
        for k, launch in enumerate(case.bind(CpuBackend()).launches):
            yield f"{case.name}[{k}]", launch


def every_optimizer() -> Iterator[tuple[str, Optimizer]]:
    """Every optimizer as it comes, and with the fields that are off by default turned on, one after another."""
    for kind, cls in optimizers.members.items():
        made: Any = cls()
        yield kind, made
        for field in fields(made):
            value = getattr(made, field.name)
            if not value:
                made = replace(made, **{field.name: True if value is False else 0.5})
                yield f"{kind}+{field.name}", made


def _used(example: Example, backend: Backend) -> Work:
    bound = bind(example.operator, example.xs, backend, inputs=example.inputs, training=False)
    return Work(bound.forward_launches, {"y": bound.frame.y})


def _trained(example: Example, backend: Backend) -> Work:
    bound = bind(example.operator, example.xs, backend, inputs=example.inputs)
    signature = example.operator.infer(*example.xs)
    wanted = ["y", *bound.gradients, *signature.saved, *signature.state]
    if example.operator.reshapes:
        wanted = ["dx"]
    return Work(bound.forward_launches + bound.backward_launches, _named(bound, wanted))


def _named(bound: Bound, names: list[str]) -> dict[str, Any]:
    return {name: getattr(bound.frame, name) for name in names}


def _judged(example: LossExample, backend: Backend) -> Work:
    bound = bind_loss(example, backend, valid=max(1, example.x.shape[0] - 1))
    return Work(bound.forward_launches + bound.backward_launches, _named(bound, ["loss", "dx"]))


def _updated(optimizer: Optimizer, backend: Backend) -> Work:
    rng = np.random.default_rng(7)
    w, dw = (backend.array(rng.normal(size=PARAMETERS).astype(np.float32)) for _ in range(2))
    slots = {name: backend.array(rng.random(PARAMETERS).astype(np.float32)) for name in optimizer.slots()}
    rates = backend.array(np.array([0.01, 0, 0, 0], np.float32))
    clock = backend.array(np.array([4, 0, 0, 0], np.int32))
    return Work(tuple(optimizer.update(w, dw, slots, rates, clock)), {"w": w, "rates": rates, **slots})


def _clipped(limit: str, backend: Backend) -> Work:
    dw = backend.array(np.random.default_rng(8).normal(size=PARAMETERS).astype(np.float32))
    launches = clip(dw, [(0, 20), (20, 17)], backend.zeros, **{limit: 0.7})
    return Work(tuple(launches), {"dw": dw})


def _bookkeeping(backend: Backend) -> Work:
    """The second and last batch, three rows of four, of a table of seven rows."""
    rng = np.random.default_rng(9)
    data = backend.array(rng.normal(size=(7, 5)).astype(np.float32))
    order = backend.array(rng.permutation(7).astype(np.int32))
    clock = backend.array(np.array([3, 1, 0, 1], np.int32))
    schedule, rates = backend.array(np.linspace(1, 2, 6).astype(np.float32)), backend.zeros((4,))
    batch, history = backend.zeros((4, 5)), backend.zeros((2, 4, 5))
    launches = [begin.over(1, clock, 7, 4), set_rate.over(1, clock, schedule, rates)]
    launches += [*gather_rows(data, order, clock, batch), *record_rows(batch, history, clock), advance.over(1, clock)]
    return Work(tuple(launches), {"clock": clock, "rates": rates, "batch": batch, "history": history})
