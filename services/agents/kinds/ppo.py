"""Proximal policy optimisation: learn chances of actions, in steps that never go far from what was tried."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from annotated_types import Ge, Gt, Interval
from numpy.typing import NDArray

from kernels.losses.clipped_surrogate import ClippedSurrogate
from kernels.losses.mean_squared_error import MeanSquaredError
from kernels.philox import random_bits
from services.agents.agent import Agent, Desk, Learner, Share
from services.agents.environments import Environment
from services.agents.networks import CRITIC_SEED, Answers, Learns
from services.agents.rollout import advantages, drawn, log_softmax, normalised
from services.agents.world import EXPLORE, LEARN, SAMPLE, Chances
from services.errors import Mistake

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Ppo(Agent):
    """PPO (Schulman et al. 2017): `n_envs` environments take `n_steps` steps each with the policy as it is; then policy
    and critic learn from these rows `n_epochs` times, in another order each time, in batches of `batch_size`.

    The policy's cost is the clipped surrogate −min(r·A, clip(r, 1 − ε, 1 + ε)·A) − β·H, with r the new chance of the
    action over the old, ε the `clip_range` (`clip_range_schedule: linear` lets it fall to 0), H the policy's entropy,
    β the `ent_coef`. The advantages A are estimated with γ and `gae_lambda` from the critic, a network of its own with
    the same hidden layers, which learns the returns by their mean squared error.
    """

    type: ClassVar[str] = "ppo"
    aliases: ClassVar[tuple[str, ...]] = ("PPO",)
    policy: ClassVar[bool] = True

    n_envs: Annotated[int, Interval(ge=1, le=64)] = 8
    n_steps: Annotated[int, Interval(ge=1, le=65536)] = 256
    batch_size: Annotated[int, Interval(ge=1, le=65536)] = 64
    n_epochs: Annotated[int, Interval(ge=1, le=100)] = 10
    gae_lambda: Share = 0.95
    clip_range: Annotated[float, Gt(0), Interval(le=1)] = 0.2
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    normalize_advantage: bool = True
    ent_coef: Annotated[float, Ge(0)] = 0.0

    @property
    def rows(self) -> int:
        """Rows of one rollout."""
        return self.n_envs * self.n_steps

    @property
    def critic(self) -> bool:
        """The critic says what a state is worth."""
        return True

    def mistakes(self, total: int) -> list[Mistake]:
        """Batches that a rollout does not fill, and more rows than anybody needs."""
        found = []
        if self.rows % self.batch_size:
            message = (
                f"{self.n_envs} environments of {self.n_steps} steps make {self.rows} rows, no whole number of batches"
            )
            hint = f"Choose a divisor of {self.rows}."
            found.append(Mistake("agent.batch_size", "batch_unfit", message, hint))
        if self.rows * self.n_epochs > 4_000_000:
            message = f"{self.rows:,} rows {self.n_epochs} times over are more than 4,000,000"
            found.append(Mistake("agent.n_steps", "too_many", message, "Take fewer steps between updates."))
        return found

    def timesteps(self, total: int) -> int:
        """Whole rollouts."""
        return -(-total // self.rows) * self.rows

    def updates(self, total: int) -> int:
        """Epochs times batches for every rollout."""
        return self.timesteps(total) // self.batch_size * self.n_epochs

    def batch(self, card: Environment) -> int:
        """As it says."""
        return self.batch_size

    def memory(self, card: Environment, total: int) -> int:
        """A rollout, and its rows in every order."""
        return 4 * self.rows * (4 * card.features + 16) + 4 * self.rows * self.n_epochs * (2 * card.features + 10)

    def learner(self, desk: Desk) -> Learner:
        """The agent at work."""
        return PpoLearner(desk, self)


@final
class PpoLearner(Learner):
    """A window is one rollout, and what is learnt from it."""

    def __init__(self, desk: Desk, agent: Ppo) -> None:
        super().__init__(desk)
        self.agent = agent
        steps = agent.rows // agent.batch_size * agent.n_epochs
        size, rates = (agent.batch_size, steps), desk.rates(agent.updates(desk.total))
        tools = (desk.optimizer, desk.clipping)
        critic = desk.blueprint.critic()
        policy = Learns(
            desk.blueprint, desk.backend, ClippedSurrogate(entropy=agent.ent_coef), *tools, desk.seed, *size, 4, rates
        )
        worth = Learns(
            critic, desk.backend, MeanSquaredError(), *tools, desk.seed + CRITIC_SEED, *size, 1, rates.copy()
        )
        self.networks = {"network": policy, "critic": worth}
        self._acts = Answers(desk.blueprint, desk.backend, agent.n_envs, policy.plan.w)
        self._values = Answers(critic, desk.backend, min(agent.rows, 1024), worth.plan.w)
        self._chances = Chances(desk.seed, EXPLORE)
        self.worlds = desk.worlds(agent.n_envs, LEARN)
        for world in self.worlds:
            world.begin()
        shape, width, dtype = (agent.n_steps, agent.n_envs), len(desk.card.observation), desk.card.raw_dtype
        self._seen, self._next = np.zeros((2, *shape, width), dtype)
        self._scores = np.zeros((*shape, len(desk.card.actions)), np.float32)
        self._actions = np.zeros(shape, np.int64)
        self._rewards = np.zeros(shape)
        self._ended, self._over = np.zeros((2, *shape), np.bool_)

    def window(self) -> None:
        """One rollout, and what is learnt from it."""
        near = self._near()
        for step in range(self.agent.n_steps):
            self._act(step)
        x, targets, returns = self._lessons(near)
        self.record.add(loss=self.network.learn(x, targets), critic_loss=self.networks["critic"].learn(x, returns))

    def _near(self) -> float:
        """How far the policy may go from the one that acted."""
        left = 1.0 if self.agent.clip_range_schedule == "constant" else 1.0 - self.step / self.desk.total
        return self.agent.clip_range * left

    def _act(self, step: int) -> None:
        seen = self._seen[step]
        for number, world in enumerate(self.worlds):
            seen[number] = world.row
        scores = self._acts.of(self.desk.card.encode(seen))
        # A place for every environment, in blocks of a power of two so that none straddles the blocks of chances.
        wide = 1 << (self.agent.n_envs - 1).bit_length()
        first = (self.step // self.agent.n_envs) * wide
        actions = drawn(scores, self._chances.at(first, wide)[: self.agent.n_envs])
        self._scores[step], self._actions[step] = scores, actions
        for number, (world, action) in enumerate(zip(self.worlds, actions.tolist(), strict=True)):
            reward, ended, cut = world.step(action)
            self._rewards[step, number] = reward
            self._next[step, number] = world.row
            self._ended[step, number], self._over[step, number] = ended, ended or cut
            if ended or cut:
                self.record.ended(world)
                world.begin()
        self.step += self.agent.n_envs

    def _lessons(self, near: float) -> tuple[Array, Array, Array]:
        """Rows, the policy's targets and the critic's, for all epochs in their order."""
        agent, encode = self.agent, self.desk.card.encode
        shape, width = self._actions.shape, self._seen.shape[-1]
        x = encode(self._seen.reshape(-1, width))
        values, following = (
            self._values.of_many(rows).reshape(shape).astype(np.float64)
            for rows in (x, encode(self._next.reshape(-1, width)))
        )
        gains = advantages(self._rewards, values, following, self._ended, self._over, agent.gamma, agent.gae_lambda)
        chosen = np.take_along_axis(log_softmax(self._scores), self._actions[..., None], -1)
        order = self._order()
        advantage = gains.reshape(-1)[order]
        if agent.normalize_advantage and agent.batch_size > 1:
            batches = advantage.reshape(-1, agent.batch_size)
            advantage = np.concatenate([normalised(batch) for batch in batches])
        near_by = np.full(len(order), near)
        columns = (self._actions.reshape(-1)[order], advantage, chosen.reshape(-1)[order], near_by)
        returns = (gains + values).reshape(-1, 1)[order]
        entropy = -(np.exp(log_softmax(self._scores)) * log_softmax(self._scores)).sum(-1).mean()
        self.record.add(entropy=float(entropy))
        return x[order], np.stack(columns, axis=1).astype(np.float32), returns.astype(np.float32)

    def _order(self) -> Array:
        """The rows of all epochs: a function of seed and step alone."""
        words = random_bits(self.desk.seed, SAMPLE, self.step, self.agent.rows * self.agent.n_epochs)
        return np.argsort(words.reshape(self.agent.n_epochs, -1), axis=1, kind="stable").reshape(-1)
