"""Experience replay: the last so many transitions, from which batches are drawn (Lin 1992, Mnih et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kernels.philox import uniform
from services.agents.environments import Environment
from services.agents.world import SAMPLE

Array = NDArray[Any]


def row_bytes(card: Environment) -> int:
    """Bytes of one transition: two observations, action, reward and whether it was the end."""
    return 8 * len(card.observation) + 4 + 4 + 1


@final
class Replay:
    """A ring of transitions; the oldest makes room for the newest."""

    def __init__(self, card: Environment, size: int) -> None:
        width, dtype = len(card.observation), card.raw_dtype
        self._arrays: dict[str, Array] = {
            "seen": np.zeros((size, width), dtype),
            "next": np.zeros((size, width), dtype),
            "action": np.zeros(size, np.int32),
            "reward": np.zeros(size, np.float32),
            "ended": np.zeros(size, np.bool_),
        }
        self.size, self.added = size, 0

    def __len__(self) -> int:
        """How many transitions there are."""
        return min(self.added, self.size)

    def add(self, seen: Any, action: int, reward: float, following: Any, ended: bool) -> None:
        """Keep what happened. An episode that was only cut off has not `ended`: what follows still has a value."""
        place = self.added % self.size
        kept = self._arrays
        kept["seen"][place] = seen
        kept["next"][place] = following
        kept["action"][place] = action
        kept["reward"][place] = reward
        kept["ended"][place] = ended
        self.added += 1

    def sample(self, count: int, seed: int, turn: int) -> dict[str, Array]:
        """`count` transitions drawn with replacement: a function of seed and turn."""
        places = (uniform(seed, SAMPLE, turn, count) * len(self)).astype(np.int64)
        return {name: array[places] for name, array in self._arrays.items()}

    def state(self) -> dict[str, Array]:
        """What is in it, without the empty rest."""
        return {name: array[: len(self)].astype("u1" if array.dtype == bool else array.dtype)
                for name, array in self._arrays.items()}  # fmt: skip

    def restore(self, arrays: Mapping[str, Array], added: int) -> None:
        """Be as `state()` was after `added` transitions."""
        self.added = added
        for name, array in self._arrays.items():
            array[: len(self)] = arrays[name]
