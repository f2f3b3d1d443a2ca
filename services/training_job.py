"""One training job from its spec to its model: the work of a trainer process, told as plain messages.

The messages are the protocol of `workers.trainer`: phase, progress, metrics, log, checkpoint, done, failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np

from kernels.backend import Backend, open_backend
from kernels.registry import optimizers
from services import datasets
from services.arriving import arrived
from services.artifacts import ArtifactStore
from services.autoencoder_results import Trained, autoencoder_results
from services.baseline import SCORES, baseline
from services.confusion import confusion, report_of
from services.datasets import Dataset, Part
from services.diagnose import Doctor
from services.documents import from_yaml
from services.errors import TrainyardError
from services.events import Cursor, EpochEnded, Finished, Looked, Standing, Started, WindowEnded
from services.export.safetensors import digest, pack, unpack
from services.foreseen import foreseen
from services.gradient_noise import gradient_noise
from services.job_spec import LOSSES, OPTIMIZERS, SCHEDULE_FAMILY, JobSpec
from services.keeping import readable, unless_full, when_there_is_space
from services.library import BUILT_IN
from services.noise import PARTS, Place
from services.pace import Pace
from services.plan import Clipping, Plan, Recipe
from services.preflight import Preflight, check
from services.resuming import stopping_of, taken_up
from services.train import Diverged, Rows, evaluate, outputs_of, train
from services.uploads.library import Handed
from services.value_report import symbol_report, values_beside

Message = dict[str, Any]
MODEL_FILE = "model.safetensors"


@final
class OutOfMemory(TrainyardError):
    """The job needs more memory than there is."""

    code = "out_of_memory"


def run(
    spec: dict[str, Any], folder: Path, resume: Path | None, device: str, threads: int, datasets_dir: Path,
    stop: Callable[[], bool], upload: Mapping[str, Any] | None = None,
) -> Iterator[Message]:  # fmt: skip
    """Train a resolved spec, writing only into `folder`; `resume` is a checkpoint of an earlier attempt.

    `upload` is the uploaded data set that the spec names, if it names one. `stop()` says whether to finish now and keep
    the model. Raises DataError, Invalid, OutOfMemory or StorageFull; a run whose cost is no longer finite ends in a
    `failed` message with the reason `diverged`.
    """
    if spec.get("task") == "reinforcement":
        from services.agents import training

        yield from training.run(spec, folder, resume, device, threads, stop)
        return
    job = JobSpec.model_validate(spec)
    library = BUILT_IN if upload is None else Handed.of(upload)
    preflight = check(job, library)
    _refuse_what_cannot_fit(preflight, device)
    yield {"type": "phase", "phase": "loading"}
    dataset = yield from arrived(job, library, datasets_dir)
    yield {"type": "data", "data": {"name": dataset.card.name, "sha256": dataset.sha256}}
    yield {"type": "phase", "phase": "compiling"}
    doctor = Doctor(job, preflight, dataset, library)
    workshop = _Workshop(job, preflight, dataset, open_backend(device, threads), folder, doctor)
    standing = workshop.begin(resume)
    yield {"type": "log", "level": "info", "text": workshop.summary(standing)}
    try:
        yield from workshop.train(standing, stop)
    except Diverged as error:
        yield from doctor.diverged()
        yield {"type": "failed", "reason": "diverged", "message": f"{error.message} {error.hint}"}
        return
    yield {"type": "phase", "phase": "finalising"}
    done = yield from workshop.done()
    yield from doctor.finish(done["result"], done["reason"])
    yield done


PRELOADED = """
task: classification
dataset: {name: digits}
network:
  layers:
    - {type: conv2d, filters: 4, kernel_size: 3, activation: relu}
    - {type: conv2d, filters: 4, kernel_size: 3, activation: tanh}
    - {type: max_pooling2d}
    - {type: flatten}
    - {type: dropout, rate: 0.1}
    - {type: dense, units: 8, activation: sigmoid}
    - {type: dense, units: 10, activation: softmax}
