"""A run that is cut anywhere and taken up again ends exactly like one that was not: every layer, optimizer, schedule.

"Exactly" means bits: the same weights, the same rows of metrics, each once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels.operator import Operator
from kernels.registry import optimizers
from services import training_job
from services.schedules import SCHEDULES
from services.spec import parse_job
from services.training_job import Message
from tests.kernels.harness import every_example

CUTS = (2, 8)
"""The checkpoints after which a run is cut: within the first epoch, and at the end of the second."""


SCALED = {"type": "rescaling", "scale": 0.0625}


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Leaving:
    """Asks for a checkpoint at every event, as a worker that is going down does."""

    def __call__(self) -> bool:
        return False

    def checkpoint_wanted(self) -> bool:
        return True


def one_of_each() -> dict[str, tuple[Operator, tuple[int, ...]]]:
    """Every layer that takes one input of numbers, with the shape of its first example."""
    found: dict[str, tuple[Operator, tuple[int, ...]]] = {}
    for _, example in every_example():
        teachable = getattr(example.operator, "teachable", True)
        if example.operator.arity == 1 and example.x.dtype == "float32" and teachable:
            found.setdefault(example.operator.type, (example.operator, example.x.shape[1:]))
    return found


LAYERS = one_of_each()
NEEDED: dict[str, dict[str, Any]] = {
    "exponential_decay": {"decay_steps": 2, "decay_rate": 0.5},
    "inverse_time_decay": {"decay_steps": 2, "decay_rate": 0.5},
    "piecewise_constant_decay": {"boundaries": [2, 5], "values": [0.1, 0.01, 0.001]},
    "step_decay": {"step_size": 2},
}
"""What a schedule must be told."""


def spec_with(layers: list[dict[str, Any]], **training: Any) -> dict[str, Any]:
    """Three steps an epoch (four looks), three epochs, on some of the digits."""
    return {
        "task": "classification",
        "dataset": {"name": "digits", "train_fraction": 0.02, "preprocessing": [SCALED]},
        "network": {"layers": [*layers, {"type": "flatten"}, {"type": "dense", "units": 10, "activation": "softmax"}]},
        "training": {
            "loss": "sparse_categorical_crossentropy", "optimizer": "adam", "epochs": 3, "batch_size": 10,
            "early_stopping": {"monitor": "val_loss", "patience": 50}, "seed": 3, **training,
        },
        "reliability": {"checkpoint_every": 1},
        "baseline": False,
    }  # fmt: skip


def told(
    spec: dict[str, Any], folder: Path, resume: Path | None = None, stop: Any = lambda: False
) -> Iterator[Message]:
    """The messages of a run on the CPU."""
    return training_job.run(parse_job(spec).resolved(), folder, resume, "cpu", 1, Path("unused"), stop)


def rows_of(messages: list[Message]) -> list[list[Any]]:
    """The rows that these messages commit."""
    return [list(row) for m in messages if m["type"] in ("checkpoint", "done") for row in m["metrics"]]


def check_every_cut(spec: dict[str, Any], folder: Path) -> None:
    """Cut the run after each of CUTS, take it up again, and compare with the whole run."""
    whole = list(told(spec, folder / "whole"))
    assert whole[-1]["type"] == "done", whole[-1]
    part: list[Message] = []
    for message in told(spec, folder / "part", stop=Leaving()):
        part.append(message)
        if message["type"] != "checkpoint" or sum(m["type"] == "checkpoint" for m in part) not in CUTS:
            continue
        rest = list(told(spec, folder / "rest", resume=Path(message["path"])))
        assert rest[-1]["result"]["weights_sha256"] == whole[-1]["result"]["weights_sha256"]
        assert rest[-1]["result"]["test"] == whole[-1]["result"]["test"]
        assert rows_of(part + rest) == rows_of(whole)
    assert sum(m["type"] == "checkpoint" for m in part) > max(CUTS), "the last cut was never reached"


@pytest.fixture(autouse=True)
def _one_step_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.train.WINDOW_FLOPS", (0.0, 1.0))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name: str, tmp_path: Path) -> None:
    layer, shape = LAYERS[name]
    before: list[dict[str, Any]] = [
        {"type": "flatten"},
        {"type": "dense", "units": math.prod(shape)},
        {"type": "reshape", "target_shape": list(shape)},
    ]
    check_every_cut(spec_with([*before, {"type": layer.type, **vars(layer)}]), tmp_path)


@pytest.mark.parametrize("name", optimizers.members)
def test_every_optimizer(name: str, tmp_path: Path) -> None:
    check_every_cut(spec_with([], optimizer={"type": name, "learning_rate": 0.01}), tmp_path)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name: str, tmp_path: Path) -> None:
    check_every_cut(spec_with([], learning_rate_schedule={"type": name, **NEEDED.get(name, {})}), tmp_path)


@pytest.mark.parametrize("clipping", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_every_clipping(clipping: str, tmp_path: Path) -> None:
    check_every_cut(spec_with([], **{clipping: 0.01}), tmp_path)
