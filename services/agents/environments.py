"""The environments an agent may learn in: a fixed list of Gymnasium's own. A name is looked up, never imported.

Everything that a spec needs to know stands here, so that checking one needs no Gymnasium.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from services.errors import Invalid, Mistake, did_you_mean

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Environment:
    """What is known of an environment before it runs.

    An observation is either a row of numbers (`observation` names them), or one or more choices (`sizes` says of how
    many); a choice reaches the network as that many numbers, all 0 but one. An episode is cut off after `max_steps`.
    """

    name: str
    title: str
    doc: str
    actions: tuple[str, ...]
    max_steps: int
    reward_threshold: float | None
    observation: tuple[str, ...]
    sizes: tuple[int, ...] = ()

    @property
    def features(self) -> int:
        """How many numbers the network sees."""
        return sum(self.sizes) or len(self.observation)

    @property
    def raw_dtype(self) -> str:
        """How observations are kept: as they are, or as numbers of choices."""
        return "int32" if self.sizes else "float32"

    def row(self, observed: Any) -> Any:
        """An observation as Gymnasium gives it, as a flat row in `raw_dtype`."""
        return np.asarray(observed, self.raw_dtype).reshape(len(self.observation))

    def encode(self, rows: NDArray[Any]) -> Floats:
        """What the network sees of rows (n, …) kept as `row` gives them."""
        if not self.sizes:
            return rows.astype(np.float32, copy=False)
        seen = np.zeros((len(rows), self.features), np.float32)
        starts = np.cumsum((0, *self.sizes[:-1]))
        seen[np.arange(len(rows))[:, None], rows + starts] = 1
        return seen

    def card(self) -> dict[str, Any]:
        """The environment for the catalog and for a job's plan."""
        return {
            "name": self.name,
            "title": self.title,
            "doc": self.doc,
            "observation": list(self.observation),
            "choices": list(self.sizes) or None,
            "actions": list(self.actions),
            "max_steps": self.max_steps,
            "reward_threshold": self.reward_threshold,
        }


_CART = ("position", "velocity", "angle", "angular velocity")
_ROBOT = ("cos θ1", "sin θ1", "cos θ2", "sin θ2", "velocity θ1", "velocity θ2")
_LAKE = ("left", "down", "right", "up")
_ALL = (
    Environment(
        "CartPole-v1", "Balance a pole on a cart",
        "+1 for every step until the pole falls or the cart leaves the track. Barto, Sutton, Anderson 1983.",
        ("push left", "push right"), 500, 475.0, _CART,
    ),
    Environment(
        "Acrobot-v1", "Swing two linked rods up over a line",
        "−1 for every step until the tip is high enough; only the joint between the rods is driven. Sutton 1996.",
        ("torque −1", "no torque", "torque +1"), 500, -100.0, _ROBOT,
    ),
    Environment(
        "MountainCar-v0", "Drive out of a valley with too weak an engine",
        "−1 for every step until the flag on the hill; the car has to swing back first. Moore 1990.",
        ("left", "coast", "right"), 200, -110.0, ("position", "velocity"),
    ),
    Environment(
        "FrozenLake-v1", "Cross a slippery lake of 4 × 4 fields",
        "+1 at the goal, nothing in a hole; two of three steps slip to a side.",
        _LAKE, 100, 0.7, ("field",), (16,),
    ),
    Environment(
        "FrozenLake8x8-v1", "Cross a slippery lake of 8 × 8 fields",
        "+1 at the goal, nothing in a hole; two of three steps slip to a side.",
        _LAKE, 200, 0.85, ("field",), (64,),
    ),
    Environment(
        "CliffWalking-v1", "Walk along a cliff",
        "−1 for every step, −100 and back to the start for falling. Sutton, Barto, example 6.6.",
        ("up", "right", "down", "left"), 200, None, ("field",), (48,),
    ),
    Environment(
        "Taxi-v4", "Fetch a passenger and set them down where they want",
        "−1 for every step, −10 for a wrong stop, +20 for the right one. Dietterich 2000.",
        ("south", "north", "east", "west", "pick up", "set down"), 200, 8.0, ("state",), (500,),
    ),
    Environment(
        "Blackjack-v1", "Draw cards against a dealer",
        "+1 for a hand won, −1 for one lost. Sutton, Barto, example 5.1.",
        ("stick", "hit"), 30, None, ("own sum", "dealer's card", "usable ace"), (32, 11, 2),
    ),
)  # fmt: skip
ENVIRONMENTS = {environment.name: environment for environment in _ALL}
_PLAIN = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in ENVIRONMENTS}


def environment(name: str) -> Environment:
    """The environment of that name; case and dashes do not matter. Invalid lists the known ones."""
    found = _PLAIN.get(re.sub(r"[^a-z0-9]", "", name.lower()))
    if found is None or ":" in name:
        message = f"there is no environment {name!r}"
        raise Invalid([Mistake("environment.name", "unknown_name", message, did_you_mean(name, ENVIRONMENTS))])
    return ENVIRONMENTS[found]


def make(card: Environment, *, pictures: bool = False) -> Any:
    """A running environment without Gymnasium's wrappers: the step limit is kept by whoever plays."""
    import os

    if pictures:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium

    mode = "rgb_array" if pictures else None
    return gymnasium.make(card.name, render_mode=mode, disable_env_checker=True).unwrapped