training: {loss: sparse_categorical_crossentropy, optimizer: adam}
"""


def preload() -> None:
    """Compile (or fetch from the disk cache) the usual kernels on this thread, so that a fork of this process begins
    to train at once."""
    job = JobSpec.model_validate(from_yaml(PRELOADED.encode()))
    flight = check(job)
    for optimizer in ("adam", "sgd"):
        recipe = Recipe(LOSSES.build(job.training.loss), flight.target, optimizers[optimizer]())
        plan = Plan(flight.network, open_backend("cpu"), recipe)
        one = Rows(plan.feed(np.zeros((1, 8, 8, 1), np.float32), np.zeros(1, np.int32)), np.zeros(1, np.int32))
        for _ in train(plan, one, one, job.training, np.zeros(1, np.float32), flight.metrics):
            pass


def _refuse_what_cannot_fit(preflight: Preflight, device: str) -> None:
    """Say so at once: the system promises memory that it does not have, and kills when it is used."""
    needed = sum(preflight.bytes.values())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device == "cpu" and needed > there:
        message = f"The job needs {needed / 1e9:,.1f} GB of memory, and this machine has {there / 1e9:,.1f} GB."
        raise OutOfMemory(message, hint="Take fewer units or filters, pool earlier, or choose a smaller batch_size.")


@final
class _Workshop:
    """The arrays, programs and files of one attempt."""

    def __init__(
        self, job: JobSpec, preflight: Preflight, dataset: Dataset, backend: Backend, folder: Path, doctor: Doctor
    ) -> None:
        self.job, self.preflight, self.dataset, self.folder, self.doctor = job, preflight, dataset, folder, doctor
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = ArtifactStore(folder)
        training = job.training
        self.optimizer = OPTIMIZERS.build(training.optimizer)
        clipping = Clipping(training.clipnorm, training.global_clipnorm, training.clipvalue)
        recipe = Recipe(LOSSES.build(training.loss), preflight.target, self.optimizer, clipping, training.seed)
        self.plan = Plan(preflight.network, backend, recipe)
        self.names = preflight.metrics
        self.pending: list[tuple[int, str, float]] = []
        self.reason, self.epochs = "completed", 0
        self.best_epoch: int | None = None
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.scatter: dict[str, Any] = {}
        self.noise, self.stopping = job.dataset.corruption, training.early_stopping
        self.started, self.before = time.monotonic(), 0.0

    def begin(self, resume: Path | None) -> Standing:
        """Initial weights, or those of a checkpoint."""
        self.plan.initialize(self.job.training.seed)
        if resume is None:
            return Standing(Cursor())
        with readable():
            arrays, about = unpack(resume)
            self.plan.load_state(_group(arrays, "state/"))
            self.last, self.best, self.before = about.get("last", {}), about.get("best", {}), about.get("seconds", 0.0)
            self.doctor.restore(about.get("diagnostics", {}))
            self.scatter = about.get("gradient_noise", {})
            standing, stopping = Standing(Cursor(**about["cursor"]), _group(arrays, "best/") or None), self.stopping
            return taken_up(standing, about["stopping"], stopping) if "stopping" in about else standing

    def summary(self, standing: Standing) -> str:
        """What is about to happen, for the log."""
        p = self.preflight
        begin = f" from step {standing.cursor.step}" if standing.cursor.step else ""
        return (
            f"training {p.network.parameters:,} parameters on {p.sizes.train:,} rows of {p.card.name}: "
            f"{p.total_steps:,} steps of batch {p.batch} on {self.plan.backend.name}{begin}"
        )

    def train(self, standing: Standing, stop: Callable[[], bool]) -> Iterator[Message]:
        """Train to the end, or until `stop()`; checkpoints as often as the spec says, and when the worker leaves."""
        training = self.rows(self.dataset.train)
        if self.job.training.gradient_noise and not standing.cursor.step:
            self.scatter["start"] = gradient_noise(self.plan, training, self.job.training.seed)
        schedule = SCHEDULE_FAMILY.build(self.job.training.learning_rate_schedule)
        rates = schedule.rates(self.optimizer.learning_rate, self.preflight.total_steps)
        yield from self.doctor.admit(self.plan, training.feed, training.targets)
        events = train(
            self.plan, training, self.rows_or_none(self.dataset.validation),
            self.job.training, rates, self.names, standing, self.doctor.watches,
        )  # fmt: skip
        pace = Pace(standing.cursor.step, self.preflight.total_steps)
        saved = time.monotonic()
        wanted: Callable[[], bool] = getattr(stop, "checkpoint_wanted", lambda: False)
        for event in events:
            if isinstance(event, Started):
                yield {"type": "phase", "phase": "training"}
                pace, saved = Pace(standing.cursor.step, self.preflight.total_steps), time.monotonic()
                continue
            if isinstance(event, Finished):
                self.reason, self.best_epoch, self.epochs = event.reason, event.best_epoch, event.epoch
                return
            if isinstance(event, Looked):
                self.doctor.look(event)
                continue
            yield from self.report(event, pace)
            yield from self.doctor.heed(event)
            if wanted() or time.monotonic() - saved >= self.job.reliability.checkpoint_every:
                yield unless_full(partial(self.checkpoint, event.standing))
                saved = time.monotonic()
            if stop():
                events.close()  # type: ignore[attr-defined]
                self.stopped(event)
                return

    def stopped(self, event: WindowEnded | EpochEnded) -> None:
        """Keep the weights of this moment, or the best so far where the spec asks for them."""
        self.reason, self.epochs = "stopped_by_user", event.epoch
        cursor, best = event.standing.cursor, event.standing.best
        if best is not None and cursor.best_epoch is not None:
            self.plan.load_weights(best)
            self.best_epoch = cursor.best_epoch + 1

    def report(self, event: WindowEnded | EpochEnded, pace: Pace) -> Iterator[Message]:
        """An event as messages: its metrics, and how far the job is."""
        if isinstance(event, WindowEnded):
            values = {"batch_loss": event.loss, "learning_rate": event.learning_rate}
        else:
            values = dict(event.values)
            self.last = values if event.report else self.last
            self.best = values if event.standing.cursor.best_epoch == event.epoch - 1 else self.best
        if event.report:
            self.pending += [(event.step, name, value) for name, value in values.items()]
            yield {"type": "metrics", "step": event.step, "epoch": event.epoch, "values": values}
        total = self.preflight.total_steps
        yield {"type": "progress", "step": event.step, "total_steps": total, "epoch": event.epoch} | pace.eta(
            event.step
        )

    def checkpoint(self, standing: Standing) -> Message:
        """Write everything that resuming needs, durably."""
        arrays = {f"state/{name}": a for name, a in self.plan.state().items()}
        arrays |= {f"best/{name}": a for name, a in (standing.best or {}).items()}
        step = standing.cursor.step
        path = self.folder / f"checkpoint-{step}-{standing.cursor.epoch}.safetensors"
        path.unlink(missing_ok=True)
        about = {"cursor": standing.cursor.to_json(), "last": self.last, "best": self.best, "seconds": self.seconds()}
        about |= {"stopping": stopping_of(self.stopping), "gradient_noise": self.scatter}
        about["diagnostics"] = self.doctor.state()
        sha256, size = self.store.write_durable(path, pack(arrays, about))
        metrics, self.pending = self.pending, []
        return {
            "type": "checkpoint",
            "step": step,
            "path": str(path),
            "sha256": sha256,
            "size": size,
            "metrics": metrics,
        }

    def seconds(self) -> float:
        """How long the steps taken so far took, in this attempt and in those whose checkpoint it went on from."""
        return self.before + time.monotonic() - self.started

    def done(self) -> Generator[Message, None, Message]:
        """The last message: what the kept weights score, the classical baseline, and the model as a file."""
        weights = self.plan.weights()
        result: dict[str, Any] = self.metrics() | {
            "validation": self.score(self.dataset.validation),
            "test": {} if self.test is None else evaluate(self.plan, self.test, self.names),
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "parameters": self.preflight.network.parameters,
            "device": self.plan.backend.name,
            "train_seconds": round(self.seconds(), 3),
            "weights_sha256": digest(weights),
            "dataset_sha256": self.dataset.sha256,
        }
        wished = self.job.baseline_options
        if wished is not None and self.job.task in SCORES:
            result["baseline"] = baseline(self.dataset, self.job.task, **wished)
        files = {MODEL_FILE: pack(weights, self.about())}
        if self.job.task == "autoencoder" and self.test is not None:
            seconds = None if wished is None else wished["seconds"]
            found = autoencoder_results(
                Trained(self.dataset, self.plan, self.rows, self.noise is not None, seconds), self.test
            )
            result, files = result | found.result, files | found.files
            result["test"] |= found.test
        if self.scatter:
            last = gradient_noise(self.plan, self.rows(self.dataset.train), self.job.training.seed)
            result["gradient_noise"] = self.scatter | {"end": last}
        result |= self.beside()
        kept = yield from when_there_is_space(lambda: [self.keep(name, data) for name, data in files.items()])
        return {"type": "done", "reason": self.reason, "result": result, "artifacts": kept, "metrics": self.pending}

    def keep(self, name: str, data: bytes) -> dict[str, Any]:
        """Write a file that the job leaves behind, and describe it."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        sha256, size = self.store.write_durable(path, data)
        return {"name": name, "path": str(path), "sha256": sha256, "size": size}

    def metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of the epoch whose weights are kept; those of the last one beside them where that is another."""
        stopping = self.job.training.early_stopping
        if stopping is None or not stopping.restore_best_weights or self.best_epoch is None:
            return {"metrics": self.last}
        return {"metrics": self.best} | ({"last_metrics": self.last} if self.best_epoch < self.epochs else {})

    def beside(self) -> dict[str, Any]:
        """What stands beside the scores: the confusion of classes, or the scores of a forecast that learns nothing."""
        card = self.dataset.card
        if self.test is None:
            return {}
        if self.job.task == "classification" and card.classes is not None:
            counted: list[np.ndarray[Any, Any]] = []
            classes = card.classes
            evaluate(self.plan, self.test, [], lambda y, t: counted.append(confusion(y, t, classes)))
            return {"report": report_of(np.sum(counted, axis=0), classes)}
        if self.job.task in ("regression", "forecasting"):
            pipeline, part, made = self.dataset.pipeline, self.dataset.test, outputs_of(self.plan, self.test)
            ahead = self.job.task == "forecasting"
            found = values_beside(card, pipeline, part, made, self.names, ahead)
            return found | (foreseen(card, pipeline, part, made) if ahead else {})
        if self.job.task == "language_model":
            return {"report": symbol_report(evaluate(self.plan, self.test, ["perplexity"])["perplexity"])}
        return {}

    def score(self, part: Part) -> dict[str, float]:
        """Loss and metrics of a part; empty for a part without rows."""
        rows = self.rows_or_none(part)
        return {} if rows is None else evaluate(self.plan, rows, self.names)

    @cached_property
    def test(self) -> Rows | None:
        """The test part on the device."""
        return self.rows_or_none(self.dataset.test)

    def about(self) -> dict[str, Any]:
        """What travels with the weights: the network, the preprocessing, and what the outputs mean."""
        card = self.dataset.card
        return {
            "schema": "trainyard-model/v1",
            "task": self.job.task,
            "network": self.job.network.model_dump(mode="json"),
            "input_shape": list(card.input_shape),
            "input_dtype": card.input_dtype,
            "preprocessing": self.dataset.pipeline.to_json(),
            "classes": None if card.classes is None else list(card.classes),
            "target_names": list(card.target_names),
            "features": None if card.features is None else list(card.features),
            "dataset": card.name,
        }

    def rows(self, part: Part) -> Rows:
        """A part on the device, its targets as the loss takes them, its inputs under the noise that the spec names."""
        targets = self.targets(part)
        if self.noise is None:
            return Rows(self.plan.feed(part.x, targets), targets)
        targets = np.array(targets)
        feed, name = self.plan.feed(part.x, targets), self.part_name(part)
        loud = bool(getattr(self.dataset.pipeline.encoder, "equal_loudness", False))
        place = Place(self.plan.backend, feed, targets, name, self.job.training.seed, loud)
        renew = self.noise.over(place)
        renew(0)
        return Rows(feed, targets, renew if name == "train" else None)

    def part_name(self, part: Part) -> str:
        """Which part this is."""
        return next(name for name in PARTS if getattr(self.dataset, name) is part)

    def targets(self, part: Part) -> np.ndarray[Any, Any]:
        """What the outputs are compared with: the rows themselves for an auto-encoder."""
        output = self.preflight.network.output
        if self.job.task == "autoencoder":
            return part.x.reshape(len(part), *output.shape[1:])
        if self.job.task == "language_model":
            return part.y
        classes = len(self.dataset.card.classes) if self.dataset.card.classes is not None else None
        return datasets.targets_for(self.job.training.loss.type, part.y, classes, output.features)

    def rows_or_none(self, part: Part) -> Rows | None:
        """The same, or None where the part is empty."""
        return self.rows(part) if len(part) else None


def _group(arrays: dict[str, np.ndarray[Any, Any]], prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
