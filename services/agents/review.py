"""What can be known about a reinforcement job before it runs, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, final

from kernels.tensor import TensorSpec
from services.agents.agent import Agent
from services.agents.environments import Environment, environment
from services.agents.networks import Blueprint, check_head
from services.agents.spec import AGENTS, AgentTrainingSpec, EnvironmentSpec, ReinforcementSpec
from services.errors import Invalid, Mistake
from services.footprint import Load, footprint
from services.job_spec import OPTIMIZERS, SCHEDULE_FAMILY, NetworkSpec
from services.outline import Outline, outline
from services.preflight import layer_card

Answer = TypeVar("Answer")
MEMORY = 4 * 2**30
"""Bytes that an agent may keep to learn from."""


@final
@dataclass(frozen=True)
class AgentPreflight:
    """A reinforcement job that can run, and what it will cost. `network` has the rows of one update."""

    card: Environment
    agent: Agent
    network: Outline
    critic: Outline | None
    total: int
    slots: int

    @property
    def updates(self) -> int:
        """How often the weights are updated, at most."""
        return self.agent.updates(self.total)

    @property
    def bytes(self) -> dict[str, int]:
        """Memory by purpose; a target network counts as activations of no gradient."""
        learned = [one for one in (self.network, self.critic) if one is not None]
        flat = 4 * sum(one.flat for one in learned)
        target = 0 if self.agent.policy else 4 * self.network.flat
        return {
            "weights": flat + target,
            "gradients": flat,
            "optimizer": flat * self.slots,
            "activations": sum(one.activations for one in learned),
            "data": self.agent.memory(self.card, self.total),
        }

    @property
    def memory(self) -> dict[str, Any]:
        """What it takes of a worker's memory, by kind of worker. The best weights are always kept."""
        rows = 4 * self.network.nodes[0].x.shape[0] * (self.network.output.features + 1)
        return footprint(Load(self.bytes, rows, rows, self.updates, keeps_best=True))

    @property
    def outline(self) -> dict[str, Any]:
        """The plan as JSON: what `validate` answers and the job carries. A step is a timestep."""
        row = self.network.flops / self.network.nodes[0].x.shape[0]
        learning = 3 * self.network.flops * self.updates / self.total * (1 if self.critic is None else 2)
        return {
            "input_shape": [self.card.features],
            "output_shape": [len(self.card.actions)],
            "layers": [layer_card(node) for node in self.network.nodes],
            "parameters": self.network.parameters,
            "critic_parameters": None if self.critic is None else self.critic.parameters,
            "flops_per_step": int(row + learning),
            "bytes": self.bytes | {"total": sum(self.bytes.values())},
            "memory": self.memory,
            "batch_size": self.network.nodes[0].x.shape[0],
            "updates": self.updates,
            "total_steps": self.total,
            "environment": self.card.card(),
            "agent": self.agent.type,
            "metrics": ["episode_return"],
        }


def review_agent(
    place: EnvironmentSpec | None, agent_spec: Any, network: NetworkSpec | None, training: AgentTrainingSpec | None,
    *, whole: bool = True,
) -> tuple[list[Mistake], AgentPreflight | None]:  # fmt: skip
    """Check the sections that are well-formed (None = not) against each other. Not `whole`: the network breaks off."""
    mistakes: list[Mistake] = []

    def found(look: Callable[[], Answer]) -> Answer | None:
        try:
            return look()
        except Invalid as error:
            mistakes.extend(error.mistakes)
        return None

    card = found(lambda: environment(place.name)) if place else None
    agent: Agent | None = AGENTS.build(agent_spec) if agent_spec is not None else None
    if training:
        found(lambda: _schedule(training))
    if agent and training:
        mistakes += agent.mistakes(training.total_timesteps)
    batch = agent.batch(card) if agent and card else 1
    shapes = None
    if card and network:
        x = TensorSpec((batch, card.features))
        shapes = found(lambda: outline(network.layers, x, whole=whole))
    if shapes and card and agent and network and whole:
        found(lambda: check_head(network.layers, shapes, card.actions, agent.policy))
    if mistakes or not (card and agent and network and training and shapes and whole):
        return mistakes, None
    total = agent.timesteps(training.total_timesteps)
    critic = Blueprint(network.layers, card.features).critic().of(batch) if agent.critic else None
    slots = len(OPTIMIZERS.build(training.optimizer).slots())
    preflight = AgentPreflight(card, agent, shapes, critic, total, slots)
    found(lambda: _small_enough(preflight))
    return mistakes, None if mistakes else preflight


def check_agent(spec: ReinforcementSpec) -> AgentPreflight:
    """The preflight of a well-formed spec; Invalid with every mistake."""
    mistakes, preflight = review_agent(spec.environment, spec.agent, spec.network, spec.training)
    if mistakes or preflight is None:
        raise Invalid(mistakes)
    return preflight


def _schedule(training: AgentTrainingSpec) -> None:
    try:
        SCHEDULE_FAMILY.build(training.learning_rate_schedule)
    except ValueError as error:
        raise Invalid([Mistake("training.learning_rate_schedule", "value_error", str(error))]) from error


def _small_enough(preflight: AgentPreflight) -> None:
    if preflight.bytes["data"] > MEMORY:
        message = f"the agent would keep {preflight.bytes['data'] / 1e9:,.1f} GB to learn from"
        hint = f"At most {MEMORY / 1e9:,.1f} GB: take smaller batches, fewer steps or a smaller buffer."
        raise Invalid([Mistake("agent", "too_large", message, hint)])
