"""A recurrent layer that goes on from a given state gives the numbers of the whole sequence in one go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.backend import Backend, CpuBackend
from kernels.ops.gru import GRU
from kernels.ops.lstm import LSTM
from kernels.ops.simple_rnn import SimpleRNN
from kernels.recurrent import Recurrent
from kernels.simulator import SimulatedBackend
from kernels.tensor import TensorSpec
from tests.kernels.harness import bind

LAYERS = [
    SimpleRNN(5, return_sequences=True),
    LSTM(5, return_sequences=True),
    GRU(5, return_sequences=True),
    LSTM(4, return_sequences=True, use_bias=False, go_backwards=True),
]
BACKENDS = [CpuBackend, SimulatedBackend]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.type}{'.back' * layer.go_backwards}")
def test_two_pieces_give_what_the_whole_gives(layer: Recurrent, backend: type[Backend]) -> None:
    n, steps, cut, features = 3, 7, 3, 2
    whole = bind(layer, TensorSpec((n, steps, features)), CpuBackend())
    expected = whole.forward()
    x = whole.host("x")[:, ::-1] if layer.go_backwards else whole.host("x")
    made = []
    state: dict[str, Any] = {"first": np.zeros((n, layer.units)), "first_kept": np.zeros((n, layer.units))}
    for piece in (x[:, :cut], x[:, cut:]):
        fed = piece[:, ::-1] if layer.go_backwards else piece
        bound = bind(layer, TensorSpec(fed.shape), backend())
        for name in bound.params:
            bound.put(name, whole.host(name))
        bound.put("x", np.ascontiguousarray(fed))
        for name, values in state.items():
            setattr(bound.frame, name, bound.fence.filled(name, values.astype(np.float32)))
        bound.program(tuple(layer.forward(bound.frame, False)))()
        assert bound.fence.broken() == []
        made.append(bound.host("y"))
        last = 0 if layer.go_backwards else -1
        kept = bound.host("kept")[:, last] if hasattr(bound.frame, "kept") else state["first_kept"]
        state = {"first": made[-1][:, -1], "first_kept": kept}
    assert np.concatenate(made, axis=1) == pytest.approx(expected, abs=1e-6)
