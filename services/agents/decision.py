"""What an agent's network says about one observation: the action it would take, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.agents.rollout import log_softmax


def decision(row: NDArray[np.float32], about: Mapping[str, Any]) -> dict[str, Any]:
    """The best action by number and name, with what every action is worth, or the chance of each under the policy."""
    names, best = about["target_names"], int(row.argmax())
    numbers = _chances(row, about["network"]) if about["policy"] else row
    kind = "probabilities" if about["policy"] else "values"
    return {"action": best, "name": names[best], kind: dict(zip(names, map(float, numbers), strict=True))}


def _chances(row: NDArray[np.float32], network: Mapping[str, Any]) -> NDArray[Any]:
    """A policy may end in a softmax, or leave it to whoever asks."""
    last = network["layers"][-1]
    ends = {last["type"], (last.get("activation") or {}).get("type")}
    return row if "softmax" in ends else np.exp(log_softmax(row))
