"""One attempt of one job, watched from outside: start the trainer, write down what it says, end it when it must end.

A single loop in one thread, no locks: hear the trainer, write through the fenced lease, look at flags and clocks. The
job changes state only after the trainer is gone. `LeaseLost` means that the job belongs to somebody else by now: the
trainer is killed and nothing more is written.
"""

import logging
import os
import select
import statistics
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from services.amounts import amount
from services.artifacts import ArtifactStore
from services.errors import DataError, Invalid, LeaseLost, NotFound, StorageFull, TrainyardError
from services.jobs import Artifact, Checkpoint, JobState, Reason
from services.lease import Lease
from services.uploads.folder import UploadFolder
from services.uploads.library import for_trainer
from services.uploads.store import UploadStore
from workers.ledger import Ledger, Pace, insist
from workers.memory import Watch
from workers.protocol import (
    EXIT_DEVICE_LOST,
    EXIT_UNREADABLE,
    CheckpointWritten,
    Data,
    Diagnostic,
    Done,
    Failed,
    Lines,
    Log,
    Message,
    Metrics,
    Phase,
    Progress,
    ProtocolError,
    parse,
)
from workers.shortage import Shortage
from workers.spawner import Spawner, TrainerProcess

log = logging.getLogger(__name__)

Ending: TypeAlias = Callable[[], str]
CHUNK: Final = 65_536
TICK: Final = 0.2
REST_SECONDS: Final = 5.0


@final
class Progressing:
    """Tells whether a trainer still gets on: steps while training, any word at all otherwise."""

    def __init__(self, floor: float, steps: float) -> None:
        """Allow `floor` seconds, or `steps` times the median time of a step, whichever is more."""
        self._floor, self._steps = floor, steps
        self._moved = time.monotonic()
        self._step, self._phase = -1, "loading"
        self._paces: deque[float] = deque(maxlen=64)

    def heard(self, said: Message) -> None:
        """Take note of a message."""
        step = getattr(said, "step", None)
        if isinstance(said, Phase):
            self._phase = said.phase
        elif self._phase == "training" and (step is None or step <= self._step):
            return
        now = time.monotonic()
        if step is not None and step > self._step >= 0:
            self._paces.append((now - self._moved) / (step - self._step))
        self._step = max(self._step, step if step is not None else -1)
        self._moved = now

    def hangs(self) -> bool:
        """Whether nothing has moved for too long."""
        usual = statistics.median(self._paces) if self._paces else 0.0
        return time.monotonic() - self._moved > max(self._floor, self._steps * usual)


