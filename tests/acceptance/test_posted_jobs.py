"""The whole line: a job posted over HTTP is trained by a worker and comes back as a model."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.client import Client
from api.serve import Stack
from api.wire import Refused
from services import datasets
from services.errors import DataError
from services.export.safetensors import digest, unpack
from services.settings import get_settings

pytestmark = pytest.mark.acceptance
EXAMPLES = sorted(Path("examples").glob("*.yaml"))
FINISHED = ("succeeded", "failed", "cancelled")
LARGE = {
    "mnist": 0.02, "fashion_mnist": 0.02, "cifar10_part": 0.05, "tiny_shakespeare": 0.02, "vlissingen_tide": 0.003,
    "movie_reviews": 0.05, "spoken_digits": 0.1, "etth1": 0.05,
}  # fmt: skip


def example(name: str, **training: Any) -> dict[str, Any]:
    """An example's spec with values of its training section changed."""
    spec: dict[str, Any] = yaml.safe_load(Path(f"examples/{name}.yaml").read_text())
    spec["training"] |= training
    return spec


def until(look: Callable[[], Any], seconds: float = 90.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.1)
    return found


def finished(client: Client, id: str) -> Any:
    """The job, once it is over."""
    return until(lambda: job if (job := client.get(id)).state in FINISHED else None)


def trainers(stack: Stack) -> list[int]:
    """Process ids of this stack's trainers: forks of a zygote look like it and are its children."""
    found: dict[int, tuple[int, bytes]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(folder.name)] = (parent, (folder / "cmdline").read_bytes())
        except OSError:
            continue
    ours = {child.pid for child in stack.children}
    while below := {pid for pid, (parent, _) in found.items() if parent in ours} - ours:
        ours |= below
    zygotes = {pid for pid, (_, line) in found.items() if b"workers.zygote" in line and pid in ours}
    return [pid for pid in zygotes if found[pid][0] in zygotes]


