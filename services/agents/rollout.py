"""From rewards to advantages: returns of whole episodes, and generalised advantage estimation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Array = NDArray[Any]


def returns_of(rewards: Sequence[float], gamma: float) -> Doubles:
    """G_t = r_t + γ·G_(t+1) for every step of one episode."""
    found = np.zeros(len(rewards))
    total = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        total = rewards[step] + gamma * total
        found[step] = total
    return found


def advantages(
    rewards: Array, values: Array, following: Array, ended: Array, over: Array, gamma: float, gae_lambda: float
) -> Doubles:
    """A_t = δ_t + γ·λ·A_(t+1), δ_t = r_t + γ·V(s_(t+1)) − V(s_t), for arrays (steps, environments).

    `following` are the values of the states that followed; where the episode `ended` they count as 0. Where it is
    `over` (ended or cut off) the sum begins anew. Schulman et al. 2016.
    """
    errors = rewards + gamma * following * ~ended - values
    found = np.zeros(rewards.shape)
    sum_of = np.zeros(rewards.shape[1:])
    for step in range(len(rewards) - 1, -1, -1):
        sum_of = errors[step] + gamma * gae_lambda * sum_of * ~over[step]
        found[step] = sum_of
    return found


def log_softmax(scores: Array) -> Doubles:
    """log π of every action, from scores (…, actions)."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    found: Doubles = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def drawn(scores: Array, chances: Array) -> NDArray[np.int64]:
    """An action per row of scores, drawn by softmax with chances in [0, 1)."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True), dtype=np.float64)
    heights = weights.cumsum(axis=-1)
    below = (heights <= (chances * heights[:, -1])[:, None]).sum(axis=-1)
    found: NDArray[np.int64] = np.minimum(below, scores.shape[-1] - 1)
    return found


def normalised(values: Doubles) -> Doubles:
    """Mean 0 and deviation 1, as far as there are differences."""
    found: Doubles = (values - values.mean()) / (values.std() + 1e-8)
    return found
