"""Workers killed and frozen at random moments: nothing is lost, nothing is repeated, results are bit-equal.

Real processes hold the leases; what they train is a toy, so that seventy blows take seconds. `tests/chaos` does the
same to the whole stack.
"""

import contextlib
import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from services.artifacts import ArtifactStore
from services.errors import LeaseLost, TrainyardError
from services.jobs import Artifact, Checkpoint, Event, JobState, JobStore, Progress
from services.lease import Lease
from services.sql.engine import open_engine
from tests.chaos.unfenced import take_the_fence_away

JOBS, STEPS, EVERY, WORKERS = 5, 30, 3, 3
KILLS, FREEZES = 60, 10
MOST_ATTEMPTS = 12
"""A job that has been tried so often is left alone: the twentieth attempt would be its last."""


def _loss(job: str, step: int) -> float:
    """A value that only the right step of the right job has."""
    return int.from_bytes(hashlib.sha256(f"{job}/{step}".encode()).digest()[:6]) / 2**48


def _train(lease: Lease, files: ArtifactStore) -> None:
    """Fold the losses into a digest, step by step, with a checkpoint now and then; resumes where the last one was."""
    job, step, state, fresh = lease.job, 0, b"", []
    if lease.resume_from is not None:
        saved = Artifact("c", lease.resume_from.path, lease.resume_from.sha256, lease.resume_from.size)
        assert files.verify(saved)
        with files.open(saved) as file:
            step, state = lease.resume_from.step, file.read()
    while step < STEPS:
        step += 1
        state = hashlib.sha256(state + str(_loss(job.id, step)).encode()).digest()
        fresh.append((step, "loss", _loss(job.id, step)))
        lease.record([("metric", {"step": step, "values": {"loss": fresh[-1][2]}})], Progress(step, STEPS))
        time.sleep(0.004)
        if step % EVERY == 0:
            saved = files.publish("t", job.id, lease.attempt, f"c{step}", state)
            lease.checkpoint(Checkpoint(step, saved.path, saved.sha256, saved.size), fresh)
            fresh = []
    model = files.publish("t", job.id, lease.attempt, "model", state)
    lease.succeed("completed", {"digest": state.hex()}, [model], fresh, store=files)


def _work(url: str, folder: Path, fenced: bool) -> None:
    """A worker process: claims and trains until somebody kills it."""
    if not fenced:
        take_the_fence_away()
    engine, files = open_engine(url), ArtifactStore(folder)
    while True:
        lease = Lease.claim(engine, f"pid {os.getpid()}", {"cpu"})
        if lease is None:
            time.sleep(0.02)
            continue
        try:
            _train(lease, files)
        except LeaseLost:
            (folder / f"refused-{os.getpid()}-{lease.attempt}-{lease.job.id}").touch()
        except (TrainyardError, DBAPIError):
            # Without the fence, the database's own rules are in the way of some writes.
            assert not fenced