@pytest.mark.timeout(300)
def test_a_posted_network_learns_digits_and_answers(client: Client, tmp_path: Path) -> None:
    posted = client.submit(example("digits_cnn", epochs=12))
    events = list(client.events(posted.id))
    job = client.get(posted.id)

    assert [e.data["state"] for e in events if e.kind == "state"] == ["queued", "running", "succeeded"]
    assert (job.state, job.reason, job.attempt) == ("succeeded", "completed", 1)
    assert job.result is not None
    assert job.result["test"]["accuracy"] >= 0.95
    assert job.result["baseline"]["trivial"]["score"] < 0.2 < job.result["baseline"]["best"]["score"]

    raw = datasets.load("digits")
    said = client.predict(posted.id, raw.test.x[:50].tolist())["predictions"]
    hits = sum(row["class"] == str(y) for row, y in zip(said, raw.test.y[:50], strict=True))
    assert hits >= 45

    weights, about = unpack(client.export(posted.id, tmp_path / "model.safetensors"))
    assert digest(weights) == job.result["weights_sha256"]
    assert about["classes"] == [str(k) for k in range(10)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.timeout(300)
def test_every_example_runs_in_a_short_form(path: Path, client: Client) -> None:
    spec = example(path.stem)
    if spec["task"] == "reinforcement":
        spec["training"]["total_timesteps"] = 2000
        job = finished(client, client.submit(spec | {"baseline": False}).id)
        assert job.state == "succeeded", job.message
        assert {file.name for file in job.artifacts} == {"model.safetensors", "episode.gif"}
        return
    spec["training"]["epochs"] = 1
    try:
        datasets.load(spec["dataset"]["name"], datasets_dir=get_settings().datasets_dir)
    except DataError as error:
        pytest.skip(f"its data cannot be had here: {error.message}")
    spec |= {"baseline": False}
    if spec["dataset"]["name"] in LARGE:
        spec["dataset"]["train_fraction"] = LARGE[spec["dataset"]["name"]]
    job = finished(client, client.submit(spec).id)
    assert job.state == "succeeded", job.message
    assert client.metrics(job.id)


@pytest.mark.timeout(300)
def test_a_killed_trainer_is_replaced_and_ends_with_the_same_weights(client: Client, stack: Stack) -> None:
    spec = example("iris_mlp", epochs=12_000, batch_size=4)
    spec["training"].pop("early_stopping", None)
    spec |= {"baseline": False, "reliability": {"checkpoint_every": 1}}
    before = set(trainers(stack))
    victim = client.submit(spec).id
    pid = until(lambda: next(iter(set(trainers(stack)) - before), None))
    until(lambda: client.get(victim).checkpoint_step)
    os.kill(pid, signal.SIGKILL)
    job = finished(client, victim)
    untouched = finished(client, client.submit(spec).id)
    assert (job.state, job.attempt, untouched.attempt) == ("succeeded", 2, 1)
    assert job.result["weights_sha256"] == untouched.result["weights_sha256"]
    rows = {
        id: {(p.step, p.name): p.value for p in client.metrics(id, names=["loss"])} for id in (victim, untouched.id)
    }
    assert rows[victim] == rows[untouched.id]


@pytest.mark.timeout(120)
def test_stop_keeps_the_model_and_cancel_discards_it(client: Client) -> None:
    spec = example("iris_mlp", epochs=100_000, batch_size=1) | {"baseline": False}
    spec["training"].pop("early_stopping", None)
    stopped = client.submit(spec).id
    until(lambda: client.get(stopped).step > 0)
    client.stop(stopped)
    job = finished(client, stopped)
    assert (job.state, job.reason) == ("succeeded", "stopped_by_user")
    assert client.predict(stopped, [[5.1, 3.5, 1.4, 0.2]])["predictions"]

    cancelled = client.submit(spec).id
    until(lambda: client.get(cancelled).step > 0)
    client.cancel(cancelled)
    job = finished(client, cancelled)
    assert (job.state, job.reason) == ("cancelled", "cancelled_by_user")
    with pytest.raises(Refused) as caught:
        client.predict(cancelled, [[5.1, 3.5, 1.4, 0.2]])
    assert caught.value.problem.status == 409
    client.delete(cancelled)
    with pytest.raises(Refused) as caught:
        client.get(cancelled)
    assert caught.value.problem.status == 404


@pytest.mark.timeout(120)
def test_a_job_that_diverges_fails_with_the_reason_and_advice(client: Client) -> None:
    spec = example("diabetes_linear", optimizer={"type": "sgd", "learning_rate": 1e6}, epochs=200) | {"baseline": False}
    job = finished(client, client.submit(spec).id)
    assert (job.state, job.reason) == ("failed", "diverged")
    assert "learning rate" in job.message


def test_a_network_that_does_not_fit_is_refused_before_it_is_stored(client: Client) -> None:
    spec = example("digits_cnn")
    spec["network"]["layers"] = [layer for layer in spec["network"]["layers"] if layer["type"] != "flatten"]
    with pytest.raises(Refused) as caught:
        client.validate(spec)
    problem = caught.value.problem
    assert problem.status == 422
    assert any("flatten" in (error.hint or "") for error in problem.errors)


@pytest.mark.timeout(120)
def test_a_replay_is_identical_and_a_retry_goes_on_from_a_cancelled_job(client: Client, stack: Stack) -> None:
    first = finished(client, client.submit(example("iris_mlp")).id)
    again = finished(client, client.replay(first.id).id).result["replay"]
    assert (again["verdict"], again["unequal"], again["differs"]) == ("identical", 0, {})
    assert again["weights"]["equal"]
    receipt = client.receipt(first.id)
    assert receipt.weights_sha256 == first.result["weights_sha256"]
    assert receipt.data.sha256 == first.result["dataset_sha256"]

    endless = example("iris_mlp", epochs=100_000, batch_size=1) | {"baseline": False}
    endless["training"].pop("early_stopping", None)
    endless["reliability"] = {"checkpoint_every": 1}
    cancelled = client.submit(endless).id
    until(lambda: client.get(cancelled).checkpoint_step)
    client.cancel(cancelled)
    parent = finished(client, cancelled)
    child = client.retry(cancelled, {"training": {"epochs": parent.epoch + 2}})
    assert child.checkpoint_step == parent.checkpoint_step
    job = finished(client, child.id)
    assert (job.state, job.parent_id, job.origin) == ("succeeded", cancelled, "retry")
    assert job.result["epochs"] == parent.epoch + 2
    stepped = [p.step for p in client.metrics(child.id, names=["batch_loss"])]
    assert stepped == sorted(set(stepped))
    assert stepped[0] <= parent.checkpoint_step < stepped[-1]
