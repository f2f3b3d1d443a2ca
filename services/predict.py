"""A trained model that answers: its preprocessing, its network, and the meaning of its outputs, from one file."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Container, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from kernels.backend import CpuBackend
from kernels.tensor import TensorSpec
from services.agents.decision import decision
from services.asking import MAX_LENGTH, Wishes
from services.datasets import Pipeline
from services.errors import Invalid, Mistake
from services.export.safetensors import unpack
from services.job_spec import NetworkSpec
from services.latent import depth, depths
from services.outline import outline
from services.plan import Plan
from services.stepping import State, Stepper, obstacle
from services.writing import Follow, Tokens, continued, windowed

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
ROWS_AT_ONCE = 64
MAX_ROWS = 1024
MAX_PROMPTS, MAX_PROMPT = 8, 2000
MAX_PIECES, MAX_STEPS = 64, 20_000
MAX_NUMBERS = 2**20
_TOP = 5
_IRREGULAR = "these are not numbers in a regular shape"


@final
class Model:
    """One trained network on the CPU of this process. `predict` may be called from several threads."""

    def __init__(self, path: Path) -> None:
        weights, about = unpack(path)
        self.about = about
        self.shape: tuple[int, ...] = tuple(about["input_shape"])
        # An image may leave its single channel out, and a row may come as one flat list.
        squeezed = self.shape[:-1] if self.shape[-1] == 1 else self.shape
        self._shapes = {self.shape, squeezed, (math.prod(self.shape),)}
        self.pipeline = Pipeline.from_json(about["preprocessing"])
        self.classes: list[str] | None = about["classes"]
        network = TypeAdapter(NetworkSpec).validate_python(about["network"])
        # A text is written symbol by symbol: one row at a time.
        self._at_once = 1 if self.writes else ROWS_AT_ONCE
        x = TensorSpec((self._at_once, *self.shape), about.get("input_dtype", "float32"))
        plan = Plan(outline(network.layers, x), CpuBackend())
        plan.load_weights(weights)
        self._plan, self._layers, self._weights = plan, network.layers, weights
        self._stepper: Stepper | None = None
        self._program = plan.backend.program([*plan.forward(training=False)])
        self._turn = threading.Lock()

    @property
    def writes(self) -> bool:
        """Whether it continues texts."""
        return bool(self.about["task"] == "language_model")

    def card(self) -> dict[str, Any]:
        """What the model is: task, shapes, classes, layers."""
        network = self._plan.outline
        return {
            "task": self.about["task"],
            "dataset": self.about["dataset"],
            "input_shape": list(self.shape),
            "output_shape": list(network.output.shape[1:]),
            "classes": self.classes,
            "target_names": self.about["target_names"],
            "features": self.about["features"],
            "parameters": network.parameters,
            "layers": [{"name": node.name, "type": node.operator.type} for node in network.nodes],
            "outputs": {one.name: list(one.shape) for one in depths(network)},
            "stateful": self._unfit_for_pieces() is None,
        }

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a predict request."""
        row: dict[str, Any] = {"type": "number"}
        for length in reversed(self.shape):
            row = {"type": "array", "items": row, "minItems": length, "maxItems": length}
        if self.writes:
            row = {"type": "string", "minLength": 1, "maxLength": MAX_PROMPT, "description": "A text to be continued."}
        elif self.pipeline.encoder is not None:
            row = self.pipeline.encoder.row_schema()
        said = f"One row of shape {list(self.shape)}, in the units of the data set, not preprocessed."
        row = {"description": said} | row
        inputs = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
        return {
            "type": "object",
            "required": ["inputs"],
            "additionalProperties": False,
            "properties": {"inputs": inputs} | self._more_to_ask(),
        }

    def _more_to_ask(self) -> dict[str, Any]:
        names = [one.name for one in depths(self._plan.outline)]
        said = "Give the output of this layer: its name, or its number from 0 (from the end where negative)."
        found: dict[str, Any] = {"layer": {"description": said, "enum": [*names, *range(-len(names), len(names))]}}
        if self._unfit_for_pieces() is None:
            said = 'Rows are pieces of sequences, of any length: "new" to begin, then what the last answer gave.'
            found["state"] = {"description": said, "oneOf": [{"const": "new"}, {"type": "array"}]}
        if self.writes:
            found["length"] = {"type": "integer", "minimum": 1, "maximum": MAX_LENGTH}
            found["temperature"] = {"type": "number", "minimum": 0, "maximum": 100}
            found["seed"] = {"type": "integer", "minimum": 0}
        return found

    def predict(self, inputs: Sequence[Any], wishes: Wishes = Wishes()) -> dict[str, Any]:  # noqa: B008 - frozen
        """Predictions for rows in the data set's own units; Invalid names the row that does not fit."""
        most = MAX_PROMPTS if self.writes else MAX_ROWS if wishes.state is None else MAX_PIECES
        if not 1 <= len(inputs) <= most:
            raise Invalid([Mistake("inputs", "count", f"give 1 to {most} rows, not {len(inputs)}")])
        if wishes.layer is not None:
            return self._inner(inputs, wishes)
        if self.writes:
            return self._written(self._prompts(inputs), wishes)
        if wishes.state is not None:
            return self._pieces(inputs, wishes.state)
        outputs = self.pipeline.restore(self.outputs(self._rows(inputs)))
        return {"predictions": [self._said(row) for row in outputs]}

    def outputs(self, x: Array) -> Floats:
        """The network's raw outputs for unprocessed rows (n, …)."""
        return self._through(self.pipeline.apply(x))

    def _through(self, ready: Array, node: int = -1) -> Floats:
        parts = []
        with self._turn:
            for first in range(0, len(ready), self._at_once):
                rows = ready[first : first + self._at_once]
                self._plan.x[: len(rows)] = rows
                self._program.run()
                parts.append(np.array(self._plan.frames[node].y[: len(rows)]))
        return np.concatenate(parts)

    def _inner(self, inputs: Sequence[Any], wishes: Wishes) -> dict[str, Any]:
        """The outputs of an inner layer; a text is what the network last saw of it, with zeros behind a shorter one."""
        layer = depth(self._plan.outline, wishes.layer if wishes.layer is not None else -1)
        if wishes.state is not None:
            message = "a layer's output is for whole rows, not for pieces"
            raise Invalid([Mistake("state", "unfit", message, "Ask for one of layer and state.")])
        if len(inputs) * layer.size > MAX_NUMBERS:
            message = f"{layer.name} gives {layer.size:,} numbers for each row; one answer holds {MAX_NUMBERS:,}"
            raise Invalid([Mistake("inputs", "count", message, f"Send {MAX_NUMBERS // layer.size} rows at once.")])
        ready = self._windows(self._prompts(inputs)) if self.writes else self.pipeline.apply(self._rows(inputs))
        made = self._through(ready, layer.node)
        return {"layer": layer.name, "predictions": [{"output": row.tolist()} for row in made]}

    def _windows(self, prompts: Sequence[Any]) -> Array:
        ready = np.zeros((len(prompts), *self.shape), np.int32)
        for row, prompt in zip(ready, prompts, strict=True):
            seen = prompt[-len(row) :]
            row[: len(seen)] = seen
        return ready

    def _unfit_for_pieces(self) -> str | None:
        if self.pipeline.encoder is not None and not self.writes:
            return f"{self.pipeline.encoder.type} makes the network's input of whole rows"
        return obstacle(self._plan.outline)

    def _reader(self, state: Any, rows: int) -> tuple[Stepper, list[State]]:
        """What reads in pieces, and the state of each row; Invalid where the network cannot or a state is none."""
        if reason := self._unfit_for_pieces():
            raise Invalid([Mistake("state", "unfit", reason, "Leave state out and send whole rows.")])
        if self._stepper is None:
            features = self.shape[1:]
            self._stepper = Stepper(self._layers, features, self.about.get("input_dtype", "float32"), self._weights)
        reader = self._stepper
        if state is None or state == "new":
            return reader, [reader.begin() for _ in range(rows)]
        if not isinstance(state, list) or len(state) != rows:
            message = f"there are {rows} rows, and each needs its state"
            raise Invalid([Mistake("state", "count", message, 'Send what the last answer gave, or "new".')])
        return reader, [reader.from_json(one, f"state[{k}]") for k, one in enumerate(state)]

    def _pieces(self, inputs: Sequence[Any], state: Any) -> dict[str, Any]:
        with self._turn:
            reader, states = self._reader(state, len(inputs))
            pieces = [self.pipeline.apply(piece[np.newaxis])[0] for piece in self._pieces_of(inputs)]
            outputs = []
            for k, piece in enumerate(pieces):
                made, states[k] = reader.read(piece, states[k])
                outputs.append(made if len(self._plan.outline.output.shape) > 2 else made[-1])
        said = [self._said(self.pipeline.restore(output)) for output in outputs]
        return {"predictions": said, "state": [reader.to_json(one) for one in states]}

    def _pieces_of(self, inputs: Sequence[Any]) -> list[Floats]:
        """Pieces of sequences as float32 (steps, features)."""
        features = self.shape[1:]
        found, mistakes = [], []
        for number, values in enumerate(inputs):
            try:
                flat = {(len(values),)} if math.prod(features) == 1 else set()
                found.append(_finite(values, {(len(values), *features)} | flat, (len(values), *features)))
                if not len(values):
                    raise ValueError("the piece has no steps")
            except (ValueError, TypeError, OverflowError) as error:
                expected = f"Expected a list of steps of {math.prod(features)} numbers each."
                mistakes.append(Mistake(f"inputs[{number}]", "shape", str(error), expected))
        if not mistakes and sum(map(len, found)) > MAX_STEPS:
            mistakes.append(Mistake("inputs", "count", f"give 1 to {MAX_STEPS:,} steps in all"))
        if mistakes:
            raise Invalid(mistakes)
        return found

    def _prompts(self, inputs: Sequence[Any]) -> list[Any]:
        wrong = [k for k, text in enumerate(inputs) if not isinstance(text, str) or not 1 <= len(text) <= MAX_PROMPT]
        if wrong:
            expected = f"Expected a text of 1 to {MAX_PROMPT} characters."
            raise Invalid([Mistake(f"inputs[{k}]", "not_text", "this is no text to continue", expected) for k in wrong])
        encoder: Any = self.pipeline.encoder
        return [encoder.tokens(text) for text in inputs]

    def _written(self, prompts: Sequence[Any], wishes: Wishes) -> dict[str, Any]:
        """Texts that follow the prompts: a step for each symbol where the network can, else a window."""
        encoder: Any = self.pipeline.encoder
        said: list[dict[str, Any]] = []
        states: list[dict[str, Any]] = []
        stepwise = wishes.state is not None or self._unfit_for_pieces() is None
        with self._turn if stepwise else contextlib.nullcontext():
            reader, begun = self._reader(wishes.state, len(prompts)) if stepwise else (None, [])
            for k, prompt in enumerate(prompts):
                memory = _Memory(reader, begun[k]) if reader is not None else None
                follow: Follow = memory or windowed(self.shape[0], self._through)
                text = continued(prompt, follow, wishes.length, wishes.temperature, wishes.seed)
                said.append({"text": encoder.text(text), "temperature": wishes.temperature})
                if memory is not None and reader is not None and wishes.state is not None:
                    memory(text[-1:])
                    states.append(reader.to_json(memory.state))
        return {"predictions": said} | ({"state": states} if wishes.state is not None else {})

    def _rows(self, inputs: Sequence[Any]) -> Array:
        if self.pipeline.encoder is not None:
            return self.pipeline.encoder.rows(inputs)
        rows, mistakes = [], []
        for number, values in enumerate(inputs):
            try:
                rows.append(self._row(values))
            except (ValueError, TypeError, OverflowError) as error:
                expected = f"Expected numbers in shape {list(self.shape)}."
                mistakes.append(Mistake(f"inputs[{number}]", "shape", str(error), expected))
        if mistakes:
            raise Invalid(mistakes)
        return np.stack(rows)

    def _row(self, values: Any) -> Floats:
        return _finite(values, self._shapes, self.shape)

    def _said(self, row: Floats) -> dict[str, Any]:
        if self.about["task"] == "reinforcement":
            return decision(row, self.about)
        if self.about["task"] == "autoencoder":
            return {"output": row.tolist()}
        if self.classes is None:
            return {"values": dict(zip(self.about["target_names"], map(float, row.ravel()), strict=False))}
        chances = _chances(row)
        order = np.argsort(-chances, kind="stable")[:_TOP]
        top = [{"class": self.classes[k], "probability": float(chances[k])} for k in order]
        return {"class": top[0]["class"], "probability": top[0]["probability"], "top": top}


