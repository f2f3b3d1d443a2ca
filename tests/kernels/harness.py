"""Binds one operator, loss or optimizer to small fenced arrays, so that a test can run it without a plan.

Every array lies between guard words that no kernel may touch, and every array a kernel must write starts as NaN:
a kernel that writes beside its array, reads beyond it, forgets an element or adds to a gradient is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.backend import Backend, CpuBackend
from kernels.launch import Launch
from kernels.operator import Example, Frame, Loss, LossExample, Operator
from kernels.registry import layers, losses
from kernels.tensor import TensorSpec

Array = npt.NDArray[Any]

GUARD = 64
"""Guard words on either side of an array; a multiple of the backends' alignment for every element size."""


def spec_as(spec: TensorSpec, dtype: str) -> TensorSpec:
    """The same array with floats of another width; integers stay what they are."""
    return replace(spec, dtype=dtype) if spec.dtype.startswith("float") else spec


@dataclass(frozen=True)
class Fence:
    """Makes arrays between guard words on one backend, and knows afterwards whether the guards still stand."""

    backend: Backend
    _fenced: list[tuple[str, Any]] = field(default_factory=list)

    def array(self, name: str, spec: TensorSpec) -> Any:
        """A new array, NaN (or 0xA5 bytes) in every element, fenced on both sides."""
        raw = self.backend.zeros((spec.size + 2 * GUARD,), spec.dtype)
        self.backend.put(raw, _poison(spec.size + 2 * GUARD, spec.dtype))
        self._fenced.append((name, raw))
        return raw[GUARD : GUARD + spec.size].reshape(spec.shape)

    def filled(self, name: str, values: Array) -> Any:
        """A fenced copy of host values."""
        made = self.array(name, TensorSpec(values.shape, values.dtype.name))
        self.backend.put(made, values)
        return made

    def broken(self) -> list[str]:
        """Names of the arrays beside which something was written."""
        guards = ((name, self.backend.get(raw)) for name, raw in self._fenced)
        return [name for name, raw in guards if not _intact(raw[:GUARD]) or not _intact(raw[-GUARD:])]


def _poison(count: int, dtype: str) -> Array:
    if dtype.startswith("float"):
        return np.full(count, np.nan, dtype)
    return np.full(count * np.dtype(dtype).itemsize, 0xA5, np.uint8).view(dtype)


def _intact(guard: Array) -> bool:
    return guard.tobytes() == _poison(guard.size, guard.dtype.name).tobytes()


@dataclass(frozen=True)
class Bound:
    """An operator or loss over its fenced arrays: `frame` by name, `params` their names, launches and programs.

    `inputs` is ("x",), or ("x0", "x1", …) for an operator that takes several; the frame has those beside its lists.
    """

    backend: Backend
    frame: Frame
    params: tuple[str, ...]
    fence: Fence
    forward_launches: tuple[Launch, ...]
    backward_launches: tuple[Launch, ...]
    inputs: tuple[str, ...] = ("x",)

    @property
    def gradients(self) -> tuple[str, ...]:
        """Names of the arrays that the backward pass fills."""
        names = (f"d{name}" for name in (*self.inputs, *self.params))
        return tuple(name for name in names if getattr(self.frame, name) is not None)

    def forward(self) -> Array:
        """Run the forward pass once; the host copy of the output (a loss: of the value per row)."""
        self._run(self.forward_launches)
        return self.host("loss" if hasattr(self.frame, "loss") else "y")

    def backward(self) -> dict[str, Array]:
        """Run the backward pass once; host copies of dx and of every parameter's gradient."""
        self._run(self.backward_launches)
        return {name: self.host(name) for name in self.gradients}

    def program(self, launches: tuple[Launch, ...]) -> Callable[[], None]:
        """A function that runs the launches: for tests that run them a thousand times."""
        return self.backend.program(launches).run if launches else lambda: None

    def host(self, name: str) -> Array:
        """A host copy of one array of the frame."""
        return self.backend.get(getattr(self.frame, name))

    def put(self, name: str, values: Array) -> None:
        """Overwrite one array of the frame."""
        self.backend.put(getattr(self.frame, name), values)

    def _run(self, launches: tuple[Launch, ...]) -> None:
        self.program(launches)()
        assert self.fence.broken() == [], f"written beside {', '.join(self.fence.broken())}"


def bind(
    operator: Operator,
    x: TensorSpec | Sequence[TensorSpec],
    backend: Backend | None = None,
    dtype: str = "float32",
    seed: int = 0,
    inputs: str = "normal",
    training: bool = True,
    valid: int | None = None,
) -> Bound:
    """Bind a layer to inputs of these shapes: inputs, dy, parameters and state random, everything else unwritten.

    Rows from `valid` on are padding: garbage comes in, and no gradient.
    """
    xs = (x,) if isinstance(x, TensorSpec) else tuple(x)
    rows = xs[0].shape[0]
    valid = rows if valid is None else valid
    backend = backend or CpuBackend()
    rng, fence, signature = np.random.default_rng(seed), Fence(backend), operator.infer(*xs)
    frame = Frame(seed=seed + 1, stream=3)
    frame.clock = fence.filled("clock", np.array([5, rows, valid, 0], np.int32))
    names = _bind_inputs(frame, fence, [draw(rng, spec, inputs, dtype) for spec in xs], valid, operator.arity)
    for name, param in signature.params.items():
        setattr(frame, name, fence.filled(name, draw(rng, param.spec, "normal", dtype) * np.dtype(dtype).type(0.5)))
        setattr(frame, f"d{name}", fence.array(f"d{name}", spec_as(param.spec, dtype)))
    for name, spec in {**signature.saved, **signature.scratch}.items():
        setattr(frame, name, fence.array(name, spec_as(spec, dtype)))
    dy = draw(rng, signature.output, "normal", dtype)
    dy[valid:] = 0
    for name, param in signature.state.items():
        setattr(frame, name, fence.filled(name, draw(rng, param.spec, "unit", dtype)))
    if operator.reshapes:
        frame.y, frame.dy = (a.reshape(signature.output.shape) for a in (frame.x, frame.dx))
        backend.put(frame.dy, dy)
    else:
        frame.y = fence.array("y", spec_as(signature.output, dtype))
        frame.dy = fence.filled("dy", dy)
    forward, backward = tuple(operator.forward(frame, training)), tuple(operator.backward(frame))
    return Bound(backend, frame, tuple(signature.params), fence, forward, backward, names)


