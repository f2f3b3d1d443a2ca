"""Training learns what it should, tells what it does, stops when it must, and repeats itself to the last bit."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.backend import CpuBackend
from services import training_job
from services.export.safetensors import unpack
from services.spec import parse_job
from tests.services.jobs_to_post import IRIS, changed

Message = dict[str, Any]


def never() -> bool:
    return False


def messages(
    spec: dict[str, Any], folder: Path, resume: Path | None = None, threads: int = 1, stop: Any = never
) -> Iterator[Message]:
    resolved = parse_job(spec).resolved()
    return training_job.run(resolved, folder, resume, "cpu", threads, Path("unused"), stop)


def trained(spec: dict[str, Any], folder: Path, **options: Any) -> Message:
    """The last message of a whole run, in a folder of its own."""
    folder = folder / uuid.uuid4().hex
    *_, last = messages(spec, folder, **options)
    return last


def series(told: list[Message], name: str) -> list[float]:
    return [m["values"][name] for m in told if m["type"] == "metrics" and name in m["values"]]


def model_of(done: Message) -> dict[str, Any]:
    arrays, _ = unpack(Path(done["artifacts"][0]["path"]))
    return arrays


LOGIC: dict[str, Any] = {
    "task": "classification",
    "dataset": {"name": "logic_and"},
    "network": {"layers": [{"type": "dense", "units": 1, "activation": "step"}]},
    "training": {
        "loss": "perceptron",
        "optimizer": {"type": "sgd", "learning_rate": 1.0},
        "batch_size": 1,
        "epochs": 20,
    },
    "baseline": False,
}


def test_a_perceptron_learns_and(tmp_path: Path) -> None:
    assert trained(LOGIC, tmp_path)["result"]["test"]["accuracy"] == 1.0


def test_a_perceptron_cannot_learn_xor_but_a_sigmoid_network_does(tmp_path: Path) -> None:
    alone = trained(changed(LOGIC, dataset__name="logic_xor", training__epochs=100), tmp_path)
    assert alone["result"]["test"]["accuracy"] < 1.0
    hidden = [
        {"type": "dense", "units": 4, "activation": "sigmoid"},
        {"type": "dense", "units": 1, "activation": "sigmoid"},
    ]
    training = {
        "loss": "binary_crossentropy", "optimizer": {"type": "adam", "learning_rate": 0.1}, "batch_size": "full",
        "epochs": 500, "seed": 1,
    }  # fmt: skip
    spec = changed(LOGIC, dataset__name="logic_xor", network__layers=hidden, training=training)
    assert trained(spec, tmp_path)["result"]["test"]["accuracy"] == 1.0


def test_a_linear_layer_and_squared_error_find_the_least_squares_solution(tmp_path: Path) -> None:
    from services import datasets

    spec = {
        "task": "regression",
        "dataset": {"name": "diabetes", "preprocessing": [{"type": "normalization"}]},
        "network": {"layers": [{"type": "dense", "units": 1}]},
        "training": {
            "loss": "mse", "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9}, "batch_size": "full",
            "epochs": 3000,
        },
        "baseline": False,
    }  # fmt: skip
    weights = model_of(trained(spec, tmp_path))
    data = datasets.load("diabetes", preprocessing=[{"type": "normalization"}])
    x = np.column_stack([data.train.x.astype(np.float64), np.ones(len(data.train))])
    solution, *_ = np.linalg.lstsq(x, data.train.y.astype(np.float64), rcond=None)
    found = np.append(weights["dense/w"].ravel(), weights["dense/b"])
    residual = np.linalg.norm(x @ (found - solution.ravel())) / np.linalg.norm(data.train.y)
    assert residual < 1e-3


def test_the_same_spec_and_seed_give_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    digests = {trained(IRIS, tmp_path, threads=t)["result"]["weights_sha256"] for t in (1, 1, 2)}
    assert len(digests) == 1
    assert trained(changed(IRIS, training__seed=4), tmp_path)["result"]["weights_sha256"] not in digests


@pytest.mark.parametrize("batch_size", [1, 16, "full"])
def test_all_three_descents_learn_iris(batch_size: Any, tmp_path: Path) -> None:
    rates = {1: 0.002, 16: 0.02, "full": 0.05}
    optimizer = {"type": "adam", "learning_rate": rates[batch_size]}
    epochs = 60 if batch_size == "full" else 20
    spec = changed(IRIS, training__batch_size=batch_size, training__optimizer=optimizer, training__epochs=epochs)
    assert trained(spec, tmp_path)["result"]["test"]["accuracy"] >= 0.9


class Interruption(Exception):
    """The process is gone."""


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("after", [1, 7, 23])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    after: int, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.train.WINDOW_FLOPS", (0.0, 1.0))  # one step a window, so that epochs are cut too
    stopping = {"monitor": "val_loss", "patience": 50, "restore_best_weights": True}
    spec = changed(
        IRIS, training__epochs=8, training__optimizer={"type": optimizer, "learning_rate": 0.02},
        training__early_stopping=stopping, reliability={"checkpoint_every": 1},
    )  # fmt: skip
    whole = list(messages(spec, tmp_path / "whole"))

    class Leaving:
        """Asks for a checkpoint at every event, as a worker that is going down does."""

        def __call__(self) -> bool:
            return False

        def checkpoint_wanted(self) -> bool:
            return True

    first: list[Message] = []
    for message in messages(spec, tmp_path / "part", stop=Leaving()):
        first.append(message)
        if sum(m["type"] == "checkpoint" for m in first) == after:
            break
    kept = [row for m in first if m["type"] == "checkpoint" for row in m["metrics"]]
    rest = list(messages(spec, tmp_path / "rest", resume=Path(first[-1]["path"])))
    assert rest[-1]["result"]["weights_sha256"] == whole[-1]["result"]["weights_sha256"]
    assert [list(r) for r in kept + rest[-1]["metrics"]] == [list(r) for r in whole[-1]["metrics"]]


def test_a_rate_far_too_large_stops_with_the_reason_and_advice(tmp_path: Path) -> None:
    spec = {
        "task": "regression",
        "dataset": {"name": "diabetes"},
        "network": {"layers": [{"type": "dense", "units": 1}]},
        "training": {"loss": "mse", "optimizer": {"type": "sgd", "learning_rate": 1e6}, "epochs": 200},
        "baseline": False,
    }
    last = trained(spec, tmp_path)
    assert (last["type"], last["reason"]) == ("failed", "diverged")
    assert "learning rate" in last["message"]


def test_early_stopping_ends_the_run_and_brings_back_the_best_weights(tmp_path: Path) -> None:
    spec = changed(
        IRIS, training__optimizer={"type": "adam", "learning_rate": 0.2}, training__epochs=200,
        training__early_stopping={"monitor": "val_loss", "patience": 4},
    )  # fmt: skip
    told = list(messages(spec, tmp_path))
    losses = series(told, "val_loss")
    result = told[-1]["result"]
    assert told[-1]["reason"] == "early_stopped"
    assert len(losses) < 200
    assert result["best_epoch"] == int(np.argmin(losses)) + 1 == len(losses) - 4
    assert result["validation"]["loss"] == min(losses), "the validation score is that of the weights that are kept"
    # The metrics are those of the weights that are kept, and the last epoch's stand beside them.
    assert result["metrics"]["val_loss"] == min(losses)
    assert result["last_metrics"]["val_loss"] == losses[-1] > min(losses)


def test_without_restored_weights_the_metrics_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    spec = changed(
        IRIS, training__optimizer={"type": "adam", "learning_rate": 0.2}, training__epochs=60,
        training__early_stopping={"monitor": "val_loss", "patience": 4, "restore_best_weights": False},
    )  # fmt: skip
    told = list(messages(spec, tmp_path))
    assert told[-1]["result"]["metrics"]["val_loss"] == series(told, "val_loss")[-1]
    assert "last_metrics" not in told[-1]["result"]


def test_stop_keeps_the_model_of_that_moment(tmp_path: Path) -> None:
    asked = iter([False] * 10 + [True] * 1000)
    last = trained(IRIS, tmp_path, stop=lambda: next(asked))
    assert (last["type"], last["reason"]) == ("done", "stopped_by_user")
    assert model_of(last)["dense/w"].shape == (4, 16)


def test_stop_keeps_the_best_model_so_far_where_the_spec_asks_for_the_best(tmp_path: Path) -> None:
    spec = changed(
        IRIS, training__optimizer={"type": "adam", "learning_rate": 0.2}, training__epochs=200,
        training__early_stopping={"monitor": "val_loss", "patience": 100},
    )  # fmt: skip
    told: list[Message] = []
    for message in messages(spec, tmp_path, stop=(lambda: len(series(told, "val_loss")) >= 40)):
        told.append(message)
    epochs, last = series(told, "val_loss"), told[-1]
    assert last["reason"] == "stopped_by_user"
    best = int(np.argmin(epochs)) + 1
    assert last["result"]["best_epoch"] == best < 40
    assert last["result"]["metrics"]["val_loss"] == min(epochs)
    short = trained(changed(spec, training__epochs=best), tmp_path)
    assert last["result"]["weights_sha256"] == short["result"]["weights_sha256"]


def test_a_run_that_was_lost_after_its_last_step_still_tells_its_last_metrics(tmp_path: Path) -> None:
    class Leaving:
        """Asks for a checkpoint whenever it is asked."""

        def __call__(self) -> bool:
            return False

        def checkpoint_wanted(self) -> bool:
            return True

    told = list(messages(changed(IRIS, training__epochs=3), tmp_path / "a", stop=Leaving()))
    last = [m for m in told if m["type"] == "checkpoint"][-1]
    again = list(messages(changed(IRIS, training__epochs=3), tmp_path / "b", resume=Path(last["path"])))[-1]
    for name in ("metrics", "test", "weights_sha256", "epochs"):
        assert again["result"][name] == told[-1]["result"][name]
    assert again["result"]["train_seconds"] >= round(unpack(Path(last["path"]))[1]["seconds"], 3) > 0


def test_the_reported_losses_are_those_of_the_weights_at_each_step(tmp_path: Path) -> None:
    """With batch descent the first loss is that of the initial weights: ln 3 for three classes and zero weights."""
    layers = [{"type": "dense", "units": 3, "activation": "softmax", "kernel_initializer": "zeros"}]
    told = list(messages(changed(IRIS, network__layers=layers, training__batch_size="full"), tmp_path))
    assert series(told, "batch_loss")[0] == pytest.approx(math.log(3), rel=1e-6)


def test_a_schedule_is_followed_step_by_step(tmp_path: Path) -> None:
    schedule = {"type": "exponential_decay", "decay_steps": 1, "decay_rate": 0.5}
    spec = changed(IRIS, training__learning_rate_schedule=schedule, training__batch_size="full", training__epochs=5)
    told = list(messages(spec, tmp_path))
    assert series(told, "learning_rate") == pytest.approx([0.02 * 0.5**k for k in range(5)], rel=1e-6)


@pytest.mark.parametrize("clip", [{"clipnorm": 0.01}, {"global_clipnorm": 0.01}, {"clipvalue": 0.001}])
def test_clipping_bounds_every_step(clip: dict[str, float], tmp_path: Path) -> None:
    training = {
        "loss": "mse", "optimizer": {"type": "sgd", "learning_rate": 1.0}, "batch_size": "full", "epochs": 1, **clip,
    }  # fmt: skip
    layers = [{"type": "dense", "units": 1, "kernel_initializer": "zeros"}]
    spec = {
        "task": "regression", "dataset": {"name": "diabetes"}, "network": {"layers": layers}, "training": training,
        "baseline": False,
    }  # fmt: skip
    weights = model_of(trained(spec, tmp_path))
    norm = math.sqrt(sum(float(np.square(w).sum()) for w in weights.values()))
    limit = {"clipnorm": 0.01 * math.sqrt(2), "global_clipnorm": 0.01, "clipvalue": 0.001 * math.sqrt(11)}
    assert 0 < norm <= limit[next(iter(clip))] * 1.0001


def test_a_training_step_allocates_nothing(tmp_path: Path) -> None:
    import tracemalloc

    from kernels.registry import optimizers
    from services.plan import Plan, Recipe
    from services.preflight import check

    job = parse_job(IRIS)
    flight = check(job)
    from services.job_spec import LOSSES

    plan = Plan(
        flight.network, CpuBackend(), Recipe(LOSSES.build(job.training.loss), flight.target, optimizers["adam"]())
    )
    plan.initialize(0)
    rows = plan.feed(np.ones((flight.batch, 4), np.float32), np.zeros(flight.batch, np.int32))
    schedule = plan.backend.array(np.full(2000, 0.01, np.float32))
    losses = plan.backend.zeros((1, plan.batch))
    program = plan.training(rows, schedule, losses, plan.backend.zeros((1, *flight.network.output.shape)))
    program.run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(100):
        plan.clock[...] = 0
        program.run()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2048


def test_a_very_long_run_reports_no_more_points_than_anybody_wants_to_see(tmp_path: Path) -> None:
    told = list(messages(changed(LOGIC, training__epochs=5001, training__batch_size="full"), tmp_path))
    losses = series(told, "loss")
    assert 1000 <= len(losses) <= 2001
    assert told[-2]["type"] == "phase"
    assert [m["step"] for m in told if m["type"] == "metrics"][-1] == 5001


def test_a_network_larger_than_the_machine_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    layers = [{"type": "dense", "units": 2**30}, {"type": "dense", "units": 3, "activation": "softmax"}]
    with pytest.raises(training_job.OutOfMemory, match="GB of memory, and this machine has"):
        list(messages(changed(IRIS, network__layers=layers, training__batch_size=4096), tmp_path))
    assert not [*tmp_path.iterdir()]
