"""A pool process: who has the desk works, and a bell is never lost at a busy one."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.jobs import Job, JobState, JobStore
from services.settings import Settings
from tests.workers.conftest import ENGINE, QUICK, until
from workers import gpu
from workers.station import Duty, Station


@pytest.fixture
def rung() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def station(tmp_path: Path, jobs: JobStore, rung: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    """A station whose threads are not started: it works when asked."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    busy = tmp_path / "busy"
    busy.touch()
    heard, said = os.pipe()
    settings = Settings(data_dir=tmp_path)
    duty = Duty(settings, gpu.choose("cpu"), "cpu@here", 1, busy, heard, QUICK, ENGINE, ["hashlib"])
    station = Station(duty, ringing=lambda job, kind: rung.append((job, kind)))
    yield station
    station.close()
    os.close(heard)
    os.close(said)


def test_a_bell_works_off_the_whole_queue_whatever_job_it_names(
    station: Station, submit: Callable[..., Job], jobs: JobStore
) -> None:
    waiting = [submit("train", steps=2) for _ in range(3)]
    station.answer("a job that does not exist")
    assert [jobs.get("course", job.id).state for job in waiting] == [JobState.SUCCEEDED] * 3


def test_a_gpu_job_is_left_to_gpu_workers(station: Station, submit: Callable[..., Job], jobs: JobStore) -> None:
    job = submit("train", resources={"device": "gpu"})
    station.answer(job.id)
    assert jobs.get("course", job.id).state == JobState.QUEUED


def test_a_busy_station_passes_the_bell_on_and_counts_as_busy_until_it_is_idle(
    station: Station, submit: Callable[..., Job], jobs: JobStore, rung: list[tuple[str, str]]
) -> None:
    long = submit("train", steps=10_000, pause=0.01)
    polling = threading.Thread(target=lambda: station.answer("poll"))
    polling.start()
    until(lambda: jobs.get("course", long.id).step >= 1)
    answering = threading.Thread(target=lambda: station.answer("bell"))
    answering.start()
    until(lambda: rung == [("bell", "cpu")])
    assert answering.is_alive()
    jobs.request_stop("course", long.id)
    polling.join(20)
    answering.join(20)
    assert not answering.is_alive()


def test_a_draining_station_claims_nothing(station: Station, submit: Callable[..., Job], jobs: JobStore) -> None:
    job = submit("train")
    station.draining.set()
    station.answer(job.id)
    assert jobs.get("course", job.id).state == JobState.QUEUED


def test_a_supervisor_that_fails_gives_the_job_back(
    station: Station, submit: Callable[..., Job], jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Station, "_supervise", broken)
    job = submit("train")
    assert station.work() == 1
    assert jobs.get("course", job.id).state == JobState.QUEUED