def _thaw(process: int) -> None:
    """Let a frozen process go on, if it still exists: a handle is never given to another one."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGCONT)
    os.close(process)


class _Fleet:
    """Worker processes that die at random moments, and a reaper that notices."""

    def __init__(self, url: str, folder: Path, fenced: bool = True) -> None:
        self.task = (url, folder, fenced)
        self.workers = [self.start() for _ in range(WORKERS)]
        self.seen: dict[tuple[str, int, int], float] = {}
        self.timers: list[threading.Timer] = []

    def start(self) -> Any:
        """One more worker process."""
        process = multiprocessing.get_context("fork").Process(target=_work, args=self.task, daemon=True)
        process.start()
        return process

    def hurt(self, dice: random.Random, what: str) -> None:
        """Kill one worker, or freeze it until long after it has been given up."""
        n = dice.randrange(WORKERS)
        victim = self.workers[n]
        if what == "freeze":
            os.kill(victim.pid, signal.SIGSTOP)
            self.timers.append(threading.Timer(0.8, _thaw, (os.pidfd_open(victim.pid),)))
            self.timers[-1].start()
        else:
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            self.workers[n] = self.start()

    def reap(self, store: JobStore, silent: float = 0.4) -> None:
        """Take jobs whose counter has not moved on our own clock."""
        now = time.monotonic()
        self.seen = {
            (pulse.job, pulse.attempt, pulse.beats): self.seen.get((pulse.job, pulse.attempt, pulse.beats), now)
            for pulse in store.pulses()
        }
        for (job, attempt, beats), since in self.seen.items():
            if now - since > silent:
                store.reap(job, attempt, beats, delay=0)

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
            worker.join()
        for timer in self.timers:
            timer.join()


@pytest.mark.timeout(240)
def test_workers_that_are_killed_and_frozen_lose_nothing_and_repeat_nothing(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    store, folder, dice = JobStore(sqlite_engine), tmp_path / "artifacts", random.Random(7)
    ids = [store.submit("t", {}, {})[0].id for _ in range(JOBS)]
    sqlite_engine.dispose()
    folder.mkdir()
    fleet = _Fleet(str(sqlite_engine.url), folder)
    try:
        _suffer(fleet, store, ids, dice)
    finally:
        fleet.stop()
    assert list(folder.glob("refused-*")), "no stale write was refused: the test is blind"
    for id in ids:
        _check_survivor(store, id, folder)


def _suffer(fleet: _Fleet, store: JobStore, ids: list[str], dice: random.Random) -> None:
    """Deal all blows, and more freezes until a stale holder was refused; then let the fleet finish."""
    folder, end = fleet.task[1], time.monotonic() + 100
    blows = ["kill"] * KILLS + ["freeze"] * FREEZES
    dice.shuffle(blows)
    while time.monotonic() < end:
        enough = not blows and any(folder.glob("refused-*"))
        ended = all(store.get("t", id).terminal for id in ids)
        if enough and ended:
            return
        if ended:
            ids.extend(store.submit("t", {}, {})[0].id for _ in range(WORKERS))
        if not enough and all(pulse.attempt < MOST_ATTEMPTS for pulse in store.pulses()):
            fleet.hurt(dice, blows.pop() if blows else "freeze")
        fleet.reap(store)
        time.sleep(dice.uniform(0.02, 0.15))


@pytest.mark.timeout(240)
def test_without_the_fence_the_same_harness_finds_stale_writes(sqlite_engine: Engine, tmp_path: Path) -> None:
    store, folder, dice = JobStore(sqlite_engine), tmp_path / "artifacts", random.Random(7)
    ids = [store.submit("t", {}, {})[0].id for _ in range(JOBS)]
    sqlite_engine.dispose()
    folder.mkdir()
    fleet, end = _Fleet(str(sqlite_engine.url), folder, fenced=False), time.monotonic() + 60
    try:
        while not any(_stale(store, id) for id in ids) and time.monotonic() < end:
            fleet.hurt(dice, "freeze")
            for _ in range(10):
                fleet.reap(store)
                time.sleep(0.1)
            if all(store.get("t", id).terminal for id in ids):
                ids.extend(store.submit("t", {}, {})[0].id for _ in range(WORKERS))
    finally:
        fleet.stop()
    assert any(_stale(store, id) for id in ids), "no stale write was accepted: the harness is blind"


def _stale(store: JobStore, id: str) -> list[Event]:
    """What an attempt has written after it had been ended."""
    found, ended = [], 0
    for event in store.events("t", id, limit=10_000):
        if event.kind != "state" and event.attempt <= ended:
            found.append(event)
        elif event.kind == "state" and event.data["state"] != JobState.RUNNING:
            ended = event.attempt
    return found


def _check_survivor(store: JobStore, id: str, folder: Path) -> None:
    """The job ended once, with every metric once, and with the result of an undisturbed run."""
    state = b""
    for step in range(1, STEPS + 1):
        state = hashlib.sha256(state + str(_loss(id, step)).encode()).digest()
    job, history = store.get("t", id), store.events("t", id, limit=10_000)
    assert not _stale(store, id)
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"digest": state.hex()})
    assert [event.data["state"] for event in history if event.kind == "state"].count("succeeded") == 1
    points = [(point.step, point.value) for point in store.metrics("t", id)]
    assert points == [(step, _loss(id, step)) for step in range(1, STEPS + 1)]
    assert [attempt.number for attempt in store.attempts("t", id)] == list(range(1, job.attempt + 1))
    assert not [event for event in history if event.kind == "diagnostic"]
    (model,) = store.artifacts("t", id)
    assert ArtifactStore(folder).verify(model)
    assert model.attempt == job.attempt
