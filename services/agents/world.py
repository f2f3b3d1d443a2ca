"""Episodes that can be played again: an episode is a function of its seed and of the actions taken in it.

Every random number is a function of the job's seed, a stream and a place, so there is no generator to save.
"""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from kernels.philox import random_bits, uniform
from services.agents.environments import Environment, make

Doubles = NDArray[np.float64]

EXPLORE: Final = 0x50000000
"""The stream of chances by which an agent explores or draws its actions."""
SAMPLE: Final = 0x50000001
"""The stream of draws from the replay buffer, and of the order of minibatches."""
LEARN: Final = 0x51000000
"""Seeds of the episodes that are learnt from; one stream per environment."""
JUDGE: Final = 0x52000000
"""Seeds of the episodes by which weights are chosen."""
TEST: Final = 0x53000000
"""Seeds of the episodes that the result is about: never seen before."""

_BLOCK = 4096


@final
class Chances:
    """Numbers in [0, 1) by their place in a stream, worked out a block at a time."""

    def __init__(self, seed: int, stream: int) -> None:
        self._seed, self._stream = seed, stream
        self._block, self._values = -1, np.zeros(0)

    def at(self, first: int, count: int) -> Doubles:
        """`count` numbers from place `first`; `first` is a multiple of `count`, and `count` divides a block."""
        block, start = divmod(first, _BLOCK)
        if block != self._block:
            self._block, self._values = block, uniform(self._seed, self._stream, block, _BLOCK)
        return self._values[start : start + count]


@final
class World:
    """One environment at one place of one episode. `row` is what is observed now."""

    def __init__(self, card: Environment, seed: int, stream: int, *, pictures: bool = False) -> None:
        self.card, self._seed, self._stream = card, seed, stream
        self._made = make(card, pictures=pictures)
        self.episode = -1
        self.actions: list[int] = []
        self.gained = 0.0
        self.row: Any = None

    def begin(self, episode: int | None = None) -> None:
        """Start an episode: the next one, or the one of that number."""
        self.episode = self.episode + 1 if episode is None else episode
        word = int(random_bits(self._seed, self._stream, self.episode, 1)[0])
        observed, _ = self._made.reset(seed=word)
        self.actions, self.gained, self.row = [], 0.0, self.card.row(observed)

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Do something: its reward, whether that ended the episode, and whether time is up."""
        observed, reward, ended, _, _ = self._made.step(action)
        self.actions.append(action)
        reward = float(reward)
        self.gained += reward
        self.row = self.card.row(observed)
        return reward, bool(ended), not ended and len(self.actions) >= self.card.max_steps

    def picture(self) -> Any:
        """What it looks like now: (height, width, 3) uint8."""
        return self._made.render()

    def close(self) -> None:
        """Let go of windows and fonts."""
        self._made.close()

    def place(self) -> dict[str, Any]:
        """Where it stands, as JSON."""
        return {"episode": self.episode, "actions": list(self.actions)}

    def go_to(self, place: dict[str, Any]) -> None:
        """Stand where `place()` was said, by playing the episode again."""
        self.begin(place["episode"])
        for action in place["actions"]:
            self.step(action)
