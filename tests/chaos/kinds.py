"""The jobs that suffer: small, real, of many kinds, each long enough to be cut in its middle."""

from __future__ import annotations

from typing import Any, Final

Spec = dict[str, Any]

_MADE_SAFE: Final = {"checkpoint_every": 1, "keep_last": 2}


def _supervised(task: str, dataset: Spec, layers: list[Spec], training: Spec) -> Spec:
    return {
        "task": task, "dataset": dataset, "network": {"layers": layers}, "training": training,
        "reliability": _MADE_SAFE, "baseline": False,
    }  # fmt: skip


def _iris() -> Spec:
    """Thousands of tiny steps: mini-batches and Adam."""
    layers = [
        {"type": "dense", "units": 256, "activation": "relu"}, {"type": "dense", "units": 1024, "activation": "tanh"},
        {"type": "dense", "units": 3, "activation": "softmax"},
    ]  # fmt: skip
    training = {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "batch_size": 2, "epochs": 260,
                "metrics": ["accuracy"]}  # fmt: skip
    return _supervised(
        "classification", {"name": "iris", "preprocessing": [{"type": "normalization"}]}, layers, training
    )


def _digits() -> Spec:
    """Dropout, batch normalization and early stopping, whose best weights are part of every checkpoint."""
    layers = [
        {"type": "flatten"}, {"type": "dense", "units": 1024}, {"type": "batch_normalization"}, {"type": "relu"},
        {"type": "dropout", "rate": 0.3}, {"type": "dense", "units": 10, "activation": "softmax"},
    ]  # fmt: skip
    training = {"loss": "sparse_categorical_crossentropy", "optimizer": {"type": "sgd", "momentum": 0.9}, "epochs": 450,
                "early_stopping": {"monitor": "val_loss", "patience": 400}, "batch_size": 32}  # fmt: skip
    return _supervised("classification", {"name": "digits"}, layers, training)


def _convolution() -> Spec:
    """A convolutional network with pictures shifted at random, and a schedule of the learning rate."""
    layers = [
        {"type": "random_translation", "height_factor": 0.1, "width_factor": 0.1},
        {"type": "conv2d", "filters": 32, "kernel_size": 3, "activation": "relu"}, {"type": "max_pooling2d"},
        {"type": "flatten"}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 10, "activation": "softmax"},
    ]  # fmt: skip
    training = {"loss": "sparse_categorical_crossentropy", "optimizer": "adamw", "epochs": 900, "batch_size": 32,
                "learning_rate_schedule": {"type": "cosine_decay"}}  # fmt: skip
    return _supervised("classification", {"name": "digits"}, layers, training)


def _lstm() -> Spec:
    """A recurrent network over the rows of a picture."""
    layers = [{"type": "reshape", "target_shape": [8, 8]}, {"type": "lstm", "units": 64},
              {"type": "dense", "units": 10, "activation": "softmax"}]  # fmt: skip
    training = {"loss": "sparse_categorical_crossentropy", "optimizer": "rmsprop", "epochs": 340, "batch_size": 32}
    return _supervised("classification", {"name": "digits"}, layers, training)


def _regression() -> Spec:
    """A regression with noise between the layers and clipped gradients."""
    layers = [{"type": "dense", "units": 1024, "activation": "tanh"}, {"type": "gaussian_noise", "stddev": 0.1},
              {"type": "dense", "units": 1}]  # fmt: skip
    training = {"loss": "mean_squared_error", "optimizer": {"type": "adam", "learning_rate": 0.002}, "epochs": 1300,
                "batch_size": 4, "global_clipnorm": 1.0}  # fmt: skip
    return _supervised(
        "regression", {"name": "diabetes", "preprocessing": [{"type": "normalization"}]}, layers, training
    )


def _agent() -> Spec:
    """Deep Q-learning: a replay buffer, a target network and running episodes."""
    return {
        "task": "reinforcement",
        "environment": {"name": "CartPole-v1"},
        "agent": {"type": "dqn", "batch_size": 32, "buffer_size": 4000, "learning_starts": 200, "train_freq": 32,
                  "gradient_steps": 16, "target_update_interval": 250, "eval_freq": 4000, "n_eval_episodes": 3},
        "network": {"layers": [{"type": "dense", "units": 64, "activation": "relu"}, {"type": "dense", "units": 2}]},
        "training": {"total_timesteps": 150_000, "optimizer": {"type": "adam", "learning_rate": 0.001}},
        "reliability": _MADE_SAFE,
        "baseline": False,
    }  # fmt: skip


_KINDS: Final = {
    "iris": _iris, "digits": _digits, "convolution": _convolution, "lstm": _lstm, "regression": _regression,
    "agent": _agent,
}  # fmt: skip
KINDS: Final = tuple(_KINDS)
"""The names of all kinds."""


def spec_of(kind: str, seed: int = 1) -> Spec:
    """The spec of a kind; two with the same kind and seed must end with the same bits."""
    spec = _KINDS[kind]()
    return spec | {"name": f"{kind}-{seed}", "training": spec["training"] | {"seed": seed}}
