"""Frozen trainers and zygotes, outages of the record: a job can be cancelled still, and nobody is reaped in vain."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.errors import StorageFull, Unavailable
from services.jobs import Job, JobState, JobStore, Pulse
from services.lease import Lease
from services.sql.held import stopped
from tests.workers.conftest import environment, until
from tests.workers.test_reaper import Clock, reaper
from tests.workers.test_supervisor import Attend, Submit, attend, hasten, meanwhile
from workers import spawner as spawners
from workers.spawner import Spawner, trainer_environment
from workers.station import Station

__all__ = ["attend"]


@pytest.fixture
def spawner() -> Any:
    """A zygote of this file's own: it is going to be hurt."""
    own = Spawner(
        trainer_environment(environment(), cuda_devices="-1", threads=1),
        engine="tests.workers.engines:run", preload=["hashlib"],
    )  # fmt: skip
    yield own
    own.close()


@pytest.mark.parametrize("who", ["trainer", "zygote"])
def test_a_job_whose_trainer_or_zygote_is_frozen_can_be_cancelled(
    who: str, attend: Attend, submit: Submit, jobs: JobStore, spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawners, "REPORT_SECONDS", 0.3)
    job = submit("train", steps=10**6, pause=0.01, every=10**6)

    def freeze_and_cancel() -> None:
        until(lambda: jobs.get("course", job.id).step > 1, what="progress")
        zygote = spawner.pid
        assert zygote is not None
        [trainer] = [int(pid) for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()]
        victim = trainer if who == "trainer" else zygote
        os.kill(victim, signal.SIGSTOP)
        until(lambda: stopped(victim), 5)
        jobs.request_cancel("course", job.id)

    with meanwhile(freeze_and_cancel):
        assert attend() == JobState.CANCELLED


def test_after_a_frozen_zygote_the_next_job_runs_on_a_new_one(
    attend: Attend, submit: Submit, jobs: JobStore, spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawners, "START_SECONDS", 0.5)
    submit("train", steps=2)
    assert attend() == JobState.SUCCEEDED
    assert spawner.pid is not None
    os.kill(spawner.pid, signal.SIGSTOP)
    submit("train", steps=2)
    assert attend() == JobState.SUCCEEDED


def test_a_checkpoint_that_this_version_cannot_use_is_given_up_for_the_beginning(
    attend: Attend, submit: Submit, jobs: JobStore, database: Engine
) -> None:
    job = submit("refuse_to_resume")
    attend()
    hasten(database)
    assert attend() == JobState.QUEUED
    assert jobs.get("course", job.id).checkpoint_step is None
    assert attend() == JobState.SUCCEEDED
    said = [line.data["text"] for line in jobs.logs("course", job.id)]
    assert any("step 2 cannot be used" in text and "starting from the beginning" in text for text in said)


def test_a_full_disk_sends_the_job_back_uncounted(
    attend: Attend, submit: Submit, jobs: JobStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit("full")
    assert attend() == JobState.QUEUED
    assert "no space" in (jobs.get("course", job.id).message or "")
    hasten(database)

    def full(*_: object) -> Path:
        raise StorageFull

    monkeypatch.setattr("services.artifacts.ArtifactStore.attempt_folder", full)
    assert attend() == JobState.QUEUED
    with database.connect() as connection:
        row = connection.exec_driver_sql("SELECT storage_waits, no_progress, lost FROM jobs").one()
    assert tuple(row) == (2, 0, 0)


@pytest.mark.parametrize("failing", ["pulses", "reap"])
def test_an_outage_of_the_record_makes_nobody_silent(
    jobs: JobStore,
    submit: Callable[..., Job],
    claim: Callable[[], Lease],
    failing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While nobody can write, no counter moves: holders must have their whole time when the record is back."""
    job, clock = submit("train"), Clock()
    lease, watch = claim(), reaper(jobs, clock)
    watch.round()
    with monkeypatch.context() as outage:
        outage.setattr(JobStore, failing, _away)
        for _ in range(10):
            clock.now += 9
            with contextlib.suppress(Unavailable):
                watch.round()
    watch.round()
    clock.now += 9
    lease.beat()
    watch.round()
    assert jobs.get("course", job.id).state == JobState.RUNNING


def _away(*_: object, **__: object) -> list[Pulse]:
    raise Unavailable


def test_a_reaper_that_was_frozen_itself_counts_anew(
    jobs: JobStore, submit: Callable[..., Job], claim: Callable[[], Lease]
) -> None:
    job, clock = submit("train"), Clock()
    claim()
    watch = reaper(jobs, clock)
    watch.round()
    clock.now += 45
    watch.round()
    assert jobs.get("course", job.id).state == JobState.RUNNING
    for _ in range(3):
        clock.now += 15
        watch.round()
    assert jobs.get("course", job.id).state == JobState.QUEUED


def test_a_look_that_fails_once_does_not_end_the_poller() -> None:
    looks: list[int] = []
    station: Any = object.__new__(Station)
    station.draining, station._desk = threading.Event(), threading.Lock()

    def look() -> int:
        looks.append(1)
        if len(looks) == 3:
            station.draining.set()
        raise OSError("once")

    station.work = look
    station._duty = type("Duty", (), {"settings": type("Settings", (), {"poll_seconds": 0.0})})
    station._poll()
    assert len(looks) == 3
