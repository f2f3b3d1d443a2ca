"""A trained model that answers: its preprocessing, its network, and the meaning of its outputs, from one file."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from kernels.backend import CpuBackend
from kernels.tensor import TensorSpec
from services.agents.decision import decision
from services.datasets import Pipeline
from services.errors import Invalid, Mistake
from services.export.safetensors import unpack
from services.job_spec import NetworkSpec
from services.outline import outline
from services.plan import Plan
from services.writing import TEMPERATURE, continued

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
ROWS_AT_ONCE = 64
MAX_ROWS = 1024
MAX_PROMPTS, MAX_PROMPT = 8, 2000
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
        self._plan = plan
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
            "properties": {"inputs": inputs},
        }

    def predict(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """Predictions for rows in the data set's own units; Invalid names the row that does not fit."""
        most = MAX_PROMPTS if self.writes else MAX_ROWS
        if not 1 <= len(inputs) <= most:
            raise Invalid([Mistake("inputs", "count", f"give 1 to {most} rows, not {len(inputs)}")])
        if self.writes:
            return {"predictions": [self._continued(prompt) for prompt in self._prompts(inputs)]}
        outputs = self.pipeline.restore(self.outputs(self._rows(inputs)))
        return {"predictions": [self._said(row) for row in outputs]}

    def outputs(self, x: Array) -> Floats:
        """The network's raw outputs for unprocessed rows (n, …)."""
        return self._through(self.pipeline.apply(x))

    def _through(self, ready: Array) -> Floats:
        parts = []
        with self._turn:
            for first in range(0, len(ready), self._at_once):
                rows = ready[first : first + self._at_once]
                self._plan.x[: len(rows)] = rows
                self._program.run()
                parts.append(np.array(self._plan.y[: len(rows)]))
        return np.concatenate(parts)

    def _prompts(self, inputs: Sequence[Any]) -> list[Any]:
        wrong = [k for k, text in enumerate(inputs) if not isinstance(text, str) or not 1 <= len(text) <= MAX_PROMPT]
        if wrong:
            expected = f"Expected a text of 1 to {MAX_PROMPT} characters."
            raise Invalid([Mistake(f"inputs[{k}]", "not_text", "this is no text to continue", expected) for k in wrong])
        encoder: Any = self.pipeline.encoder
        return [encoder.tokens(text) for text in inputs]

    def _continued(self, prompt: Any) -> dict[str, Any]:
        encoder: Any = self.pipeline.encoder
        text = encoder.text(continued(prompt, self.shape[0], self._through))
        return {"text": text, "temperature": TEMPERATURE}

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
        try:
            array = np.asarray(values)
        except ValueError:
            raise ValueError(_IRREGULAR) from None
        if array.dtype.kind not in "iuf":
            raise ValueError(_IRREGULAR)
        if array.shape not in self._shapes:
            raise ValueError(f"the row has shape {list(array.shape)}")
        with np.errstate(over="ignore"):
            row = array.astype(np.float32).reshape(self.shape)
        if not np.isfinite(row).all():
            raise ValueError("a number is not finite in float32")
        return row

    def _said(self, row: Floats) -> dict[str, Any]:
        if self.about["task"] == "reinforcement":
            return decision(row, self.about)
        if self.about["task"] == "autoencoder":
            return {"output": row.tolist()}
        if self.about["task"] == "autoencoder":
            return {"output": row.tolist()}
        if self.classes is None:
            return {"values": dict(zip(self.about["target_names"], map(float, row.ravel()), strict=False))}
        chances = _chances(row)
        order = np.argsort(-chances, kind="stable")[:_TOP]
        top = [{"class": self.classes[k], "probability": float(chances[k])} for k in order]
        return {"class": top[0]["class"], "probability": top[0]["probability"], "top": top}


def _chances(row: Floats) -> Floats:
    """Outputs as one probability per class; a single output is the probability of the second class."""
    return np.array([1 - row[0], row[0]], np.float32) if row.size == 1 else row


@lru_cache(maxsize=16)
def _loaded(path: str, _modified: int) -> Model:
    return Model(Path(path))


def load(path: Path) -> Model:
    """The model in a file, from memory when it was asked for lately."""
    return _loaded(str(path), path.stat().st_mtime_ns)
