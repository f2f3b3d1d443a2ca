"""The networks that are measured: as our spec, and as the same PyTorch module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS = 1024


@dataclass(frozen=True)
class Workload:
    """A network on random data: `batch` rows a step, cross-entropy over 10 classes."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    batch: int
    optimizer: str
    rate: float

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Inputs in 0..1 and labels, the same for every contestant."""
        rng = np.random.default_rng(0)
        x = rng.random((ROWS, *self.shape), np.float32)
        return x, rng.integers(0, 10, ROWS).astype(np.int32)


def _conv(filters: int) -> list[dict[str, Any]]:
    return [
        {"type": "conv2d", "filters": filters, "kernel_size": 3, "padding": "same", "activation": "relu"},
        {"type": "max_pooling2d", "pool_size": 2},
    ]


_HEAD = [{"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10, "activation": "softmax"}]
_MLP = tuple(_HEAD)
_CNN = (*_conv(32), *_conv(64), {"type": "flatten"}, *_HEAD)

WORKLOADS = [
    Workload("W1 MLP 784-128-10, SGD, batch 1", (784,), _MLP, 1, "sgd", 0.01),
    Workload("W2 MLP 784-128-10, Adam, batch 64", (784,), _MLP, 64, "adam", 1e-3),
    Workload("W3 CNN conv32-pool-conv64-pool-dense128-10, Adam, batch 1", (28, 28, 1), _CNN, 1, "adam", 1e-3),
    Workload("W3 CNN conv32-pool-conv64-pool-dense128-10, Adam, batch 64", (28, 28, 1), _CNN, 64, "adam", 1e-3),
]
