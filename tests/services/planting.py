"""Small real jobs with an illness planted in them: in the spec, in the first weights, or in the rows."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import datasets, training_job
from services.datasets.base import Dataset, Part
from services.plan import Plan
from services.spec import parse_job
from tests.services.jobs_to_post import changed

Spec = dict[str, Any]
Tamper = Callable[[Dataset], Dataset]

SCALED = {"type": "rescaling", "scale": 0.0625}


def dense(units: int, activation: str | None = "relu", **more: Any) -> Spec:
    """A dense layer."""
    return {"type": "dense", "units": units, "activation": activation, **more}


def digits(*hidden: Spec, **changes: Any) -> Spec:
    """Half of the digits through these layers."""
    base: Spec = {
        "task": "classification",
        "dataset": {"name": "digits", "train_fraction": 0.5, "preprocessing": [SCALED]},
        "network": {"layers": [{"type": "flatten"}, *hidden, dense(10, "softmax")]},
        "training": {
            "loss": "sparse_categorical_crossentropy", "optimizer": {"type": "adam", "learning_rate": 0.005},
            "batch_size": 32, "epochs": 12, "metrics": ["accuracy"], "seed": 1,
        },
        "baseline": False,
    }  # fmt: skip
    return changed(base, **changes)


def tumours(**changes: Any) -> Spec:
    """The breast cancer table through one hidden layer."""
    base: Spec = {
        "task": "classification",
        "dataset": {"name": "breast_cancer", "preprocessing": [{"type": "normalization"}]},
        "network": {"layers": [dense(16), dense(1, "sigmoid")]},
        "training": {
            "loss": "binary_crossentropy", "optimizer": {"type": "adam", "learning_rate": 0.005},
            "batch_size": 32, "epochs": 12, "metrics": ["accuracy"], "seed": 1,
        },
        "baseline": False,
    }  # fmt: skip
    return changed(base, **changes)


def start_weights(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, Any], Any]) -> None:
    """Let the network start from other weights: `change` gets every array's name and value."""
    original = Plan.initialize

    def initialize(plan: Plan, seed: int) -> None:
        original(plan, seed)
        plan.load_weights({name: change(name, value) for name, value in plan.weights().items()})

    monkeypatch.setattr(Plan, "initialize", initialize)


def tampered(monkeypatch: pytest.MonkeyPatch, tamper: Tamper) -> None:
    """Let jobs learn from other rows."""
    original = datasets.load_from
    monkeypatch.setattr(datasets, "load_from", lambda *args: tamper(original(*args)))


def labels_shuffled(found: Dataset) -> Dataset:
    """Every part with the targets of other rows."""
    dice = np.random.default_rng(0)
    mixed = {
        name: dataclasses.replace(part, y=dice.permutation(part.y))
        for name, part in (("train", found.train), ("validation", found.validation), ("test", found.test))
    }
    return dataclasses.replace(found, **mixed)


def one_in_a_hundred(found: Dataset) -> Dataset:
    """As many rows as before, one in a hundred of the class 0."""
    dice = np.random.default_rng(0)

    def thin(part: Part) -> Part:
        rare, common = np.flatnonzero(part.y == 0), np.flatnonzero(part.y == 1)
        rows = dice.choice(common, len(part))
        rows[::100] = dice.choice(rare, len(rows[::100]))
        return Part(part.x[rows], part.y[rows])

    return dataclasses.replace(found, train=thin(found.train), validation=thin(found.validation))


def leaked(found: Dataset) -> Dataset:
    """The test part stands in the train part as well."""
    n = len(found.test)
    train = Part(np.concatenate([found.test.x, found.train.x[n:]]), np.concatenate([found.test.y, found.train.y[n:]]))
    return dataclasses.replace(found, train=train)


def sorted_by_class(found: Dataset) -> Dataset:
    """All rows of the first class, then all of the second, …"""
    order = np.argsort(found.train.y, kind="stable")
    return dataclasses.replace(found, train=Part(found.train.x[order], found.train.y[order]))


def messages_of(spec: Spec, folder: Path, resume: Path | None = None, stop: Any = lambda: False) -> list[Spec]:
    """The messages of a run on the CPU, in a folder of its own."""
    where = folder / uuid.uuid4().hex
    return list(training_job.run(parse_job(spec).resolved(), where, resume, "cpu", 1, Path("unused"), stop))


def findings(told: list[Spec]) -> list[Spec]:
    """The findings of a run, in order."""
    return [message["data"] for message in told if message["type"] == "diagnostic"]


def present(told: list[Spec]) -> dict[str, Mapping[str, Any]]:
    """What is still wrong at the end of a run, by code."""
    latest = {(found["code"], found["path"]): found for found in findings(told)}
    return {code: found for (code, _), found in latest.items() if found["state"] == "present"}
