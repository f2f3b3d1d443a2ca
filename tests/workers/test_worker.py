"""A whole worker: Celery, a real broker, pool process, zygote and trainer; and the same without any broker."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.fleet import Fleet
from services.jobs import Job, JobState, JobStore
from services.settings import get_settings
from tests.workers.conftest import ENGINE, ROOT, alive, environment, until
from workers import doorbell

Submit = Callable[..., Job]


@contextmanager
def worker(data_dir: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one pool process; it must leave no process behind."""
    variables = {f"TRAINYARD_{name.upper()}": value for name, value in settings.items()}
    variables |= {"TRAINYARD_DATA_DIR": str(data_dir), "TRAINYARD_HEARTBEAT_SECONDS": "0.5"}
    command = [sys.executable, "-m", "workers.main", "--device", "cpu", "--engine", ENGINE, "--preload", "hashlib"]
    with (data_dir / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(**variables), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        family = session_of(process.pid)
        process.kill()
        process.wait()
        for pid in family:
            until(lambda pid=pid: not alive(pid), 5, f"the end of process {pid}")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(stat[1]), []).append(int(entry.name))
    below = parents.get(pid, [])
    return [one for child in below for one in (child, *descendants(child))]


def session_of(pid: int) -> list[int]:
    """The worker's main process and everything it has started."""
    return [pid, *descendants(pid)]


def state(jobs: JobStore, job: Job) -> str:
    return jobs.get("course", job.id).state


@pytest.fixture
def ringing(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process rings on the test's broker."""
    monkeypatch.setenv("TRAINYARD_REDIS_URL", broker)
    for cached in (get_settings, doorbell.get_app, doorbell._line):
        cached.cache_clear()
    yield broker
    doorbell._hang_up()
    for cached in (get_settings, doorbell.get_app):
        cached.cache_clear()


def test_a_bell_starts_a_job_at_once_and_sigterm_gives_the_running_one_back(
    tmp_path: Path, ringing: str, database: Engine, jobs: JobStore, submit: Submit
) -> None:
    with worker(tmp_path, redis_url=ringing, poll_seconds="300") as process:
        [me] = until(Fleet(database).workers, 60, "the worker's registration")
        assert me.device.kind == "cpu"
        until(lambda: "ready" in (tmp_path / "worker.log").read_text(), 60, "the worker's connection")

        first = submit("train", steps=3)
        began = time.monotonic()
        assert doorbell.ring(first.id)
        until(lambda: state(jobs, first) == JobState.SUCCEEDED, 30, "the first job's success")
        assert time.monotonic() - began < 10

        second = submit("train", steps=10_000, pause=0.02, every=10_000)
        doorbell.ring(second.id)
        until(lambda: jobs.get("course", second.id).step >= 2, 30, "the second job's progress")
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        back = jobs.get("course", second.id)
        assert (back.state, back.attempt) == (JobState.QUEUED, 1)
        assert (back.checkpoint_step or 0) >= 2
        assert Fleet(database).workers() == []


def test_jobs_start_without_any_broker_and_a_killed_supervisor_is_replaced(
    tmp_path: Path, database: Engine, jobs: JobStore, submit: Submit
) -> None:
    waiting = submit("train", steps=3)
    with worker(tmp_path, poll_seconds="0.5", silent_seconds="2") as process:
        until(lambda: state(jobs, waiting) == JobState.SUCCEEDED, 60, "the job's success without a broker")
        running = submit("train", steps=10_000, pause=0.05, every=10_000)
        until(lambda: jobs.get("course", running.id).step > 1, 30, "the job's progress")
        [pool] = [worker.pid for worker in Fleet(database).workers() if worker.current_job == running.id]
        below = descendants(pool)
        assert len(below) == 2, "zygote and trainer"
        os.kill(pool, signal.SIGKILL)
        # The job is reaped when its holder has been silent, and the pool has a new process by then.
        until(lambda: jobs.get("course", running.id).attempt == 1 and state(jobs, running) == JobState.QUEUED, 60)
        until(lambda: not any(map(alive, below)), 10, "the end of zygote and trainer")
        jobs.request_cancel("course", running.id)
        again = submit("train", steps=3)
        until(lambda: state(jobs, again) == JobState.SUCCEEDED, 60, "a job's success on the new pool process")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0


def test_a_cord_that_is_full_of_bells_takes_no_more(ringing: str) -> None:
    before = doorbell._waiting(doorbell.queue_of("gpu"))
    assert doorbell.ring_all([f"job-{k}" for k in range(3)], "gpu")
    assert doorbell._waiting(doorbell.queue_of("gpu")) == before + 3
    assert doorbell.ring_all([f"job-{k}" for k in range(3 * doorbell.FULL)], "gpu")
    assert doorbell._waiting(doorbell.queue_of("gpu")) == doorbell.FULL
    assert doorbell.ring_all(["one-more"], "gpu")
    assert doorbell._waiting(doorbell.queue_of("gpu")) == doorbell.FULL


@pytest.mark.parametrize("host", ["127.0.0.1:1", "203.0.113.1:6379", "no-such-host.invalid:6379", "frozen"])
def test_a_bell_never_raises_and_never_lasts_when_the_broker_is_down_or_frozen(
    ringing: str, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert doorbell.ring("some-job")
    doorbell._hang_up()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}" if host == "frozen" else host
        monkeypatch.setenv("TRAINYARD_REDIS_URL", f"redis://{place}/0")
        get_settings.cache_clear()
        doorbell.get_app.cache_clear()
        for _ in range(2):
            began = time.monotonic()
            assert doorbell.ring("some-job") is False
            assert time.monotonic() - began <= 1.2
        with doorbell._ringing:
            pass
