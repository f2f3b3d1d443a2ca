"""REINFORCE: play whole episodes, and make the actions likelier that were followed by more than was expected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from kernels.losses.mean_squared_error import MeanSquaredError
from kernels.losses.policy_gradient import PolicyGradient
from services.agents.agent import Agent, Desk, Learner
from services.agents.environments import Environment
from services.agents.networks import CRITIC_SEED, Answers, Learns
from services.agents.rollout import drawn, normalised, returns_of
from services.agents.world import EXPLORE, LEARN, Chances
from services.errors import Mistake

Array = NDArray[Any]
MOVES = 0.05
"""How fast the moving baseline follows the returns."""


@final
@dataclass(frozen=True)
class Reinforce(Agent):
    """REINFORCE (Williams 1992): after every `n_episodes` whole episodes one step along A·∇ log π(a|s).

    A = G − b is the discounted return G from that step on, less a baseline b that keeps the steps small: `learned` is a
    second network with the same hidden layers that learns the returns, `moving` their running average, `none` is 0.
    With `normalize_advantage` the A of one update have mean 0 and deviation 1. `ent_coef` rewards an undecided policy.
    """

    type: ClassVar[str] = "reinforce"
    aliases: ClassVar[tuple[str, ...]] = ("REINFORCE",)
    policy: ClassVar[bool] = True

    n_episodes: Annotated[int, Interval(ge=1, le=64)] = 4
    baseline: Literal["learned", "moving", "none"] = "learned"
    normalize_advantage: bool = True
    ent_coef: Annotated[float, Ge(0)] = 0.0

    @property
    def critic(self) -> bool:
        """Only where the baseline is learned."""
        return self.baseline == "learned"

    def mistakes(self, total: int) -> list[Mistake]:
        """Too few timesteps for a single update."""
        if total < self.n_episodes:
            message = f"{total} timesteps are fewer than the {self.n_episodes} episodes of one update"
            return [Mistake("training.total_timesteps", "nothing_to_learn", message, "Give more timesteps.")]
        return []

    def updates(self, total: int) -> int:
        """No episode is shorter than one step."""
        return total // self.n_episodes + 1

    def batch(self, card: Environment) -> int:
        """As many rows as the longest episodes have."""
        return self.n_episodes * card.max_steps

    def memory(self, card: Environment, total: int) -> int:
        """The episodes of one update, for policy and baseline."""
        return 4 * self.batch(card) * (3 * card.features + 8)

    def learner(self, desk: Desk) -> Learner:
        """The agent at work."""
        return ReinforceLearner(desk, self)


@final
class ReinforceLearner(Learner):
    """A window is a few episodes, and one update; what time does not let end is not learnt from."""

    def __init__(self, desk: Desk, agent: Reinforce) -> None:
        super().__init__(desk)
        self.agent = agent
        rows, most = agent.batch(desk.card), agent.updates(desk.total)
        tools = (desk.optimizer, desk.clipping)
        policy = Learns(
            desk.blueprint, desk.backend, PolicyGradient(entropy=agent.ent_coef), *tools, desk.seed, rows, 1, 2,
            np.zeros(most, np.float32),
        )  # fmt: skip
        self.networks = {"network": policy}
        self._rates = desk.rates(desk.total)
        self._acts = Answers(desk.blueprint, desk.backend, 1, policy.plan.w)
        self._expects: Answers | None = None
        if agent.critic:
            critic = desk.blueprint.critic()
            worth = Learns(
                critic, desk.backend, MeanSquaredError(), *tools, desk.seed + CRITIC_SEED, rows, 1, 1,
                np.zeros(most, np.float32),
            )  # fmt: skip
            self.networks["critic"] = worth
            self._expects = Answers(critic, desk.backend, min(rows, 256), worth.plan.w)
        self._usual: float | None = None
        self._chances = Chances(desk.seed, EXPLORE)
        self.worlds = desk.worlds(1, LEARN)
        self.worlds[0].begin()

    def window(self) -> None:
        """Some whole episodes, then one step on all of their rows."""
        seen: list[Any] = []
        actions: list[int] = []
        returns: list[Array] = []
        while len(returns) < self.agent.n_episodes:
            rewards = self._episode(seen, actions)
            if not rewards:
                break
            returns.append(returns_of(rewards, self.agent.gamma))
        if returns:
            rows = sum(map(len, returns))
            self._learn(self.desk.card.encode(np.stack(seen[:rows])), actions[:rows], np.concatenate(returns))

    def about(self) -> dict[str, Any]:
        """Beside the rest, the moving baseline."""
        return super().about() | {"usual": self._usual}

    def restore(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        """Go on from what was written down."""
        super().restore(arrays, about)
        self._usual = about["usual"]

    def _episode(self, seen: list[Any], actions: list[int]) -> list[float]:
        """The rewards of an episode; empty where the job's time was up before its end."""
        world, encode, rewards = self.worlds[0], self.desk.card.encode, list[float]()
        while self.step < self.desk.total:
            scores = self._acts.of(encode(world.row[None]))
            action = int(drawn(scores, self._chances.at(self.step, 1))[0])
            seen.append(world.row)
            actions.append(action)
            reward, ended, cut = world.step(action)
            rewards.append(reward)
            self.step += 1
            if ended or cut:
                self.record.ended(world)
                world.begin()
                return rewards
        return []

    def _learn(self, x: Array, actions: list[int], returns: Array) -> None:
        advantage = returns - self._expected(x, returns)
        if self.agent.normalize_advantage and len(returns) > 1:
            advantage = normalised(advantage)
        targets = np.stack([np.array(actions), advantage], axis=1).astype(np.float32)
        rate = float(self._rates[self.step - 1])
        self.record.add(loss=self.network.learn_from(x, targets, rate))
        if "critic" in self.networks:
            cost = self.networks["critic"].learn_from(x, returns[:, None].astype(np.float32), rate)
            self.record.add(critic_loss=cost)

    def _expected(self, x: Array, returns: Array) -> Any:
        """The baseline of every row."""
        if self._expects is not None:
            return self._expects.of_many(x)[:, 0].astype(np.float64)
        if self.agent.baseline == "none":
            return 0.0
        mean = float(returns.mean())
        before = mean if self._usual is None else self._usual
        self._usual = before + MOVES * (mean - before)
        return before
