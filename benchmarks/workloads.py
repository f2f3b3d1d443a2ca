"""The networks that are measured: as our spec, and as the same PyTorch module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS = 1024
CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """A network on random data, `batch` rows a step: it tells ten classes apart, or gives its input back."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    batch: int
    optimizer: str
    rate: float
    loss: str = "sparse_categorical_crossentropy"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Inputs in 0..1 and targets, the same for every contestant."""
        rng = np.random.default_rng(0)
        x = rng.random((ROWS, *self.shape), np.float32)
        return x, rng.integers(0, CLASSES, ROWS).astype(np.int32) if self.classifies else x

    @property
    def classifies(self) -> bool:
        """Whether targets are classes, in place of the inputs themselves."""
        return self.loss == "sparse_categorical_crossentropy"


def _conv(filters: int) -> list[dict[str, Any]]:
    return [
        {"type": "conv2d", "filters": filters, "kernel_size": 3, "padding": "same", "activation": "relu"},
        {"type": "max_pooling2d", "pool_size": 2},
    ]


def _dense(units: int, activation: str) -> dict[str, Any]:
    return {"type": "dense", "units": units, "activation": activation}


_MLP = (_dense(128, "relu"), _dense(10, "softmax"))
_CNN = (*_conv(32), *_conv(64), {"type": "flatten"}, *_MLP)
_LSTM = ({"type": "lstm", "units": 128}, _dense(10, "softmax"))
_CODER = (_dense(128, "relu"), _dense(32, "relu"), _dense(128, "relu"), _dense(784, "sigmoid"))
_IMAGE, _CNN_NAME = (28, 28, 1), "W3 CNN conv32-pool-conv64-pool-dense128-10, Adam, batch"

WORKLOADS = [
    Workload("W1 MLP 784-128-10, SGD, batch 1", (784,), _MLP, 1, "sgd", 0.01),
    Workload("W2 MLP 784-128-10, Adam, batch 64", (784,), _MLP, 64, "adam", 1e-3),
    *(Workload(f"{_CNN_NAME} {batch}", _IMAGE, _CNN, batch, "adam", 1e-3) for batch in (1, 64, 256)),
    Workload("W4 LSTM 128 on 64 steps of 32, Adam, batch 32", (64, 32), _LSTM, 32, "adam", 1e-3),
    Workload("W5 auto-encoder 784-128-32-128-784, Adam, batch 128", (784,), _CODER, 128, "adam", 1e-3,
             "mean_squared_error"),
]  # fmt: skip
