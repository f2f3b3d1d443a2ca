"""What an agent is: its hyperparameters as data, and the learner that works by them."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.optimizer import Optimizer
from services.agents.environments import Environment
from services.agents.networks import Blueprint, Learns
from services.agents.world import World
from services.errors import Mistake
from services.plan import Clipping

Array = NDArray[Any]
Share = Annotated[float, Interval(ge=0, le=1)]
Count = Annotated[int, Interval(ge=1, le=1_000_000)]
WINDOW = 256
"""Steps between two moments at which an agent can be interrupted, at least, where it is free to choose."""


@dataclass(frozen=True)
class Agent(abc.ABC):
    """How to learn to act. Concrete ones are final frozen dataclasses with Stable-Baselines3's field names.

    Every `eval_freq` timesteps (0: never) it plays `n_eval_episodes` greedy episodes, always the same; with `keep_best`
    the weights that did best in them are the model. The result is about other episodes.
    """

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    policy: ClassVar[bool]
    """Whether the network gives chances of actions (True) or their values."""

    gamma: Share = 0.99
    eval_freq: Annotated[int, Interval(ge=0, le=10_000_000)] = 5_000
    n_eval_episodes: Annotated[int, Interval(ge=1, le=100)] = 10
    keep_best: bool = True

    def mistakes(self, total: int) -> list[Mistake]:
        """What does not fit together, for a job of `total` timesteps."""
        return []

    def timesteps(self, total: int) -> int:
        """The timesteps there will be when `total` are asked for."""
        return total

    @abc.abstractmethod
    def updates(self, total: int) -> int:
        """How often the weights will be updated, at most."""

    @abc.abstractmethod
    def batch(self, card: Environment) -> int:
        """Rows of one update."""

    @abc.abstractmethod
    def memory(self, card: Environment, total: int) -> int:
        """Bytes of what is kept to learn from."""

    @abc.abstractmethod
    def learner(self, desk: "Desk") -> "Learner":
        """The agent at work."""

    @property
    def critic(self) -> bool:
        """Whether a second network learns what states are worth."""
        return False


@final
@dataclass(frozen=True)
class Desk:
    """What a learner works with."""

    card: Environment
    blueprint: Blueprint
    backend: Backend
    optimizer: Optimizer
    clipping: Clipping
    seed: int
    total: int
    rates: Callable[[int], NDArray[np.float32]]
    """The learning rates of so many steps of the schedule."""

    def worlds(self, count: int, stream: int) -> list[World]:
        """Environments to learn from."""
        return [World(self.card, self.seed, stream + number) for number in range(count)]


@final
@dataclass
class Record:
    """Sums of what happened since they were last reported; plain JSON."""

    episodes: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """One more of each."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def ended(self, world: World) -> None:
        """An episode is over."""
        self.episodes += 1
        self.add(episode_return=world.gained, episode_length=float(len(world.actions)))

    def taken(self) -> dict[str, float]:
        """The means, which then begin anew."""
        found = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return found


class Learner(abc.ABC):
    """Abstract: an agent at work. Between two windows it can be stopped, written down and taken up again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.step = 0
        self.record = Record()
        self.worlds: list[World] = []
        self.networks: dict[str, Learns] = {}

    @property
    def network(self) -> Learns:
        """The network that becomes the model."""
        return self.networks["network"]

    @abc.abstractmethod
    def window(self) -> None:
        """Act and learn up to the next moment at which it can be interrupted."""

    def now(self) -> dict[str, float]:
        """Values of this moment, for the report."""
        return {"learning_rate": self.network.rate}

    def arrays(self) -> dict[str, Array]:
        """All arrays that the next step depends on."""
        return {
            f"{name}/{key}": array for name, one in self.networks.items() for key, array in one.plan.state().items()
        }

    def about(self) -> dict[str, Any]:
        """The rest of it, as JSON."""
        return {
            "step": self.step,
            "updates": {name: one.updates for name, one in self.networks.items()},
            "rates": {name: one.rate for name, one in self.networks.items()},
            "worlds": [world.place() for world in self.worlds],
            "record": vars(self.record),
        }

    def restore(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        """Go on from what `arrays()` and `about()` gave."""
        self.step = about["step"]
        self.record = Record(**about["record"])
        for name, one in self.networks.items():
            one.plan.load_state(within(arrays, f"{name}/"))
            one.updates = about["updates"][name]
            one.rates[max(0, one.updates - 1)] = about["rates"][name]
        for world, place in zip(self.worlds, about["worlds"], strict=True):
            world.go_to(place)


def within(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
