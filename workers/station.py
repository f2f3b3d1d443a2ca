"""One pool process: claims jobs and supervises them one after the other, woken by a bell or by its own clock.

Three threads share it: Celery's (a bell), the poller's (jobs start even when no bell ever arrives) and the presence's
(the fleet sees this process; the drain signal is heard). Whoever has the desk works; the others wait or go.
"""

import contextlib
import fcntl
import logging
import os
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from services.artifacts import ArtifactStore
from services.errors import LeaseLost
from services.fleet import Fleet, Worker
from services.lease import Lease
from services.receipt import environment
from services.settings import Settings
from services.sql.engine import open_engine
from services.sql.turn import Room
from workers import gpu
from workers.doorbell import ring
from workers.ledger import OUTAGE, Pace
from workers.memory import allowance
from workers.spawner import Spawner, ZygoteLost, trainer_environment
from workers.supervisor import supervise
from workers.trainer import ENGINE

log = logging.getLogger(__name__)

_BEATS_PER_LOOK: Final = 6


@final
@dataclass(frozen=True)
class Duty:
    """What every pool process of a worker must know; `drain` is a pipe that closes when the worker goes down."""

    settings: Settings
    choice: gpu.Choice
    worker: str
    threads: int
    busy_file: Path
    drain: int
    pace: Pace
    engine: str = ENGINE
    preload: Sequence[str] | None = None


