"""A full disk is nobody's fault: the job waits, its tries are not counted against it, and only for so long."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.artifacts import ArtifactStore
from services.errors import StorageFull
from services.jobs import Checkpoint, JobState, JobStore, Reason
from services.keeping import PUT_OFF, WAITING, CheckpointUnreadable, readable, unless_full, when_there_is_space
from services.lease import Lease
from services.sql import transitions
from services.sql.types import utc_now


def claimed(engine: Engine) -> Lease:
    lease = Lease.claim(engine, "w", {"cpu"})
    assert lease is not None
    return lease


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was sent back is due at once."""
    monkeypatch.setattr(transitions, "backoff", lambda _failures: 0.0)


def test_it_waits_at_most_half_a_minute_between_its_tries(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    waits = []
    for _ in range(4):
        lease = Lease.claim(engine, "w", {"cpu"}) or _due_now(engine, job.id)
        assert lease.await_space("the disk is full") is JobState.QUEUED
        waits.append((store.get("t", job.id).not_before - utc_now()).total_seconds())
    assert [round(wait, -1) for wait in waits] == [10, 20, 30, 30]
    assert store.get("t", job.id).message == "the disk is full"


def _due_now(engine: Engine, id: str) -> Lease:
    from sqlalchemy import update

    from services.sql.engine import writing
    from services.sql.schema import jobs

    with writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(not_before=utc_now()))
    return claimed(engine)


@pytest.mark.usefixtures("no_waiting")
def test_waits_are_not_held_against_the_job(store: JobStore, engine: Engine) -> None:
    job, _ = store.submit("t", {}, {})
    for _ in range(transitions.ATTEMPT_LIMIT + 5):
        claimed(engine).await_space("the disk is full")
    assert claimed(engine).requeue("exit -9", True) is JobState.QUEUED
    assert claimed(engine).requeue("exit -9", True) is JobState.QUEUED
    assert claimed(engine).requeue("exit -9", True) is JobState.FAILED
    assert store.get("t", job.id).reason is Reason.POISON


@pytest.mark.usefixtures("no_waiting")
def test_after_so_many_waits_it_fails_with_the_reason(
    store: JobStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "STORAGE_LIMIT", 4)
    job, _ = store.submit("t", {}, {})
    states = [claimed(engine).await_space("the disk is full") for _ in range(4)]
    assert states == [JobState.QUEUED] * 3 + [JobState.FAILED]
    failed = store.get("t", job.id)
    assert (failed.reason, failed.message) == (Reason.STORAGE_FULL, "Gave up after attempt 4: the disk is full")


@pytest.mark.usefixtures("no_waiting")
def test_it_goes_on_from_its_last_checkpoint(store: JobStore, engine: Engine) -> None:
    store.submit("t", {}, {})
    lease = claimed(engine)
    place = Checkpoint(5, "t/j/a1/checkpoint-5", "0" * 64, 1)
    lease.checkpoint(place, [(5, "loss", 0.5)])
    lease.await_space("the disk is full")
    assert claimed(engine).resume_from == place


class Disk:
    """A disk that is full for so many writes."""

    def __init__(self, full: int) -> None:
        self.full, self.tries = full, 0

    def write(self) -> dict[str, Any]:
        self.tries += 1
        if self.tries <= self.full:
            raise StorageFull
        return {"type": "checkpoint"}


def _to_the_end(waiting: Iterator[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in waiting]


def test_a_checkpoint_is_put_off_and_says_so() -> None:
    disk = Disk(1)
    assert unless_full(disk.write) == {"type": "log", "level": "warning", "text": PUT_OFF}
    assert unless_full(disk.write) == {"type": "checkpoint"}


def test_a_model_waits_for_space_and_says_so_once() -> None:
    disk = Disk(3)
    assert _to_the_end(when_there_is_space(disk.write, 60, 0)) == [WAITING]
    assert disk.tries == 4


def test_a_model_does_not_wait_for_ever() -> None:
    with pytest.raises(StorageFull):
        _to_the_end(when_there_is_space(Disk(10**9).write, 0.05, 0.01))


def test_what_cannot_be_read_is_the_checkpoints_fault_but_a_lack_of_memory_is_not() -> None:
    with pytest.raises(CheckpointUnreadable, match="no such array"), readable():
        raise KeyError("no such array")
    with pytest.raises(MemoryError), readable():
        raise MemoryError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_folder_for_which_there_is_no_space_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(number, "no space")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(StorageFull):
        ArtifactStore(tmp_path).attempt_folder("t", "j", 1)
