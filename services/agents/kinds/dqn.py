"""Deep Q-learning: learn what every action is worth, and take the best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from kernels.losses.temporal_difference import TemporalDifference
from services.agents.agent import WINDOW, Agent, Count, Desk, Learner, Share, within
from services.agents.environments import Environment
from services.agents.networks import Answers, Learns
from services.agents.replay import Replay, row_bytes
from services.agents.world import EXPLORE, LEARN, Chances
from services.errors import Mistake

Array = NDArray[Any]
AT_ONCE = 1024
"""Rows that go through the target network at once."""


@final
@dataclass(frozen=True)
class Dqn(Agent):
    """Deep Q-network: Q(s, a) ← r + γ·max Q'(s', ·), for transitions drawn from a replay buffer (Mnih et al. 2015).

    Q' is the target network, a copy of Q made every `target_update_interval` timesteps. Actions are random with a
    chance that falls from `exploration_initial_eps` to `exploration_final_eps` over the first `exploration_fraction` of
    the timesteps, and greedy otherwise. From `learning_starts` on, every `train_freq` timesteps bring `gradient_steps`
    updates (−1: as many) on batches of `batch_size`. With `double_q` the action that counts in s' is chosen by Q itself
    as it was before these updates (van Hasselt et al. 2016). The cost is Huber's, with slope 1 beyond an error of 1.
    """

    type: ClassVar[str] = "dqn"
    aliases: ClassVar[tuple[str, ...]] = ("DQN",)
    policy: ClassVar[bool] = False

    batch_size: Annotated[int, Interval(ge=1, le=65536)] = 32
    buffer_size: Count = 1_000_000
    learning_starts: Annotated[int, Interval(ge=0, le=1_000_000)] = 100
    train_freq: Annotated[int, Interval(ge=1, le=10_000)] = 4
    gradient_steps: Annotated[int, Interval(ge=-1, le=10_000)] = 1
    target_update_interval: Count = 10_000
    exploration_fraction: Share = 0.1
    exploration_initial_eps: Share = 1.0
    exploration_final_eps: Share = 0.05
    double_q: bool = False

    @property
    def steps(self) -> int:
        """Updates after every `train_freq` timesteps."""
        return self.train_freq if self.gradient_steps == -1 else self.gradient_steps

    def mistakes(self, total: int) -> list[Mistake]:
        """Updates that never come."""
        if self.gradient_steps == 0:
            hint = "Give 1 or more, or −1 for as many as train_freq."
            return [Mistake("agent.gradient_steps", "nothing_to_learn", "without updates nothing is learnt", hint)]
        if self.updates(total) == 0:
            message = f"after {self.learning_starts} of {total} timesteps there is no room for a single update"
            hint = "Lower learning_starts or train_freq, or raise training.total_timesteps."
            return [Mistake("agent.learning_starts", "nothing_to_learn", message, hint)]
        return []

    def updates(self, total: int) -> int:
        """One round of them at every multiple of train_freq above learning_starts."""
        return max(0, total // self.train_freq - self.learning_starts // self.train_freq) * self.steps

    def batch(self, card: Environment) -> int:
        """As it says."""
        return self.batch_size

    def memory(self, card: Environment, total: int) -> int:
        """The replay buffer, and the rows of one round of updates with what follows them."""
        rows = self.batch_size * self.steps
        return row_bytes(card) * min(self.buffer_size, total) + 4 * rows * (2 * card.features + 2)

    def learner(self, desk: Desk) -> Learner:
        """The agent at work."""
        return DqnLearner(desk, self)


@final
class DqnLearner(Learner):
    """Acts for a while, then learns from the past."""

    def __init__(self, desk: Desk, agent: Dqn) -> None:
        super().__init__(desk)
        self.agent = agent
        rows = agent.batch_size * agent.steps
        learns = Learns(
            desk.blueprint, desk.backend, TemporalDifference(), desk.optimizer, desk.clipping, desk.seed,
            agent.batch_size, agent.steps, 2, desk.rates(agent.updates(desk.total)),
        )  # fmt: skip
        self.networks = {"network": learns}
        self._acts = Answers(desk.blueprint, desk.backend, 1, learns.plan.w)
        self._target = Answers(desk.blueprint, desk.backend, min(rows, AT_ONCE))
        self._online = (
            Answers(desk.blueprint, desk.backend, self._target.rows, learns.plan.w) if agent.double_q else None
        )
        self._target.copy(learns.plan.w)
        self._replay = Replay(desk.card, min(agent.buffer_size, desk.total))
        self._chances = Chances(desk.seed, EXPLORE)
        self.worlds = desk.worlds(1, LEARN)
        self.worlds[0].begin()

    def window(self) -> None:
        """Some rounds of acting and learning."""
        end = self.step + self.agent.train_freq * -(-WINDOW // self.agent.train_freq)
        while self.step < min(end, self.desk.total):
            self._act()
            if self.step % self.agent.target_update_interval == 0:
                self._target.copy(self.network.plan.w)
            if self.step % self.agent.train_freq == 0 and self.step > self.agent.learning_starts:
                self.record.add(loss=self._learn())

    def epsilon(self) -> float:
        """The chance of a random action now."""
        first, last, share = (
            self.agent.exploration_initial_eps,
            self.agent.exploration_final_eps,
            self.agent.exploration_fraction,
        )
        passed = min(1.0, self.step / (share * self.desk.total)) if share else 1.0
        return first + (last - first) * passed

    def now(self) -> dict[str, float]:
        """Beside the learning rate, how much it explores."""
        return super().now() | {"epsilon": self.epsilon()}

    def arrays(self) -> dict[str, Array]:
        """The networks, the target and the buffer."""
        kept = {f"replay/{name}": array for name, array in self._replay.state().items()}
        return super().arrays() | kept | {"target": self.desk.backend.get(self._target.plan.w)}

    def about(self) -> dict[str, Any]:
        """Beside the rest, how much was ever put into the buffer."""
        return super().about() | {"added": self._replay.added}

    def restore(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        """Go on from what was written down."""
        super().restore(arrays, about)
        self._replay.restore(within(arrays, "replay/"), about["added"])
        self.desk.backend.put(self._target.plan.w, arrays["target"])

    def _act(self) -> None:
        world, card = self.worlds[0], self.desk.card
        explore, which = self._chances.at(2 * self.step, 2)
        if self.step < self.agent.learning_starts or explore < self.epsilon():
            action = int(which * len(card.actions))
        else:
            action = int(self._acts.of(card.encode(world.row[None])).argmax())
        seen = world.row
        reward, ended, cut = world.step(action)
        self._replay.add(seen, action, reward, world.row, ended)
        self.step += 1
        if ended or cut:
            self.record.ended(world)
            world.begin()

    def _learn(self) -> float:
        encode = self.desk.card.encode
        rows = self.agent.batch_size * self.agent.steps
        past = self._replay.sample(rows, self.desk.seed, self.network.updates)
        following = encode(past["next"])
        values = self._target.of_many(following)
        if self._online is None:
            best = values.max(axis=1)
        else:
            best = values[np.arange(rows), self._online.of_many(following).argmax(axis=1)]
        targets = np.empty((rows, 2), np.float32)
        targets[:, 0] = past["action"]
        targets[:, 1] = past["reward"] + np.float32(self.agent.gamma) * best * ~past["ended"]
        return self.network.learn(encode(past["seen"]), targets)
