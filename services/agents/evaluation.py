"""How good an agent is: greedy episodes from seeds of their own, played side by side; and random ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kernels.philox import uniform
from services.agents.environments import Environment
from services.agents.networks import Answers
from services.agents.world import EXPLORE, World

Choice = Callable[[NDArray[Any], int], NDArray[Any]]
"""(rows as observed, number of the step) → an action per row."""


@final
@dataclass(frozen=True)
class Verdict:
    """Returns and lengths of some episodes."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    def scores(self) -> dict[str, float]:
        """What a result says of them."""
        return {
            "episode_return": self.mean,
            "episode_return_std": float(self.returns.std()),
            "episode_return_min": float(self.returns.min()),
            "episode_return_max": float(self.returns.max()),
            "episode_length": float(self.lengths.mean()),
            "episodes": float(len(self.returns)),
        }


@final
class Judge:
    """Plays the same episodes again and again."""

    def __init__(self, card: Environment, seed: int, stream: int, episodes: int) -> None:
        self.card, self.seed, self.episodes = card, seed, episodes
        self._worlds = [World(card, seed, stream) for _ in range(episodes)]

    def greedy(self, network: Answers) -> Verdict:
        """Always the best action; `network` answers as many rows as there are episodes."""
        encode = self.card.encode
        return self._played(lambda rows, _: network.of(encode(rows)).argmax(axis=1))

    def random(self) -> Verdict:
        """Any action with equal chance: what an agent must beat."""
        actions = len(self.card.actions)
        return self._played(
            lambda rows, step: (uniform(self.seed, EXPLORE - 1, step, len(rows)) * actions).astype(np.int64)
        )

    def _played(self, choose: Choice) -> Verdict:
        for number, world in enumerate(self._worlds):
            world.begin(number)
        rows = np.stack([world.row for world in self._worlds])
        running = [*range(len(self._worlds))]
        step = 0
        while running:
            actions = choose(rows, step).tolist()
            running = [k for k in running if not self._over(k, actions[k], rows)]
            step += 1
        returns = np.array([world.gained for world in self._worlds])
        return Verdict(returns, np.array([len(world.actions) for world in self._worlds]))

    def _over(self, k: int, action: int, rows: NDArray[Any]) -> bool:
        world = self._worlds[k]
        _, ended, cut = world.step(action)
        rows[k] = world.row
        return ended or cut
