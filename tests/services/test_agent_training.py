"""Agents learn, tell what they do, stop when they must, and go on from a checkpoint to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import predict, training_job
from services.agents import training
from services.export.safetensors import unpack
from services.spec import parse_job
from tests.kernels.fake_gpu import FakeGpu
from tests.services.agent_jobs import AGENTS, job_of

Message = dict[str, Any]


@pytest.fixture(autouse=True)
def _little_to_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of few episodes, and no picture; the tests that look at them ask for more."""
    monkeypatch.setattr(training, "TEST_EPISODES", 4)
    monkeypatch.setattr(training, "episode_gif", lambda *_: b"GIF89a")


class Hurried:
    """Asks for a checkpoint after every window, as a worker that is going down does."""

    def __call__(self) -> bool:
        return False

    def checkpoint_wanted(self) -> bool:
        return True


def messages(
    spec: dict[str, Any], folder: Path, resume: Path | None = None, stop: Any = lambda: False
) -> Iterator[Message]:
    resolved = parse_job(spec).resolved()
    return training_job.run(resolved, folder, resume, "cpu", 1, Path("unused"), stop)


def interrupted(spec: dict[str, Any], folder: Path, after: int) -> tuple[list[Any], Message]:
    """Metric rows and the last message of a run that is cut off after so many windows and taken up elsewhere."""
    first: list[Message] = []
    for message in messages(spec, folder / "first", stop=Hurried()):
        first.append(message)
        if sum(m["type"] == "checkpoint" for m in first) == after:
            break
    kept = [row for m in first if m["type"] == "checkpoint" for row in m["metrics"]]
    rest = list(messages(spec, folder / "rest", Path(first[-1]["path"])))
    return kept + rows(rest), rest[-1]


def rows(told: list[Message]) -> list[Any]:
    return [(m["step"], name, value) for m in told if m["type"] == "metrics" for name, value in m["values"].items()]


CASES = {
    "dqn": job_of("dqn"),
    "ppo": job_of("ppo"),
    "reinforce": job_of("reinforce"),
    "reinforce with a moving baseline": job_of("reinforce", baseline="moving", ent_coef=0.01),
    "dqn on slippery ice": job_of("dqn", "FrozenLake-v1", 4, double_q=False),
    "ppo with cards": job_of("ppo", "Blackjack-v1", 2, keep_best=False, ent_coef=0.01),
}


@pytest.mark.parametrize("spec", CASES.values(), ids=CASES.keys())
def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(spec: dict[str, Any], tmp_path: Path) -> None:
    whole = list(messages(spec, tmp_path / "whole"))
    assert whole[-1]["type"] == "done"
    for after in (1, 2, 4):
        told, last = interrupted(spec, tmp_path / str(after), after)
        assert last["result"]["weights_sha256"] == whole[-1]["result"]["weights_sha256"]
        assert [tuple(row) for row in told] == rows(whole)
        assert last["result"]["test"] == whole[-1]["result"]["test"]


def test_a_checkpoint_holds_no_empty_rest_of_the_replay_buffer(tmp_path: Path) -> None:
    spec = job_of("dqn", buffer_size=1_000_000)
    told = messages(spec, tmp_path, stop=Hurried())
    first = next(m for m in told if m["type"] == "checkpoint")
    arrays, about = unpack(Path(first["path"]))
    assert len(arrays["learner/replay/action"]) == first["step"] == about["learner"]["added"]
    assert first["size"] < 100_000


def test_the_last_message_has_scores_a_random_baseline_the_model_and_the_picture(tmp_path: Path) -> None:
    *told, done = messages(job_of("ppo"), tmp_path)
    result = done["result"]
    assert done["reason"] == "completed"
    assert result["test"]["episodes"] == 4
    assert result["baseline"]["trivial"]["name"] == "random actions"
    assert 5 < result["baseline"]["trivial"]["score"] < 100
    assert result["reward_threshold"] == 475.0
    assert [file["name"] for file in done["artifacts"]] == ["model.safetensors", "episode.gif"]
    names = {name for m in told if m["type"] == "metrics" for name in m["values"]}
    assert {"episode_return", "episode_length", "loss", "critic_loss", "entropy", "learning_rate", "eval_return"} == (
        names - {"eval_length"}
    )