@final
class _Memory:
    """A text read so far: called with what is new in it, it gives the chances of what follows."""

    def __init__(self, reader: Stepper, state: State) -> None:
        self._reader, self.state = reader, state

    def __call__(self, fresh: Tokens) -> Floats:
        """Read on."""
        chances, self.state = self._reader.read(fresh, self.state)
        return np.asarray(chances[-1])


def _finite(values: Any, shapes: Container[tuple[int, ...]], shape: tuple[int, ...]) -> Floats:
    """A row of a request, which has one of the `shapes`, as float32 in `shape`; ValueError says what is wrong."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(_IRREGULAR) from None
    if array.dtype.kind not in "iuf":
        raise ValueError(_IRREGULAR)
    if array.shape not in shapes:
        raise ValueError(f"the row has shape {list(array.shape)}")
    with np.errstate(over="ignore"):
        row = array.astype(np.float32).reshape(shape)
    if not np.isfinite(row).all():
        raise ValueError("a number is not finite in float32")
    return row


def _chances(row: Floats) -> Floats:
    """Outputs as one probability per class; a single output is the probability of the second class."""
    return np.array([1 - row[0], row[0]], np.float32) if row.size == 1 else row


@lru_cache(maxsize=16)
def _loaded(path: str, _modified: int) -> Model:
    return Model(Path(path))


def load(path: Path) -> Model:
    """The model in a file, from memory when it was asked for lately."""
    return _loaded(str(path), path.stat().st_mtime_ns)
