"""A reinforcement job as strict models: environment and agent stand in for the data set, timesteps for epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, get_args

from annotated_types import Ge, Gt, Interval, Lt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

from kernels.registry import Registry
from services.agents.agent import Agent
from services.agents.environments import ENVIRONMENTS
from services.errors import Mistake
from services.job_spec import (
    JobSpec,
    Label,
    NetworkSpec,
    Optimizer,
    ReliabilitySpec,
    ResourcesSpec,
    Schedule,
    Section,
)
from services.members import STRICT, Family

TASK = "reinforcement"
agents: Registry[Agent] = Registry("services.agents.kinds", Agent, "agent")  # type: ignore[type-abstract]
AGENTS = Family("agent", agents.members, agents.names)
if TYPE_CHECKING:
    AnyAgent: TypeAlias = Any
else:
    AnyAgent = AGENTS.annotation()


class EnvironmentSpec(Section):
    """Where the agent acts: one of the environments listed below."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64), Field(examples=sorted(ENVIRONMENTS))]


class AgentTrainingSpec(Section):
    """How long an agent learns, and by which descent; the cost is the agent's own, and so is the batch size.

    `global_clipnorm` is what Stable-Baselines3 calls max_grad_norm; policy and critic are clipped each by itself.
    """

    total_timesteps: Annotated[int, Interval(ge=1, le=10_000_000)]
    optimizer: Optimizer
    learning_rate_schedule: Schedule = Field(default={"type": "constant"}, validate_default=True)
    clipnorm: Annotated[float, Gt(0)] | None = None
    global_clipnorm: Annotated[float, Gt(0)] | None = None
    clipvalue: Annotated[float, Gt(0)] | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0

    @model_validator(mode="after")
    def _one_way_of_clipping(self) -> Self:
        if sum(c is not None for c in (self.clipnorm, self.global_clipnorm, self.clipvalue)) > 1:
            raise ValueError("choose one of clipnorm, global_clipnorm and clipvalue")
        return self


class ReinforcementSpec(BaseModel):
    """A job for `task: reinforcement`: an agent learns to act in an environment."""

    model_config = ConfigDict(**STRICT, serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    version: Literal["trainyard/v1"] = Field(default="trainyard/v1", alias="schema")
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "job"
    labels: Annotated[list[Label], Field(max_length=16)] = []
    task: Literal["reinforcement"]
    environment: EnvironmentSpec
    agent: AnyAgent
    network: NetworkSpec
    training: AgentTrainingSpec
    resources: ResourcesSpec = ResourcesSpec()
    reliability: ReliabilitySpec = ReliabilitySpec()
    baseline: bool = Field(default=True, description="Score an agent that acts at random beside the network's.")

    def resolved(self) -> dict[str, Any]:
        """The spec as JSON with every default filled in: what is stored, shown and replayed."""
        return self.model_dump(mode="json")


AnyJobSpec: TypeAlias = JobSpec | ReinforcementSpec
SECTIONS: dict[str, type[BaseModel]] = {
    "environment": EnvironmentSpec,
    "network": NetworkSpec,
    "training": AgentTrainingSpec,
}
_NO_PLACE = {
    "dataset": ("an agent learns from an environment, not from a data set", "Give environment: {name: CartPole-v1}."),
    "training.epochs": ("an agent counts timesteps, not epochs", "Give training.total_timesteps."),
    "training.loss": ("the agent brings its own cost", "Leave it out; agent.type decides."),
    "training.metrics": ("an agent is measured by its return", "Leave it out."),
    "training.early_stopping": (
        "an agent keeps the weights that did best by itself",
        "See agent.eval_freq, agent.n_eval_episodes and agent.keep_best.",
    ),
    "training.batch_size": ("the batch size belongs to the agent", "Give agent.batch_size where it has one."),
    "training.shuffle": ("an agent has no rows to shuffle", "Leave it out."),
    "training.learning_rate": ("the learning rate belongs to the optimizer", "Give training.optimizer.learning_rate."),
}
_ONLY_HERE = {
    "environment": ("only an agent acts in an environment", "Set task: reinforcement, or leave it out."),
    "agent": ("only task: reinforcement has an agent", "Set task: reinforcement, or leave it out."),
    "training.total_timesteps": ("only an agent counts timesteps", "Give training.epochs."),
}


def explained(mistakes: Iterable[Mistake], *, reinforcement: bool) -> list[Mistake]:
    """The mistakes, with words of their own for keys that belong to the other kind of job."""
    places = _NO_PLACE if reinforcement else _ONLY_HERE
    return [_explained(mistake, places) for mistake in mistakes]


def _explained(mistake: Mistake, places: Mapping[str, tuple[str, str]]) -> Mistake:
    if mistake.code == "unknown_key" and mistake.path in places:
        message, hint = places[mistake.path]
        return replace(mistake, code="misplaced_key", message=message, hint=hint)
    if mistake.path == "task" and mistake.code == "literal_error":
        return replace(mistake, message=f"input should be one of {', '.join(tasks())}")
    return mistake


def tasks() -> list[str]:
    """Everything that `task` may say."""
    return [*get_args(JobSpec.model_fields["task"].annotation), TASK]


def schema_of_jobs() -> dict[str, Any]:
    """The JSON Schema of any job spec: the two kinds are told apart by `task`."""
    kinds: TypeAdapter[Any] = TypeAdapter(Annotated[JobSpec | ReinforcementSpec, Field(discriminator="task")])
    return kinds.json_schema(by_alias=True)


def agent_catalog() -> dict[str, Any]:
    """What a reinforcement job may name, for the catalog."""
    return {"agents": AGENTS.describe(), "environments": [card.card() for card in ENVIRONMENTS.values()]}