def test_the_model_is_the_one_that_did_best_in_the_episodes_it_was_judged_by(tmp_path: Path) -> None:
    *told, done = messages(job_of("dqn"), tmp_path)
    judged = {m["step"]: m["values"]["eval_return"] for m in told if "eval_return" in m.get("values", {})}
    assert len(judged) == 3
    assert done["result"]["best_eval_return"] == max(judged.values()) == judged[done["result"]["best_step"]]


def test_stop_keeps_the_model(tmp_path: Path) -> None:
    *_, done = messages(job_of("reinforce"), tmp_path, stop=lambda: True)
    assert done["reason"] == "stopped_by_user"
    assert done["result"]["timesteps"] < 1500
    assert done["artifacts"]


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    spec = job_of("dqn")
    spec["training"] |= {"optimizer": {"type": "sgd", "learning_rate": 3e38}, "global_clipnorm": None}
    *_, last = messages(spec, tmp_path)
    assert (last["type"], last["reason"]) == ("failed", "diverged")


def test_no_series_has_more_points_than_anybody_wants_to_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "REPORTS", 4)
    told = list(messages(job_of("reinforce", eval_freq=0), tmp_path))
    assert 1 <= sum(m["type"] == "metrics" for m in told) <= 5


@pytest.mark.parametrize("agent", ["dqn", "ppo"])
def test_the_model_answers_observations_with_actions(agent: str, tmp_path: Path) -> None:
    list(messages(job_of(agent), tmp_path))
    model = predict.load(tmp_path / "model.safetensors")
    said = model.predict([[0.0, 0.1, -0.02, 0.3], [0.0, 0.1, 0.2, 0.3]])["predictions"]
    kind = {"dqn": "values", "ppo": "probabilities"}[agent]
    for one in said:
        best = max(one[kind], key=one[kind].get)
        assert (one["name"], ["push left", "push right"].index(best)) == (best, one["action"])
    if kind == "probabilities":
        assert sum(said[0][kind].values()) == pytest.approx(1)


def test_the_model_takes_choices_as_numbers_and_names_those_that_do_not_exist(tmp_path: Path) -> None:
    from services.errors import Invalid

    list(messages(job_of("dqn", "Blackjack-v1", 2), tmp_path))
    model = predict.load(tmp_path / "model.safetensors")
    assert model.predict([[20, 5, 0]])["predictions"][0]["name"] in ("stick", "hit")
    with pytest.raises(Invalid) as caught:
        model.predict([[40, 5, 0], [20, 5]])
    assert [mistake.path for mistake in caught.value.mistakes] == ["inputs[0]", "inputs[1]"]


SMALL: dict[str, dict[str, Any]] = {
    "dqn": {
        "batch_size": 4, "gradient_steps": 2, "learning_starts": 32, "exploration_final_eps": 1.0, "double_q": True,
        "target_update_interval": 50,
    },
    "ppo": {"n_envs": 2, "n_steps": 4, "batch_size": 8, "n_epochs": 2},
    "reinforce": {"n_episodes": 1, "baseline": "moving"},
}  # fmt: skip


@pytest.mark.parametrize("agent", SMALL)
def test_an_agent_on_the_fake_gpu_learns_what_it_learns_on_the_cpu(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "TEST_EPISODES", 1)
    spec = job_of(agent, "Blackjack-v1", eval_freq=0, **SMALL[agent]) | {"baseline": False}
    spec["network"]["layers"][0]["units"] = 4
    spec["training"]["total_timesteps"] = {"dqn": 64, "ppo": 8, "reinforce": 4}[agent]
    list(messages(spec, tmp_path / "cpu"))
    FakeGpu().install(monkeypatch)
    resolved = parse_job(spec).resolved()
    list(training_job.run(resolved, tmp_path / "gpu", None, "gpu:0", 1, Path("unused"), lambda: False))
    expected, found = (unpack(tmp_path / place / "model.safetensors")[0] for place in ("cpu", "gpu"))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_gets_better_than_chance(agent: str, tmp_path: Path) -> None:
    options = {"dqn": {"buffer_size": 10_000, "gradient_steps": 32}, "ppo": {}, "reinforce": {}}[agent]
    spec = job_of(agent, eval_freq=2_000, n_eval_episodes=5, **options)
    spec["training"] |= {"total_timesteps": 12_000, "optimizer": {"type": "adam", "learning_rate": 0.01}}
    spec["training"]["learning_rate_schedule"] = "constant"
    *_, done = messages(spec, tmp_path)
    assert done["result"]["test"]["episode_return"] > 3 * done["result"]["baseline"]["trivial"]["score"]