@final
class Supervision:
    """The watch over one trainer. `run` returns how it ended: a job state, or `lease_lost`."""

    def __init__(
        self, lease: Lease, trainer: TrainerProcess, store: ArtifactStore, draining: Callable[[], bool], pace: Pace,
        memory: Watch,
    ) -> None:  # fmt: skip
        """Watch `trainer`, which works on the job of `lease`; `draining` says that this worker is going down."""
        self._lease, self._trainer, self._store, self._pace = lease, trainer, store, pace
        self._draining, self._stop_sent, self._drain_sent = draining, False, False
        self._ledger = Ledger(lease, store, pace)
        self._memory, self._shortage = memory, Shortage(lease, memory)
        self._progressing = Progressing(pace.hang, pace.hang_steps)
        self._lines: Lines | None = Lines()
        self._ended_streams: set[int] = set()
        self._ending: Ending | None = None
        self._resumed = lease.resume_from
        self._kill_at = float("inf")
        limit = lease.job.max_runtime
        self._runtime_ends = float("inf") if limit is None else time.monotonic() + limit - lease.job.ran_seconds

    def run(self) -> str:
        """Watch until the trainer is gone, then give the job its next state."""
        try:
            while not self._trainer.check():
                self._hear(TICK)
                self._ledger.write_if_due()
                self._judge()
            self._trainer.kill()
            self._hear_the_rest()
            return self._ledger.finish(self._ending or self._died)
        except LeaseLost:
            log.info("the job belongs to another attempt by now; the trainer is killed", extra=self._about())
            return "lease_lost"
        finally:
            self._trainer.close()

    # What the trainer says

    def _hear(self, seconds: float) -> bool:
        trainer = self._trainer
        pipes = [trainer.output, *([trainer.messages] if self._lines else [])]
        open_pipes = [fd for fd in pipes if fd not in self._ended_streams]
        ready = select.select([*open_pipes, trainer.control.fileno()], [], [], seconds)[0]
        return any([self._read(fd) for fd in open_pipes if fd in ready])

    def _hear_the_rest(self) -> None:
        # Bounded: a process that slipped out of the group might still hold a pipe and fill it for ever.
        deadline = time.monotonic() + REST_SECONDS
        while self._hear(0.0) and time.monotonic() < deadline:
            pass

    def _read(self, fd: int) -> bool:
        chunk = os.read(fd, CHUNK)
        if not chunk:
            self._ended_streams.add(fd)
        elif fd == self._trainer.output:
            self._ledger.output(chunk)
        else:
            self._take(chunk)
        return bool(chunk)

    def _take(self, chunk: bytes) -> None:
        assert self._lines is not None
        try:
            for line in self._lines.feed(chunk):
                self._understand(parse(line))
        except (ProtocolError, Invalid) as error:
            self._lines = None
            self._ledger.log("error", f"The trainer sent something unreadable: {error}")
            self._end(partial(self._fail, Reason.INTERNAL_ERROR, "The trainer sent something unreadable."), 0.0)

    def _understand(self, said: Message) -> None:
        self._progressing.heard(said)
        match said:
            case Phase():
                self._ledger.progress(phase=said.phase)
            case Progress():
                self._ledger.progress(**said.model_dump(exclude={"type"}))
            case Metrics():
                self._ledger.event("metric", said.model_dump(exclude={"type"}))
            case Log():
                self._ledger.log(said.level, said.text)
            case Diagnostic():
                self._ledger.event("diagnostic", said.data)
            case Data():
                self._ledger.data(said.data)
            case CheckpointWritten():
                self._store.relative(said.path)
                self._ledger.checkpoint(said)
            case Done():
                self._close_with(partial(self._succeed, said, self._artifacts(said)))
            case Failed(reason="storage_full"):
                self._close_with(partial(self._lease.await_space, said.message))
            case Failed(crowded=True):
                self._close_with(partial(self._lease.step_aside, f"Others have taken the memory: {said.message}"))
            case Failed(reason="out_of_memory"):
                self._close_with(partial(self._too_large, f"The memory ran out: {said.message}", said.metrics))
            case Failed():
                self._close_with(partial(self._fail, Reason(said.reason), said.message, said.metrics))

    def _artifacts(self, said: Done) -> list[Artifact]:
        attempt = self._lease.attempt
        return [Artifact(f.name, self._store.relative(f.path), f.sha256, f.size, attempt) for f in said.artifacts]

    # What must happen to it

    def _judge(self) -> None:
        now = time.monotonic()
        if self._ending is None:
            self._heed_flags()
        if self._ending is None and now > self._runtime_ends:
            self._end(self._out_of_time, 0.0)
        if self._ending is None and self._progressing.hangs():
            self._end(partial(self._requeue, "The trainer made no progress any more.", True), 0.0)
        if self._memory.exceeded() and self._ending is None:
            self._end(partial(self._too_large, f"The trainer took {amount(self._memory.peak)} of memory"), 0.0)
        if now >= self._kill_at:
            self._trainer.kill()

    def _heed_flags(self) -> None:
        if self._ledger.cancel:
            self._end(self._cancelled, 0.0)
        elif self._draining() and not self._drain_sent:
            self._drain_sent = True
            self._trainer.command("drain")
            self._kill_at = time.monotonic() + self._pace.drain
        elif self._ledger.stop and not self._stop_sent:
            self._stop_sent = True
            self._trainer.command("stop")

    def _close_with(self, ending: Ending) -> None:
        if self._ending is None:
            self._end(ending, self._pace.farewell)

    def _end(self, ending: Ending, grace: float) -> None:
        self._ending = ending
        self._kill_at = min(self._kill_at, time.monotonic() + grace)

    # How it ends, once the trainer is gone

    def _succeed(self, said: Done, artifacts: list[Artifact]) -> str:
        try:
            self._lease.succeed(said.reason, said.result, artifacts, said.metrics, store=self._store)
        except (DataError, Invalid) as error:
            return self._requeue(f"The model could not be kept: {error.message}", True)
        return JobState.SUCCEEDED

    def _fail(self, reason: Reason, message: str, metrics: Any = ()) -> str:
        self._lease.fail(reason, message, metrics)
        return JobState.FAILED

    def _too_large(self, what: str, metrics: Any = ()) -> str:
        return self._fail(Reason.OUT_OF_MEMORY, self._shortage.told(what), metrics)

    def _cancelled(self) -> str:
        self._lease.cancelled()
        return JobState.CANCELLED

    def _out_of_time(self) -> str:
        limit = self._lease.job.max_runtime
        return self._fail(Reason.MAX_RUNTIME_EXCEEDED, f"The job ran for its max_runtime of {limit:g} seconds.")

    def _requeue(self, cause: str, trainer_died: bool, delay: float | None = None) -> str:
        return self._lease.requeue(cause, trainer_died, delay)

    def _died(self) -> str:
        status = self._trainer.status
        if self._drain_sent:
            return self._requeue("The worker is shutting down.", False, 0.0)
        if status is None:
            return self._requeue("The trainer's parent process died.", False)
        if status == EXIT_DEVICE_LOST:
            return self._requeue("The device failed.", False)
        if status == EXIT_UNREADABLE:
            if self._lease.resume_from is self._resumed:
                give_up_checkpoint(self._lease, "cannot be used by this version of Trainyard")
            return self._requeue("The checkpoint could not be used.", False, 0.0)
        if self._memory.died_of_it(status):
            cause = self._shortage.told(f"The trainer was killed for want of memory ({how(status)})")
            return self._lease.requeue(cause, True, last_reason=Reason.OUT_OF_MEMORY)
        return self._requeue(f"The trainer died: {how(status)}.", True)

    def _about(self) -> dict[str, Any]:
        return {"job": self._lease.job.id, "attempt": self._lease.attempt}