def _bind_inputs(frame: Frame, fence: Fence, values: list[Array], valid: int, arity: int | None) -> tuple[str, ...]:
    """Put inputs and room for their gradients (None for integers) into the frame; the inputs' names."""
    names = ("x",) if arity == 1 else tuple(f"x{k}" for k in range(len(values)))
    for name, array in zip(names, values, strict=True):
        array[valid:] = 1000 if array.dtype.kind == "f" else 0
        setattr(frame, name, fence.filled(name, array))
        room = fence.array(f"d{name}", TensorSpec(array.shape, array.dtype.name)) if array.dtype.kind == "f" else None
        setattr(frame, f"d{name}", room)
    if arity != 1:
        frame.xs, frame.dxs = ([getattr(frame, side + name) for name in names] for side in ("", "d"))
    return names


def bind_example(example: Example, backend: Backend | None = None, dtype: str = "float32", seed: int = 0) -> Bound:
    """Bind a layer's example with the inputs it asks for."""
    return bind(example.operator, example.xs, backend, dtype, seed, example.inputs)


def bind_loss(
    example: LossExample,
    backend: Backend | None = None,
    dtype: str = "float32",
    seed: int = 0,
    valid: int | None = None,
) -> Bound:
    """Bind a loss's example: predictions and targets random; rows from `valid` on are padding, full of NaN."""
    backend = backend or CpuBackend()
    rng, fence, rows = np.random.default_rng(seed), Fence(backend), example.x.shape[0]
    valid = rows if valid is None else valid
    frame = Frame(seed=seed + 1, stream=3)
    x = draw(rng, example.x, example.inputs, dtype)
    t = targets(rng, example, dtype)
    x[valid:] = np.nan
    t[valid:] = np.nan if t.dtype.kind == "f" else -1
    frame.clock = fence.filled("clock", np.array([5, rows, valid, 0], np.int32))
    frame.x, frame.t = fence.filled("x", x), fence.filled("t", t)
    frame.loss = fence.array("loss", TensorSpec((rows,), dtype))
    frame.dx = fence.array("dx", spec_as(example.x, dtype))
    forward, backward = tuple(example.loss.forward(frame)), tuple(example.loss.backward(frame))
    return Bound(backend, frame, (), fence, forward, backward)


def draw(rng: np.random.Generator, spec: TensorSpec, inputs: str, dtype: str) -> Array:
    """Random numbers of a shape: `normal`, `distinct`, `probabilities` (rows sum to 1), `unit` (inside 0..1).

    Values are drawn in float32 whatever the width asked for, so that both widths compute on the same numbers.
    """
    if not spec.dtype.startswith("float"):
        return rng.integers(0, 5, spec.shape).astype(spec.dtype)
    if inputs == "distinct":
        values = (rng.permutation(spec.size) / spec.size * 4 - 2).reshape(spec.shape)
    elif inputs == "probabilities":
        values = rng.dirichlet(np.full(spec.shape[-1], 2.0), spec.shape[:-1])
    elif inputs == "unit":
        values = rng.uniform(0.05, 0.95, spec.shape)
    else:
        values = rng.normal(size=spec.shape)
    return values.astype(np.float32).astype(dtype)


def targets(rng: np.random.Generator, example: LossExample, dtype: str) -> Array:
    """Random targets of the kind the loss wants."""
    shape, kind = example.target.shape, example.loss.target
    if kind == "labels":
        return rng.integers(0, example.x.shape[-1], shape).astype(np.int32)
    if kind == "one_hot":
        return np.eye(shape[-1], dtype=dtype)[rng.integers(0, shape[-1], shape[:-1])]
    if kind == "binary":
        return rng.integers(0, 2, shape).astype(spec_as(example.target, dtype).dtype)
    drawn = draw(rng, example.target, "normal", dtype)
    if kind == "actions":
        drawn[:, 0] = rng.integers(0, example.x.shape[-1], shape[0])
        drawn[:, 3:] = np.abs(drawn[:, 3:])
    return drawn


def numeric_gradient(run: Callable[[], float], array: Array, h: float = 1e-6) -> Array:
    """Central finite differences of `run()` for every element of a host-visible float64 array."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + h
        above = run()
        array[index] = kept - h
        gradient[index] = (above - run()) / (2 * h)
        array[index] = kept
    return gradient


def every_example() -> Iterator[tuple[str, Example]]:
    """(name, example) for every example of every layer in the registry."""
    for kind, operator in layers.members.items():
        yield from _named(kind, operator.examples())


def every_loss_example() -> Iterator[tuple[str, LossExample]]:
    """(name, example) for every example of every loss in the registry, fused forms included."""
    seen: set[type[Loss]] = set()
    for kind, loss in losses.members.items():
        for name, form in ((kind, loss), *((f"{kind}+{a}", f) for a, f in loss.fused.items())):
            if form not in seen:
                seen.add(form)
                yield from _named(name, form.examples())


def _named(kind: str, examples: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for k, example in enumerate(examples):
        yield f"{kind}[{k}]", example
