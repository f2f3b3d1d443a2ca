"""A process killed at every named point of writing a checkpoint and of ending a job: the next attempt ends the same."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services import artifacts, training_job
from services.artifacts import ArtifactStore
from services.jobs import Artifact, Checkpoint, JobState, JobStore
from services.lease import Lease
from services.spec import parse_job
from services.sql.engine import migrate, open_engine
from tests.services.test_resume import Leaving, spec_with

TENANT = "t"
SECOND = 2
"""Which pass of a point is the last: the first checkpoint is written, so there is something to go back to."""


def kill_myself() -> None:
    """What a crash of the machine looks like to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def cut(
    function: Callable[..., Any], *, before: bool, at: int = SECOND, only: Callable[..., bool] | None = None
) -> Any:
    """`function`, but for its pass number `at` (of those that `only` counts), which is the end of this process."""
    passes = 0

    def called(*args: Any, **named: Any) -> Any:
        nonlocal passes
        passes += only is None or only(*args)
        if before and passes == at:
            kill_myself()
        answer = function(*args, **named)
        if passes == at:
            kill_myself()
        return answer

    return called


def of_a_checkpoint(path: Path, *_: Any) -> bool:
    """Whether this is about a checkpoint's file."""
    return "checkpoint" in path.name


WRITE = artifacts._write


def half_written(path: Path, chunks: Any) -> Any:
    """Half of the bytes reach the file, then the process ends."""
    path.write_bytes(b"".join(chunks)[:999])
    kill_myself()


def second_half_written() -> Any:
    """The first checkpoint is written wholly, the second one by `half_written`."""
    passes = 0

    def called(path: Path, chunks: Any) -> Any:
        nonlocal passes
        passes += of_a_checkpoint(path)
        return (half_written if passes == SECOND else WRITE)(path, chunks)

    return called


POINTS: dict[str, tuple[Any, str, Any]] = {
    "before the temporary file": (artifacts, "_write", cut(WRITE, before=True, only=of_a_checkpoint)),
    "in the middle of the bytes": (artifacts, "_write", second_half_written()),
    "before the bytes are synced": (artifacts.os, "fsync", cut(os.fsync, before=True, at=3)),
    "after the bytes are synced": (artifacts, "_write", cut(WRITE, before=False, only=of_a_checkpoint)),
    "after the rename": (artifacts, "sync_folder", cut(artifacts.sync_folder, before=True)),
    "after the folder is synced": (artifacts, "sync_folder", cut(artifacts.sync_folder, before=False)),
    "before the checkpoint's row": (Lease, "checkpoint", cut(Lease.checkpoint, before=True)),
    "after the checkpoint's row": (Lease, "checkpoint", cut(Lease.checkpoint, before=False)),
    "before the end is written": (Lease, "succeed", cut(Lease.succeed, before=True, at=1)),
    "after the end is written": (Lease, "succeed", cut(Lease.succeed, before=False, at=1)),
}


def train(lease: Lease, files: ArtifactStore) -> None:
    """What supervisor and trainer do together: train, write down every checkpoint, end the job."""
    folder = files.attempt_folder(TENANT, lease.job.id, lease.attempt)
    resume = None if lease.resume_from is None else files.resolve(lease.resume_from.path)
    for said in training_job.run(dict(lease.job.spec), folder, resume, "cpu", 1, Path("unused"), Leaving()):
        if said["type"] == "checkpoint":
            place = Checkpoint(said["step"], files.relative(said["path"]), said["sha256"], said["size"])
            lease.checkpoint(place, said["metrics"])
        if said["type"] == "done":
            kept = [Artifact(**{**one, "path": files.relative(one["path"])}) for one in said["artifacts"]]
            lease.succeed(said["reason"], said["result"], kept, said["metrics"], store=files)


def attempt(url: str, folder: Path, point: str | None = None) -> None:
    """One attempt in this process, up to a point."""
    if point is not None:
        where, name, replacement = POINTS[point]
        setattr(where, name, replacement)
    engine = open_engine(url)
    lease = Lease.claim(engine, "worker", {"cpu"})
    assert lease is not None
    train(lease, ArtifactStore(folder))
    engine.dispose()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One record for all points."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('points')}/trainyard.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of artifacts for all points."""
    return tmp_path_factory.mktemp("artifacts")


def submit(store: JobStore) -> str:
    """A job of three epochs that makes a checkpoint after every window."""
    spec = spec_with([{"type": "flatten"}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 8}])
    return store.submit(TENANT, parse_job(spec).resolved(), {})[0].id


@pytest.fixture(scope="module")
def whole(database: Engine, folder: Path) -> str:
    """The uninterrupted job; its kernels are compiled for all others."""
    id = submit(JobStore(database))
    attempt(str(database.url), folder)
    database.dispose()
    return id


def outcome(store: JobStore, id: str) -> tuple[Any, ...]:
    """What must not depend on the cut."""
    job = store.get(TENANT, id)
    assert job.result is not None
    rows = [(point.step, point.name, point.value) for point in store.metrics(TENANT, id)]
    files = [(one.name, one.sha256, one.size) for one in store.artifacts(TENANT, id)]
    return job.state, job.result["weights_sha256"], job.result["test"], rows, files


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_this_point_changes_nothing(point: str, database: Engine, folder: Path, whole: str) -> None:
    store, files = JobStore(database), ArtifactStore(folder)
    id = submit(store)
    database.dispose()
    process = multiprocessing.get_context("fork").Process(target=partial(attempt, str(database.url), folder, point))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "the point was never reached"
    if point != "after the end is written":
        [pulse] = [pulse for pulse in store.pulses() if pulse.job == id]
        assert store.reap(id, pulse.attempt, pulse.beats, delay=0) == JobState.QUEUED
        lease = Lease.claim(database, "worker", {"cpu"})
        assert lease is not None
        if lease.resume_from is not None:
            saved = lease.resume_from
            assert files.verify(Artifact("checkpoint", saved.path, saved.sha256, saved.size))
        train(lease, files)
    assert outcome(store, id) == outcome(store, whole)
    assert all(files.verify(one) for one in store.artifacts(TENANT, id))
    with contextlib.suppress(ValueError):
        process.close()
