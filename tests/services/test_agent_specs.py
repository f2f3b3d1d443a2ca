"""A reinforcement job is read as strictly as any other, and every mistake in it comes back at once."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from services.agents.spec import AGENTS as KNOWN
from services.agents.spec import agents
from services.errors import Invalid, Mistake
from services.spec import catalog, check_job, job_schema, parse_job
from tests.services.agent_jobs import AGENTS, job_of
from tests.services.jobs_to_post import IRIS, changed


def mistakes_in(data: Any) -> dict[str, Mistake]:
    with pytest.raises(Invalid) as caught:
        parse_job(data)
    return {mistake.path: mistake for mistake in caught.value.mistakes}


@pytest.mark.parametrize("agent", AGENTS)
def test_a_resolved_spec_reads_back_as_itself_and_fits_the_schema(agent: str) -> None:
    spec = parse_job(job_of(agent))
    assert parse_job(spec.resolved()) == spec
    assert json.loads(json.dumps(spec.resolved())) == spec.resolved()
    jsonschema.validate(spec.resolved(), job_schema())
    jsonschema.validate(job_of(agent), job_schema())


def test_the_schema_tells_the_two_kinds_of_job_apart_by_their_task() -> None:
    jsonschema.validate(IRIS, job_schema())
    for wrong in (job_of("dqn") | {"dataset": {"name": "iris"}}, IRIS | {"environment": {"name": "CartPole-v1"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, job_schema())


def test_what_belongs_to_other_tasks_is_refused_with_what_stands_in_for_it() -> None:
    spec = job_of("dqn") | {"dataset": {"name": "iris"}}
    more = {"epochs": 3, "loss": "mse", "metrics": ["accuracy"], "early_stopping": {"patience": 3}, "batch_size": 8}
    spec["training"] = spec["training"] | more
    found = mistakes_in(spec)
    assert set(found) == {"dataset", *(f"training.{key}" for key in more)}
    assert "environment" in (found["dataset"].hint or "")
    assert "total_timesteps" in (found["training.epochs"].hint or "")
    assert "agent.batch_size" in (found["training.batch_size"].hint or "")


def test_what_belongs_to_agents_is_refused_elsewhere() -> None:
    spec = changed(IRIS, training__total_timesteps=5, environment={"name": "CartPole-v1"}, agent={"type": "dqn"})
    found = mistakes_in(spec)
    assert set(found) == {"environment", "agent", "training.total_timesteps"}
    assert "task: reinforcement" in (found["environment"].hint or "")


def test_an_unknown_task_is_told_all_tasks() -> None:
    assert "reinforcement" in mistakes_in(IRIS | {"task": "reinforce"})["task"].message


MANY = {
    "task": "reinforcement",
    "environment": {"name": "CartPol-v1"},
    "agent": {"type": "dqn", "buffer": 5, "gamma": 2},
    "network": {"layers": [{"type": "dense", "units": 0}]},
    "training": {"optimizer": "adm", "total_timesteps": 0},
    "colour": "blue",
}


def test_many_mistakes_come_back_in_one_answer_each_at_its_place() -> None:
    found = mistakes_in(MANY)
    assert set(found) == {
        "environment.name", "agent.buffer", "agent.gamma", "network.layers[0].units", "training.optimizer.type",
        "training.total_timesteps", "colour",
    }  # fmt: skip
    assert "'CartPole-v1'" in (found["environment.name"].hint or "")
    assert "'buffer_size'" in (found["agent.buffer"].hint or "")


@pytest.mark.parametrize("missing", ["environment", "agent", "network", "training"])
def test_what_is_missing_is_named(missing: str) -> None:
    spec = job_of("ppo")
    del spec[missing]
    assert mistakes_in(spec)[missing].code == "missing"


def test_an_unknown_agent_is_answered_with_the_known_ones() -> None:
    spec = job_of("dqn") | {"agent": "dqm"}
    assert "'dqn'" in (mistakes_in(spec)["agent.type"].hint or "")
    assert mistakes_in(spec | {"agent": {}})["agent.type"].code == "missing"


@pytest.mark.parametrize(
    "name", ["gymnasium:CartPole-v1", "os:system", "CartPole-v0", "ALE/Pong-v5", "Pendulum-v1", "x"]
)
def test_only_listed_environments_are_known(name: str) -> None:
    assert mistakes_in(job_of("dqn") | {"environment": {"name": name}})["environment.name"].code == "unknown_name"


@pytest.mark.parametrize("name", ["cartpole-v1", "CartPole-v1", "cart_pole_v1"])
def test_case_and_dashes_of_an_environment_do_not_matter(name: str) -> None:
    assert check_job(parse_job(job_of("dqn") | {"environment": {"name": name}})).outline["input_shape"] == [4]


def layers(*last: dict[str, Any]) -> dict[str, Any]:
    return {"layers": [{"type": "dense", "units": 8, "activation": "relu"}, *last]}


@pytest.mark.parametrize(
    ("agent", "network", "path"),
    [
        ("dqn", layers({"type": "dense", "units": 3}), "network.layers[1].units"),
        ("dqn", layers({"type": "dense", "units": 2, "activation": "softmax"}), "network.layers[1].activation"),
        ("dqn", layers({"type": "dense", "units": 2}, {"type": "softmax"}), "network.layers[2]"),
        ("ppo", layers({"type": "dense", "units": 2, "activation": "relu"}), "network.layers[1].activation"),
        ("ppo", layers({"type": "batch_normalization"}, {"type": "dense", "units": 2}), "network.layers[1]"),
        ("reinforce", layers({"type": "flatten"}), "network.layers[1]"),
        ("reinforce", layers({"type": "conv2d", "filters": 2, "kernel_size": 2}), "network.layers[1]"),
    ],
)
def test_a_network_that_does_not_fit_its_agent_is_refused(agent: str, network: dict[str, Any], path: str) -> None:
    assert path in mistakes_in(job_of(agent) | {"network": network})


@pytest.mark.parametrize("last", [[{"type": "dense", "units": 2, "activation": "softmax"}],
                                  [{"type": "dense", "units": 2}, {"type": "softmax"}],
                                  [{"type": "dense", "units": 2}]])  # fmt: skip
def test_a_policy_may_end_in_a_softmax_or_in_scores(last: list[dict[str, Any]]) -> None:
    assert (
        check_job(parse_job(job_of("ppo") | {"network": layers(*last)})).outline["critic_parameters"] == 4 * 8 + 8 + 9
    )


@pytest.mark.parametrize(
    ("agent", "options", "path"),
    [
        ("dqn", {"gradient_steps": 0}, "agent.gradient_steps"),
        ("dqn", {"learning_starts": 1500}, "agent.learning_starts"),
        ("dqn", {"batch_size": 65536, "gradient_steps": 10_000}, "agent"),
        ("ppo", {"batch_size": 7}, "agent.batch_size"),
        ("ppo", {"n_steps": 65536, "n_envs": 64, "batch_size": 64}, "agent.n_steps"),
        ("ppo", {"gae_lambda": 1.5}, "agent.gae_lambda"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(agent: str, options: dict[str, Any], path: str) -> None:
    assert path in mistakes_in(job_of(agent, **options))


@pytest.mark.parametrize(
    ("agent", "updates", "batch", "steps"),
    [("dqn", (1500 // 32 - 128 // 32) * 8, 16, 1500), ("ppo", 5 * 4 * 3, 75, 1500), ("reinforce", 501, 1500, 1500)],
)
def test_the_plan_says_what_it_will_take(agent: str, updates: int, batch: int, steps: int) -> None:
    outline = check_job(parse_job(job_of(agent))).outline
    assert (outline["updates"], outline["batch_size"], outline["total_steps"]) == (updates, batch, steps)
    assert outline["parameters"] == 4 * 16 + 16 + 16 * 2 + 2
    assert outline["bytes"]["total"] == sum(size for name, size in outline["bytes"].items() if name != "total")
    assert outline["environment"]["actions"] == ["push left", "push right"]


def test_the_replay_buffer_counts_as_memory() -> None:
    small, large = (check_job(parse_job(job_of("dqn", buffer_size=n))).outline["bytes"]["data"] for n in (100, 1100))
    assert large - small == 1000 * (2 * 4 * 4 + 4 + 4 + 1)


def test_the_catalog_describes_agents_and_environments_but_not_their_costs_as_losses() -> None:
    found = catalog()
    assert {agent["type"] for agent in found["agents"]} == {"dqn", "ppo", "reinforce"} == set(KNOWN.members)
    assert all(agent["doc"] and agent["schema"]["properties"]["gamma"] for agent in found["agents"])
    assert "CartPole-v1" in {card["name"] for card in found["environments"]}
    assert not {"temporal_difference", "policy_gradient", "clipped_surrogate"} & {x["type"] for x in found["losses"]}
    assert mistakes_in(changed(IRIS, training__loss="policy_gradient"))["training.loss.type"].code == "unknown_name"


def test_every_agent_is_a_final_frozen_dataclass_that_explains_itself() -> None:
    for cls in agents.members.values():
        assert getattr(cls, "__final__", False)
        assert cls.__doc__
        with pytest.raises(AttributeError):
            copy.copy(cls()).gamma = 0.5  # type: ignore[misc]
