"""One reinforcement job from its spec to its model, told in the same messages as any other training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from kernels.backend import Backend, open_backend
from services.agents.agent import Desk, within
from services.agents.environments import Environment
from services.agents.episode import NAME as EPISODE
from services.agents.episode import episode_gif
from services.agents.evaluation import Judge
from services.agents.networks import Answers, Blueprint
from services.agents.review import AgentPreflight, check_agent
from services.agents.spec import ReinforcementSpec
from services.agents.world import JUDGE, TEST
from services.artifacts import ArtifactStore
from services.export.safetensors import digest, pack, unpack
from services.job_spec import OPTIMIZERS, SCHEDULE_FAMILY
from services.keeping import readable, unless_full, when_there_is_space
from services.plan import Clipping
from services.train import Diverged

Message = dict[str, Any]
MODEL_FILE: Final = "model.safetensors"
REPORTS: Final = 1000
"""Points that a series of one run has at most."""
TEST_EPISODES: Final = 100
"""Episodes that the result is about."""


def run(
    spec: dict[str, Any], folder: Path, resume: Path | None, device: str, threads: int, stop: Callable[[], bool]
) -> Iterator[Message]:
    """Train a resolved reinforcement spec; everything else is as in `services.training_job.run`."""
    job = ReinforcementSpec.model_validate(spec)
    preflight = check_agent(job)
    yield {"type": "phase", "phase": "compiling"}
    workshop = _Workshop(job, preflight, open_backend(device, threads), folder)
    workshop.begin(resume)
    yield {"type": "log", "level": "info", "text": workshop.summary()}
    yield {"type": "phase", "phase": "training"}
    try:
        yield from workshop.train(stop)
    except Diverged as error:
        yield {"type": "failed", "reason": "diverged", "message": f"{error.message} {error.hint}"}
        return
    yield {"type": "phase", "phase": "finalising"}
    yield from workshop.done()


@final
class _Workshop:
    """The learner, its judge and the files of one attempt."""

    def __init__(self, job: ReinforcementSpec, preflight: AgentPreflight, backend: Backend, folder: Path) -> None:
        self.job, self.preflight, self.backend, self.folder = job, preflight, backend, folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = ArtifactStore(folder)
        training, card = job.training, preflight.card
        optimizer, schedule = (
            OPTIMIZERS.build(training.optimizer),
            SCHEDULE_FAMILY.build(training.learning_rate_schedule),
        )
        self.blueprint = Blueprint(job.network.layers, card.features)
        desk = Desk(
            card, self.blueprint, backend, optimizer,
            Clipping(training.clipnorm, training.global_clipnorm, training.clipvalue), training.seed, preflight.total,
            lambda steps: schedule.rates(optimizer.learning_rate, steps),
        )  # fmt: skip
        self.agent = preflight.agent
        self.learner = self.agent.learner(desk)
        self.judge = Judge(card, training.seed, JUDGE, self.agent.n_eval_episodes)
        self.judged = Answers(self.blueprint, backend, self.agent.n_eval_episodes, self.learner.network.plan.w)
        self.best: dict[str, np.ndarray[Any, Any]] | None = None
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.last: dict[str, float] = {}
        self.pending: list[tuple[int, str, float]] = []
        self.reason = "completed"
        self.started, self.first = time.monotonic(), 0

    def begin(self, resume: Path | None) -> None:
        """From the beginning, or from a checkpoint."""
        if resume is not None:
            with readable():
                arrays, about = unpack(resume)
                self.learner.restore(within(arrays, "learner/"), about["learner"])
                self.best = within(arrays, "best/") or None
                self.best_value, self.best_step, self.last = about["best_value"], about["best_step"], about["last"]
        self.first = self.learner.step

    def summary(self) -> str:
        """What is about to happen, for the log."""
        p, step = self.preflight, self.learner.step
        begin = f" from timestep {step}" if step else ""
        return (
            f"{p.agent.type} learns {p.card.name} with {p.network.parameters:,} parameters: {p.total:,} timesteps, "
            f"{p.updates:,} updates of batch {p.network.nodes[0].x.shape[0]} at most, on {self.backend.name}{begin}"
        )

    def train(self, stop: Callable[[], bool]) -> Iterator[Message]:
        """Learn to the end, or until `stop()`; checkpoints as often as the spec says, and when the worker leaves."""
        saved, began = time.monotonic(), time.monotonic()
        wanted: Callable[[], bool] = getattr(stop, "checkpoint_wanted", lambda: False)
        learner, total = self.learner, self.preflight.total
        while learner.step < total:
            before = learner.step
            learner.window()
            yield from self.report(before)
            done = (time.monotonic() - began) / (learner.step - self.first)
            eta = {"eta_seconds": round(done * (total - learner.step), 3)}
            yield {"type": "progress", "step": learner.step, "total_steps": total} | eta
            if wanted() or time.monotonic() - saved >= self.job.reliability.checkpoint_every:
                yield unless_full(self.checkpoint)
                saved = time.monotonic()
            if stop():
                self.reason = "stopped_by_user"
                break
        if self.best is not None:
            learner.network.plan.load_weights(self.best)

    def report(self, before: int) -> Iterator[Message]:
        """What happened since `before`: means of episodes and costs, and the judgement where one is due."""
        step, total = self.learner.step, self.preflight.total
        every = -(-total // REPORTS)
        due = step // every != before // every or step >= total
        values = self.learner.record.taken() | self.learner.now() if due else {}
        often = self.agent.eval_freq
        if often and (step // often != before // often or step >= total):
            values |= self.judgement()
        if values:
            self.last |= values
            self.pending += [(step, name, value) for name, value in values.items()]
            yield {"type": "metrics", "step": step, "values": values}

    def judgement(self) -> dict[str, float]:
        """The mean return of the greedy episodes by which the best weights are chosen; of equals, the later ones."""
        verdict = self.judge.greedy(self.judged)
        if self.agent.keep_best and (self.best_value is None or verdict.mean >= self.best_value):
            self.best_value, self.best_step = verdict.mean, self.learner.step
            self.best = self.learner.network.plan.weights()
        return {"eval_return": verdict.mean, "eval_length": float(verdict.lengths.mean())}

    def checkpoint(self) -> Message:
        """Write everything that resuming needs, durably."""
        arrays = {f"learner/{name}": a for name, a in self.learner.arrays().items()}
        arrays |= {f"best/{name}": a for name, a in (self.best or {}).items()}
        about = {
            "learner": self.learner.about(), "last": self.last,
            "best_value": self.best_value, "best_step": self.best_step,
        }  # fmt: skip
        path = self.folder / f"checkpoint-{self.learner.step}.safetensors"
        path.unlink(missing_ok=True)
        sha256, size = self.store.write_durable(path, pack(arrays, about))
        metrics, self.pending = self.pending, []
        written = {"path": str(path), "sha256": sha256, "size": size}
        return {"type": "checkpoint", "step": self.learner.step, "metrics": metrics} | written

    def done(self) -> Iterator[Message]:
        """The last messages: greedy episodes never seen before, random ones beside them, the model and a picture."""
        learner, card = self.learner, self.preflight.card
        weights = learner.network.plan.weights()
        judge = Judge(card, self.job.training.seed, TEST, TEST_EPISODES)
        test = judge.greedy(Answers(self.blueprint, self.backend, TEST_EPISODES, learner.network.plan.w)).scores()
        result: dict[str, Any] = {
            "metrics": self.last,
            "test": test,
            "environment": card.name,
            "agent": self.agent.type,
            "reward_threshold": card.reward_threshold,
            "timesteps": learner.step,
            "updates": learner.network.updates,
            "training_episodes": learner.record.episodes,
            "best_step": self.best_step,
            "best_eval_return": self.best_value,
            "parameters": self.preflight.network.parameters,
            "device": self.backend.name,
            "train_seconds": round(time.monotonic() - self.started, 3),
            "weights_sha256": digest(weights),
        }
        if self.job.baseline:
            result["baseline"] = _random(judge)
        files = {MODEL_FILE: pack(weights, self.about(card))}
        try:
            one = Answers(self.blueprint, self.backend, 1, learner.network.plan.w)
            files[EPISODE] = episode_gif(card, self.job.training.seed, one)
        except (ImportError, OSError, RuntimeError) as error:
            text = f"no picture of an episode could be drawn on this machine: {error}"
            yield {"type": "log", "level": "warning", "text": text}
        artifacts = yield from when_there_is_space(lambda: [self.file(name, data) for name, data in files.items()])
        yield {"type": "done", "reason": self.reason, "result": result, "artifacts": artifacts, "metrics": self.pending}

    def file(self, name: str, data: bytes) -> Message:
        """One file that stays."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        sha256, size = self.store.write_durable(path, data)
        return {"name": name, "path": str(path), "sha256": sha256, "size": size}

    def about(self, card: Environment) -> dict[str, Any]:
        """What travels with the weights: the network, and what its numbers mean."""
        return {
            "schema": "trainyard-model/v1",
            "task": self.job.task,
            "network": self.job.network.model_dump(mode="json"),
            "input_shape": [card.features],
            "input_dtype": "float32",
            "preprocessing": _encoder(card),
            "classes": None,
            "target_names": list(card.actions),
            "features": list(card.observation),
            "dataset": card.name,
            "agent": self.agent.type,
            "policy": self.agent.policy,
        }


def _random(judge: Judge) -> dict[str, Any]:
    """What random actions gain on the same episodes."""
    scores = judge.random().scores()
    score = scores["episode_return"]
    trivial = {"name": "random actions", "guess": None, "score": score, "scores": scores}
    return {"metric": "episode_return", "better": "max", "trivial": trivial, "best": None, "tried": []}


def _encoder(card: Environment) -> list[dict[str, Any]]:
    """Choices are spread out as the network takes them."""
    names = list(card.observation)
    return [{"type": "choices", "names": names, "sizes": list(card.sizes)}] if card.sizes else []
