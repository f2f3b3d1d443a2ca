"""Small job specs as plain data, for tests that post or run them."""

from __future__ import annotations

import copy
from typing import Any

IRIS: dict[str, Any] = {
    "schema": "trainyard/v1",
    "name": "iris",
    "task": "classification",
    "dataset": {"name": "iris", "preprocessing": [{"type": "normalization"}]},
    "network": {
        "layers": [
            {"type": "dense", "units": 16, "activation": "tanh"},
            {"type": "dropout", "rate": 0.1},
            {"type": "dense", "units": 3, "activation": "softmax"},
        ]
    },
    "training": {
        "loss": "sparse_categorical_crossentropy",
        "optimizer": {"type": "adam", "learning_rate": 0.02},
        "batch_size": 16,
        "epochs": 30,
        "seed": 3,
    },
    "baseline": False,
}


def changed(base: dict[str, Any], **paths: Any) -> dict[str, Any]:
    """A copy of a spec with values set: `training__epochs=2` sets spec["training"]["epochs"]."""
    spec = copy.deepcopy(base)
    for path, value in paths.items():
        *parents, last = path.split("__")
        place = spec
        for parent in parents:
            place = place[parent]
        place[last] = value
    return spec