def how(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    return f"signal {-status}"


def sound_checkpoint(lease: Lease, store: ArtifactStore) -> Checkpoint | None:
    """The newest checkpoint whose bytes are as recorded; a damaged one is given up for the one before it."""
    found = lease.resume_from
    while found and not store.verify(Artifact("checkpoint", found.path, found.sha256, found.size)):
        found = give_up_checkpoint(lease, "is damaged")
    return found


def give_up_checkpoint(lease: Lease, why: str) -> Checkpoint | None:
    """Go back from the newest checkpoint to the one before it, or to the beginning, and say so in the job's log."""
    given_up = lease.resume_from
    if given_up is None:
        return None
    found = lease.give_up_checkpoint()
    to = f"going back to that of step {found.step}" if found else "there is none before it: starting from the beginning"
    text = f"The checkpoint of step {given_up.step} {why}; {to}."
    lease.record([("log", {"level": "warning", "text": text})])
    return found


def supervise(
    lease: Lease,
    spawner: Spawner,
    store: ArtifactStore,
    *,
    device: str,
    threads: int,
    datasets_dir: Path,
    draining: Callable[[], bool],
    pace: Pace,
    memory: int | None = None,
) -> str:
    """Run one attempt from its claim to its end; returns the job's new state, or `lease_lost`.

    `memory` is what it may take of the device's, in bytes; None: as much as there is.
    """
    job = lease.job

    def give_back(error: Exception) -> str:
        log.exception("no trainer could be started", extra={"job": job.id})
        cause = f"No trainer could be started: {error}"
        full = isinstance(error, StorageFull)
        return insist(lambda: lease.await_space(cause) if full else lease.requeue(cause, False), pace)

    try:
        resume = sound_checkpoint(lease, store)
        request = {
            "job": job.id,
            "attempt": lease.attempt,
            "spec": job.spec,
            "folder": str(store.attempt_folder(job.tenant, job.id, lease.attempt)),
            "resume": str(store.resolve(resume.path)) if resume else None,
            "device": device,
            "threads": threads,
            "memory": memory,
            "datasets_dir": str(datasets_dir),
            **for_trainer(UploadStore(lease.engine), UploadFolder(store.folder), job.tenant, job.spec),
        }
        trainer = spawner.trainer(request)
    except LeaseLost:
        return "lease_lost"
    except NotFound as error:
        lease.fail(Reason.DATA_ERROR, f"{error.message} It was deleted after the job was posted.")
        return JobState.FAILED
    except (OSError, TrainyardError) as error:
        return give_back(error)
    watch = Watch(trainer.pid, memory, "cpu" if device == "cpu" else "gpu")
    return Supervision(lease, trainer, store, draining, pace, watch).run()
