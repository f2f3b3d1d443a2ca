"""Exact resume, continued: layers of several inputs, every kind of data set, every task.

Every layer of one input, optimizer, schedule and clipping is in test_resume; agents and their replay buffers are in
test_agent_training; noise over the inputs of an auto-encoder is in test_autoencoders.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import training_job
from services.datasets.uploaded import survey
from services.spec import parse_job
from services.uploads.library import Handed
from tests.services.test_resume import CUTS, SCALED, Leaving, check_every_cut, rows_of, spec_with
from tests.services.uploaded.hostile import png, wav, zipped
from tests.services.uploads_at_hand import flowers


@pytest.fixture(autouse=True)
def _one_step_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.train.WINDOW_FLOPS", (0.0, 1.0))


@pytest.mark.parametrize("join", ["add", "concatenate", "multiply", "subtract"])
def test_every_layer_of_several_inputs(join: str, tmp_path: Path) -> None:
    branches: list[dict[str, Any]] = [
        {"type": "flatten", "name": "flat"},
        {"type": "dense", "units": 8, "name": "left", "inputs": ["flat"]},
        {"type": "dense", "units": 8, "name": "right", "inputs": ["flat"]},
        {"type": join, "inputs": ["left", "right"]},
    ]
    check_every_cut(spec_with(branches), tmp_path)


def arrays() -> bytes:
    """Forty rows of six numbers and their sum."""
    rows = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
    parts = {}
    for name, array in (("x", rows), ("y", rows.sum(1, keepdims=True))):
        stream = io.BytesIO()
        np.save(stream, array)
        parts[f"{name}.npy"] = stream.getvalue()
    return zipped(parts)


def hours() -> bytes:
    """A series with a daily rhythm."""
    lines = [f"2024-01-{1 + k // 24:02d} {k % 24:02d}:00,{np.sin(k / 3.8):.4f}" for k in range(120)]
    return "\n".join(["time,load", *lines]).encode()


SHADES = {f"{name}/{k}.png": png(shade=k * 6 + shade) for name, shade in (("cat", 10), ("dog", 80)) for k in range(20)}
SOUNDS = {f"{name}/{k}.wav": wav(400 + 10 * k) for name in ("a", "b") for k in range(20)}
OUT = {"type": "dense", "units": 2, "activation": "softmax"}
CLASSES = {"loss": "sparse_categorical_crossentropy"}
VALUES = {"loss": "mean_squared_error"}

KINDS: dict[str, tuple[bytes, str, dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "table": (flowers(60), "classification", {"target": "colour"}, [{"type": "flatten"}, OUT], CLASSES),
    "images": (zipped(SHADES), "classification", {}, [{"type": "flatten"}, OUT], CLASSES),
    "audio": (zipped(SOUNDS), "classification", {}, [{"type": "flatten"}, OUT], CLASSES),
    "arrays": (arrays(), "regression", {}, [{"type": "dense", "units": 1}], VALUES),
    "series": (
        hours(), "forecasting", {"window": 8, "horizon": 2},
        [{"type": "flatten"}, {"type": "dense", "units": 2}], VALUES,
    ),
    "text": (
        b"to be or not to be that is the question " * 12, "language_model", {"sequence_length": 8},
        [{"type": "embedding", "input_dim": 0, "output_dim": 4}, OUT | {"units": 0}], CLASSES,
    ),
    "autoencoder": (
        arrays(), "autoencoder", {}, [{"type": "dense", "units": 3}, {"type": "dense", "units": 6}], VALUES,
    ),
}  # fmt: skip


def handed(kind: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The spec of a small job on an upload of this kind, and what its trainer is handed."""
    content, task, options, layers, training = KINDS[kind]
    file = folder / "upload"
    file.write_bytes(content)
    found = survey(file, "text" if kind == "text" else None)
    sha256 = hashlib.sha256(content).hexdigest()
    about = {"name": kind, "kind": found.kind, "facts": found.facts, "path": str(file), "sha256": sha256}
    symbols = sorted(set(content.decode())) if task == "language_model" else []
    sized = [{key: len(symbols) if value == 0 else value for key, value in layer.items()} for layer in layers]
    spec = {
        "task": task,
        "dataset": {"upload": "ds", **options},
        "network": {"layers": sized},
        "training": {"optimizer": "adam", "epochs": 3, "batch_size": 10, "seed": 3, **training},
        "reliability": {"checkpoint_every": 1},
        "baseline": False,
    }
    return spec, about


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_set_and_every_task(kind: str, tmp_path: Path) -> None:
    spec, about = handed(kind, tmp_path)
    resolved = parse_job(spec, Handed.of(about)).resolved()

    def told(folder: str, resume: Path | None = None, stop: Any = lambda: False) -> Iterator[dict[str, Any]]:
        return training_job.run(resolved, tmp_path / folder, resume, "cpu", 1, Path("unused"), stop, about)

    whole, part, cuts = list(told("whole")), [], 0
    for message in told("part", stop=Leaving()):
        part.append(message)
        cuts += message["type"] == "checkpoint"
        if message["type"] != "checkpoint" or cuts not in CUTS:
            continue
        rest = list(told("rest", Path(message["path"])))
        assert rest[-1]["result"]["weights_sha256"] == whole[-1]["result"]["weights_sha256"]
        assert rest[-1]["result"]["test"] == whole[-1]["result"]["test"]
        assert rows_of(part + rest) == rows_of(whole)
    assert cuts > max(CUTS)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int, tmp_path: Path) -> None:
    layers = [{"type": "conv2d", "filters": 4, "kernel_size": 3}, {"type": "flatten"}, OUT | {"units": 10}]
    spec = spec_with([])
    spec["network"]["layers"] = layers
    spec["dataset"] |= {"train_fraction": 0.3, "preprocessing": [SCALED]}
    runs = [
        list(training_job.run(parse_job(spec).resolved(), tmp_path / f"{n}", None, "cpu", n, Path("unused"), bool))
        for n in (1, threads)
    ]
    digests = {run[-1]["result"]["weights_sha256"] for run in runs}
    assert len(digests) == 1
    assert rows_of(runs[0]) == rows_of(runs[1])
