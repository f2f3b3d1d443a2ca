"""Data sets of one's own through the whole line: sent over a real connection, trained on by a worker, gone again."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from api.client import Client
from api.serve import Stack
from api.wire import Refused
from tests.services.uploads_at_hand import flowers

pytestmark = pytest.mark.acceptance
FINISHED = ("succeeded", "failed", "cancelled")
MEGABYTE = 1_000_000


def until(look: Callable[[], Any], seconds: float = 90.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.05)
    return found


def finished(client: Client, id: str) -> Any:
    """The job, once it is over."""
    return until(lambda: job if (job := client.get(id)).state in FINISHED else None)


def on(upload: str, epochs: int) -> dict[str, Any]:
    """A job that learns a colour from an uploaded table."""
    layers = [
        {"type": "dense", "units": 8, "activation": "tanh"},
        {"type": "dense", "units": 2, "activation": "softmax"},
    ]
    return {
        "task": "classification",
        "dataset": {"upload": upload, "target": "colour", "preprocessing": [{"type": "normalization"}]},
        "network": {"layers": layers},
        "training": {
            "loss": "sparse_categorical_crossentropy",
            "optimizer": {"type": "adam", "learning_rate": 0.01},
            "batch_size": 16,
            "epochs": epochs,
        },
        "baseline": False,
        "reliability": {"checkpoint_every": 1},
    }


def trainer_of(stack: Stack) -> int | None:
    """The process id of the trainer that this stack's worker runs: a fork of a zygote among its descendants."""
    parents, ours = dict[int, int](), {next(child.pid for child in stack.children if child.name == "worker")}
    zygotes = set[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"workers.zygote" in (folder / "cmdline").read_bytes():
                zygotes.add(int(folder.name))
        except OSError:
            continue
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return next((pid for pid in ours & zygotes if parents[pid] in zygotes), None)


def api_of(stack: Stack) -> int:
    """The process id of the stack's API."""
    return next(child.pid for child in stack.children if child.name == "api")


def peak(pid: int) -> int:
    """The most memory that a process has held, in bytes."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def files(stack: Stack) -> list[Path]:
    """Every file of an upload in the stack's data folder, whole or half received."""
    return sorted(stack.children[0].log.parents[1].glob("artifacts/*/uploads/*"))


@pytest.mark.timeout(300)
def test_a_table_is_sent_trained_on_and_the_model_outlives_it(client: Client, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "flowers.csv"
    file.write_bytes(flowers(400))
    upload = client.upload(file, "flowers")
    job = finished(client, client.submit(on("flowers", epochs=60)).id)
    assert job.state == "succeeded", job.message
    assert job.result["test"]["accuracy"] > 0.85
    assert job.spec["dataset"]["upload"] == upload.id

    rows = [{"length": 8.0, "width": 3.0, "ground": "sand"}, {"length": 4.0, "width": None, "ground": "clay"}]
    before = client.predict(job.id, rows)
    assert [one["class"] for one in before["predictions"]] == ["red", "blue"]
    replayed = client.submit(job.spec)
    with pytest.raises(Refused) as caught:
        client.remove_dataset("flowers")
    assert caught.value.problem.status == 409
    again = finished(client, replayed.id)
    assert again.result["weights_sha256"] == job.result["weights_sha256"]

    stored = files(stack)[-1]
    client.remove_dataset("flowers")
    assert not stored.exists()
    assert client.predict(job.id, rows) == before
    with pytest.raises(Refused) as caught:
        client.submit(job.spec)
    assert caught.value.problem.errors[0].path == "dataset.upload"


@pytest.mark.timeout(300)
def test_a_killed_trainer_goes_on_with_the_upload_and_a_damaged_file_is_noticed(
    client: Client, stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "flowers.csv"
    file.write_bytes(flowers(200, seed=3))
    upload = client.upload(file, "killed")
    victim = client.submit(on(upload.id, epochs=100_000)).id
    pid = until(lambda: trainer_of(stack))
    before = until(lambda: client.get(victim).checkpoint_step)
    os.kill(pid, signal.SIGKILL)
    until(lambda: (job := client.get(victim)).attempt == 2 and job.step > before)
    client.stop(victim)
    job = finished(client, victim)
    assert (job.state, job.reason, job.attempt) == ("succeeded", "stopped_by_user", 2)

    files(stack)[-1].write_bytes(flowers(200, seed=4))
    job = finished(client, client.submit(on(upload.id, epochs=1)).id)
    assert (job.state, job.reason) == ("failed", "data_error")
    assert "damaged" in job.message
    client.remove_dataset("killed")


@pytest.mark.timeout(120)
def test_a_hundred_megabytes_stream_in_constant_memory(client: Client, stack: Stack, tmp_path: Path) -> None:
    file, pid, told = tmp_path / "large.npz", api_of(stack), list[int]()
    rows, columns = 2_600, 10_000
    x = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    np.savez(file, x=x, y=np.arange(rows) % 2)
    assert file.stat().st_size > 100 * MEGABYTE
    client.datasets()
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before, began = peak(pid), time.monotonic()
    found = client.upload(file, "large", progress=lambda here, _: told.append(here))
    seconds = time.monotonic() - began
    assert peak(pid) - before < 30 * MEGABYTE
    assert (told[-1], found.size) == (file.stat().st_size, file.stat().st_size)
    assert seconds < 60
    client.remove_dataset("large")


@pytest.mark.timeout(60)
def test_what_is_too_large_is_refused_before_it_has_come(client: Client, stack: Stack, tmp_path: Path) -> None:
    file, told, there = tmp_path / "huge.csv", list[int](), files(stack)
    with file.open("wb") as sparse:
        sparse.truncate(2**31 + 1)
    with pytest.raises(Refused) as caught:
        client.upload(file, "huge", progress=lambda here, _: told.append(here))
    assert (caught.value.problem.status, caught.value.problem.code) == (413, "too_large")
    assert (told or [0])[-1] < 100 * MEGABYTE
    assert files(stack) == there


def test_a_connection_that_breaks_leaves_nothing_behind(client: Client, stack: Stack) -> None:
    url, there = urlsplit(stack.address.url), files(stack)
    head = f"PUT /v1/datasets/broken HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {stack.address.key}\r\n"
    with socket.create_connection((url.hostname, url.port)) as line:
        line.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + b"a,b\n1,2\n" * 1000)
        until(lambda: len(files(stack)) == len(there) + 1, 10)
    until(lambda: files(stack) == there, 10)
    with pytest.raises(Refused) as caught:
        client.dataset("broken")
    assert caught.value.problem.status == 404