@final
class Station:
    """The pool process at work."""

    def __init__(self, duty: Duty, *, ringing: Callable[[str, str], bool] = ring) -> None:
        """Prepare; nothing runs before `open`."""
        settings = duty.settings
        self.id = f"{duty.worker}/{os.getpid()}"
        self.draining = threading.Event()
        self._duty, self._ring, self._desk = duty, ringing, threading.Lock()
        self._engine = open_engine(settings.database)
        self._fleet, self._store = Fleet(self._engine), ArtifactStore(settings.artifacts_dir)
        variables = trainer_environment(os.environ, cuda_devices=duty.choice.cuda_devices, threads=duty.threads)
        self._spawner = Spawner(variables, engine=duty.engine, preload=duty.preload)
        self._job: str | None = None
        self._environment = environment(duty.choice.device.name, duty.threads)

    def open(self) -> None:
        """Warm up the zygote and start the threads."""
        self._spawner.start()
        for work in (self._be_present, self._poll):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def answer(self, job_id: str) -> None:
        """A bell: work until the queue holds nothing for this device. Returns when this process is idle again."""
        if not self._desk.acquire(blocking=False):
            # Busy with a job that the poller found. Somebody idle should hear this bell; and because this call
            # lasts until the desk is free, Celery sends no further bell here meanwhile.
            self._ring(job_id, self._duty.choice.device.kind)
            self._desk.acquire()
        try:
            self.work()
        finally:
            self._desk.release()

    def work(self) -> int:
        """Claim and supervise until nothing fits; returns how many attempts were made."""
        done = 0
        while self._one():
            done += 1
        return done

    def _one(self) -> bool:
        if self._going_down() or not self._ready():
            return False
        # First busy, then a look at the pipe: the main process closes the pipe first, then looks who is busy.
        with self._busy():
            lease = None if self._going_down() else self._claim()
            if lease is not None:
                self._hold(lease)
        return lease is not None

    def close(self) -> None:
        """Say goodbye."""
        self.draining.set()
        self._spawner.close()
        self._leave()
        self._engine.dispose()

    def _going_down(self) -> bool:
        if select.select([self._duty.drain], [], [], 0)[0]:
            self.draining.set()
        return self.draining.is_set()

    def _ready(self) -> bool:
        try:
            self._spawner.wait_ready()
        except ZygoteLost:
            log.exception("this worker cannot train and takes no jobs")
            return False
        return True

    def _claim(self) -> Lease | None:
        most, choice = self._duty.settings.max_running_per_key, self._duty.choice
        room = Room(socket.gethostname(), choice.device.memory_total, gpu.free_memory(choice))
        try:
            return Lease.claim(
                self._engine, self.id, choice.takes, max_running=most, room=room, environment=self._environment
            )
        except OUTAGE as error:
            log.warning("the record does not answer: %s", error)
            return None

    def _hold(self, lease: Lease) -> None:
        about = {"job": lease.job.id, "attempt": lease.attempt}
        log.info("job %s attempt %d starts", lease.job.id, lease.attempt, extra=about)
        self._show(lease.job.id)
        try:
            outcome = self._supervise(lease)
        except Exception:
            log.exception("the supervisor failed", extra=about)
            outcome = self._give_back(lease)
        finally:
            self._show(None)
        log.info("job %s attempt %d ends: %s", lease.job.id, lease.attempt, outcome, extra=about)

    def _supervise(self, lease: Lease) -> str:
        duty = self._duty
        need = lease.job.memory_gpu if duty.choice.device.kind == "gpu" else lease.job.memory_cpu
        return supervise(
            lease,
            self._spawner,
            self._store,
            device=duty.choice.trainer_device,
            threads=duty.threads,
            datasets_dir=duty.settings.datasets_dir,
            draining=self.draining.is_set,
            pace=duty.pace,
            memory=allowance(need, lease.spare),
        )

    def _give_back(self, lease: Lease) -> str:
        try:
            return lease.requeue("The supervisor failed.", True)
        except (LeaseLost, *OUTAGE):
            return "lost"

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Hold the worker's file as long as a job runs: the main process waits for it when it drains."""
        with self._duty.busy_file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield

    def _poll(self) -> None:
        wait = 0.0
        while not self.draining.wait(wait):
            if self._desk.acquire(blocking=False):
                try:
                    self.work()
                except Exception:
                    # Jobs must start without any bell, so this thread outlives whatever goes wrong once.
                    log.exception("looking for work failed")
                finally:
                    self._desk.release()
            wait = self._duty.settings.poll_seconds * random.uniform(0.8, 1.0)
        # A zygote dies with the thread that started it, so this one outlives the job that may still run on it.
        with self._desk:
            pass

    def _be_present(self) -> None:
        beats, known = 0, False
        while not self.draining.is_set():
            # A GPU is asked through a process of its own, which costs something.
            look = self._duty.choice.device.kind == "cpu" or beats % _BEATS_PER_LOOK == 0
            free = gpu.free_memory(self._duty.choice) if look else None
            with contextlib.suppress(*OUTAGE):
                known = known and self._fleet.seen(self.id, current_job=self._job, memory_free=free)
                if not known:
                    self._register()
                    known = True
            beats += 1
            if select.select([self._duty.drain], [], [], self._duty.settings.heartbeat_seconds)[0]:
                self.draining.set()
        with contextlib.suppress(*OUTAGE):
            self._fleet.drain(self.id)
        with self._desk:
            self._leave()

    def _show(self, job: str | None) -> None:
        """Let the fleet see at once what this process runs."""
        self._job = job
        with contextlib.suppress(*OUTAGE):
            self._fleet.seen(self.id, current_job=job)

    def _leave(self) -> None:
        with contextlib.suppress(*OUTAGE):
            self._fleet.forget(self.id)

    def _register(self) -> None:
        me = Worker(self.id, socket.gethostname(), os.getpid(), self._duty.choice.device, self._job)
        self._fleet.register(me)


_stations: list[Station] = []


def open_station(duty: Duty) -> None:
    """Make this process a station."""
    station = Station(duty)
    _stations.append(station)
    station.open()


def answer(job_id: str) -> None:
    """Hand a bell to this process's station."""
    for station in _stations:
        station.answer(job_id)


def close_station() -> None:
    """Say goodbye for this process."""
    while _stations:
        _stations.pop().close()
