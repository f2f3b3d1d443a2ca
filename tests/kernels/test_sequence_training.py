"""Networks over tokens learn what takes a memory: the gradient comes back through all steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from kernels.tensor import TensorSpec
from services.job_spec import LOSSES, OPTIMIZERS, NetworkSpec, TrainingSpec
from services.outline import outline
from services.plan import Clipping, Plan, Recipe

TOKENS, STEPS, BATCH, UPDATES = 6, 12, 32, 600
START = {"type": "embedding", "input_dim": TOKENS, "output_dim": 8, "embeddings_initializer": "random_normal"}
END = {"type": "dense", "units": TOKENS, "activation": "softmax"}
MEMORIES: dict[str, list[dict[str, Any]]] = {
    "lstm": [{"type": "lstm", "units": 24}],
    "gru": [{"type": "gru", "units": 24}],
    "simple_rnn backwards": [{"type": "simple_rnn", "units": 16, "go_backwards": True}],
    "two bidirectional lstm": [
        {"type": "lstm", "units": 8, "return_sequences": True, "bidirectional": "concat"},
        {"type": "lstm", "units": 8, "bidirectional": "sum"},
    ],
    "attention": [
        {"type": "position_embedding"},
        {"type": "multi_head_attention", "num_heads": 2, "key_dim": 4},
        {"type": "dense", "units": 8},
        {"type": "flatten"},
    ],
}


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())
def test_a_network_learns_to_name_the_first_token_of_a_sequence(memory: list[dict[str, Any]]) -> None:
    layers = NetworkSpec.model_validate({"layers": [START, *memory, END]}).layers
    asked = {"loss": "sparse_categorical_crossentropy", "optimizer": {"type": "adam", "learning_rate": 0.02}}
    training = TrainingSpec.model_validate(asked)
    loss, optimizer = LOSSES.build(training.loss), OPTIMIZERS.build(training.optimizer)
    recipe = Recipe(loss, TensorSpec((BATCH,), "int32"), optimizer, Clipping(global_clipnorm=1.0), seed=1)
    backend = CpuBackend()
    plan = Plan(outline(layers, TensorSpec((BATCH, STEPS), "int32")), backend, recipe)
    plan.initialize(1)
    x = np.random.default_rng(2).integers(0, TOKENS, (BATCH * UPDATES, STEPS)).astype(np.int32)
    rates, losses = backend.array(np.full(UPDATES, 0.02, np.float32)), backend.zeros((UPDATES, BATCH))
    outputs = backend.zeros((UPDATES, BATCH, TOKENS))
    plan.set_clock(0, 0)
    plan.training(plan.feed(x, x[:, 0]), rates, losses, outputs).run(UPDATES)  # type: ignore[arg-type]
    named = backend.get(outputs).argmax(-1).ravel()
    late = slice(-10 * BATCH, None)
    assert (named[late] == x[late, 0]).mean() >= 0.98
